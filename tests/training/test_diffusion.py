"""The diffusion loss and its examples against closed forms."""

import copy

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from tiny_training import places, settings

from mvdiffusion.models.text_encoding import tokenize
from mvdiffusion.records import InputError
from mvdiffusion.settings import parse
from mvdiffusion.training.diffusion import load_parts, min_snr_weights
from mvdiffusion.training.examples import DiffusionExamples, shifted
from mvdiffusion.training.settings import MultiViewSettings, TokenizerSettings, ViewStage
from mvdiffusion.training.stage1 import view_task
from mvdiffusion.training.stage2 import multi_view_task


@pytest.fixture(scope="module")
def parts(base_folder):
    return load_parts(base_folder)


def stage1_task(parts, rooms, **loss):
    parsed = parse(ViewStage, settings(loss=loss, training__views_per_panorama=2))
    return view_task(parsed, places(rooms, rooms), parts)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_min_snr_weights_are_the_closed_form(kind):
    alphas = DDPMScheduler().alphas_cumprod[[3, 400, 900]]
    snr = alphas / (1 - alphas)
    expected = [min(float(value), 5.0) / (float(value) + (kind == "v_prediction")) for value in snr]
    assert min_snr_weights(snr, 5.0, kind).tolist() == pytest.approx(expected)


def test_weighted_velocity_error_is_the_clamped_error_of_the_clean_latents():
    torch.manual_seed(0)
    alpha = torch.tensor([0.99, 0.5, 0.02], dtype=torch.float64)
    clean, noise, guess = torch.randn(3, 3, dtype=torch.float64)  # one value per timestep
    noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
    velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * clean
    snr = alpha / (1 - alpha)
    for kind, target in (("v_prediction", velocity), ("epsilon", noise)):
        recovered = {  # the clean latents that the prediction stands for
            "v_prediction": alpha.sqrt() * noisy - (1 - alpha).sqrt() * guess,
            "epsilon": (noisy - (1 - alpha).sqrt() * guess) / alpha.sqrt(),
        }[kind]
        weighted = min_snr_weights(snr, 5.0, kind) * (guess - target).square()
        expected = snr.clamp(max=5.0) * (recovered - clean).square()
        torch.testing.assert_close(weighted, expected)


@pytest.mark.parametrize("gamma", [None, 5.0])
def test_loss_of_a_perfect_prediction_is_zero_and_of_none_is_that_of_the_target(
    parts, rooms, gamma
):
    task = stage1_task(parts, rooms, min_snr_gamma=gamma)
    batch = task.examples[0]
    alphas = parts.scheduler.alphas_cumprod[batch["timesteps"]].view(-1, 1, 1, 1)
    latents = task.encode(batch["pixels"])
    velocity = alphas.sqrt() * batch["noise"] - (1 - alphas).sqrt() * latents
    task.predict = lambda noisy, embeds, batch: velocity
    assert task(batch).item() < 1e-10
    task.predict = lambda noisy, embeds, batch: torch.zeros_like(noisy)
    errors = velocity.square().mean(dim=(1, 2, 3))
    if gamma is not None:
        snr = (alphas / (1 - alphas)).flatten()
        errors = errors * snr.clamp(max=gamma) / (snr + 1)
    assert task(batch).item() == pytest.approx(errors.mean().item(), rel=1e-4)


def test_encoding_is_the_scaled_mean_of_the_vae(parts, rooms):
    task = stage1_task(parts, rooms)
    pixels = task.examples[0]["pixels"]
    expected = parts.vae.encode(pixels).latent_dist.mean * parts.vae.config.scaling_factor
    torch.testing.assert_close(task.encode(pixels), expected, rtol=1e-4, atol=1e-4)


def test_examples_depend_on_seed_and_position_only(parts, rooms):
    first, second = stage1_task(parts, rooms).examples, stage1_task(parts, rooms).examples
    second[3]
    for key, value in first[7].items():
        assert torch.equal(second[7][key], value)
    assert not torch.equal(first[7]["noise"], first[8]["noise"])


def drawn_prompts(examples, position):
    """The captions number the rooms."""
    return examples.source.draw(position).prompts[0].split("no. ")[-1]


def test_every_panorama_comes_once_per_epoch_in_a_new_order(parts, rooms):
    examples = stage1_task(parts, rooms).examples
    epochs = [[drawn_prompts(examples, 6 * epoch + n) for n in range(6)] for epoch in range(3)]
    assert all(sorted(epoch) == sorted(epochs[0]) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_damaged_autoencoder_is_named(parts, rooms):
    """Not the learning rate, which a loss of NaN would be blamed on."""
    damaged = copy.deepcopy(parts)
    with torch.no_grad():
        next(damaged.vae.parameters()).fill_(torch.nan)
    task = stage1_task(damaged, rooms)
    with pytest.raises(InputError, match=r"Expected finite latents, .* weights are damaged"):
        task(task.examples[0])


def test_pictures_of_a_short_schedule(parts, rooms):
    """A schedule of fewer steps than pictures are sampled with is no reason to stop a training."""
    short = copy.copy(parts)
    short.scheduler = DDIMScheduler.from_config(parts.scheduler.config, num_train_timesteps=5)
    task = stage1_task(parts, rooms)
    task.parts = short
    views, made = task.pictures(task)
    assert views.shape == made.shape
    assert made.isfinite().all()


def test_stage_two_shares_one_timestep_per_panorama(parts, rooms):
    parsed = parse(MultiViewSettings, settings())
    examples = multi_view_task(parsed, places(rooms, rooms), parts, "panorama").examples
    for position in range(8):
        batch = examples[position]
        assert batch["timesteps"].shape == (4,)
        assert batch["timesteps"].unique().numel() == 1
        assert batch["noise"].unique(dim=0).shape[0] == 4
    assert len({examples[p]["timesteps"][0].item() for p in range(8)}) > 4


def test_noise_and_timesteps_have_the_right_distribution(parts, rooms):
    examples = stage1_task(parts, rooms).examples
    batches = [examples[position] for position in range(150)]
    noise = torch.cat([batch["noise"] for batch in batches])
    timesteps = torch.cat([batch["timesteps"] for batch in batches]).double()
    count = noise.numel()
    assert abs(noise.mean()) < 4 / count**0.5
    assert abs(noise.var() - 1) < 4 * (2 / count) ** 0.5
    assert abs(timesteps.mean() - 499.5) < 4 * 289 / len(timesteps) ** 0.5
    assert timesteps.max() > 950
    assert timesteps.min() < 50


@pytest.mark.parametrize(("fraction", "low", "high"), [(0.0, 0, 0), (1.0, 1, 1), (0.3, 0.2, 0.4)])
def test_captions_are_dropped_at_the_wanted_rate(parts, rooms, fraction, low, high):
    task = stage1_task(parts, rooms, caption_dropout=fraction)
    empty = tokenize([parts.tokenizer], [""])
    ids = torch.cat([task.examples[position]["input_ids"] for position in range(100)])
    assert low <= (ids == empty).all(-1).float().mean().item() <= high


def test_examples_are_a_stream_of_the_documented_shapes(parts, rooms):
    examples = stage1_task(parts, rooms).examples
    assert isinstance(examples, DiffusionExamples)
    assert {key: tuple(value.shape) for key, value in examples[0].items()} == {
        "pixels": (2, 3, 16, 16),
        "noise": (2, 4, 8, 8),
        "timesteps": (2,),
        "input_ids": (2, TokenizerSettings(16).model_max_length),
    }


def test_noisy_timesteps_are_drawn_more_often_with_a_shift(parts, rooms):
    """Of uniform u, s u / (1 + (s - 1) u) has the distribution F(x) = x / (s - (s - 1) x)."""
    task = stage1_task(parts, rooms, timestep_shift=3.0)
    drawn = torch.cat([task.examples[position]["timesteps"] for position in range(500)])
    assert 0 <= drawn.min() < drawn.max() < 1000
    for share in (0.25, 0.5, 0.75, 0.9):
        expected = share / (3 - 2 * share)
        error = (expected * (1 - expected) / len(drawn)) ** 0.5
        assert abs((drawn < 1000 * share).double().mean() - expected) < 4 * error


def test_a_shift_of_one_moves_no_timestep():
    for count in (7, 10, 1000, 4096):
        timesteps = np.arange(count)
        assert (shifted(timesteps, count, 1.0) == timesteps).all()
        assert shifted(timesteps, count, 50.0).max() < count

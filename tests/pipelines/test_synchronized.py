"""SyncDiffusion: foreseen images, gradients by finite differences, and what its step does."""

import contextlib
import copy
import inspect
from typing import Any, get_args

import diffusers
import pytest
import torch

from mvdiffusion.generation.settings import Scheduler
from mvdiffusion.models.perceptual import FeatureDistance
from mvdiffusion.pipelines.joint import Windows, denoise_jointly
from mvdiffusion.pipelines.panorama import MVDiffusionPanoramaPipeline
from mvdiffusion.pipelines.synchronized import Synchronization, clean_latents
from mvdiffusion.records import InputError


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


PAPER = (20.0, 0.95)  # weight and decay


def squares(images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    return (images - others).square().mean((1, 2, 3))


def at_step(pipeline: MVDiffusionPanoramaPipeline, step: int, prompts: list[str]):
    """Timestep and embeddings in the middle of a sampling of ten steps with guidance."""
    pipeline.scheduler.set_timesteps(10)
    pipeline._guidance_scale = 2.0
    with torch.no_grad():
        embeds = pipeline.encode_prompt([prompts], "")
    return pipeline.scheduler.timesteps[step], embeds


@pytest.fixture
def own(make):
    """A pipeline whose sampler may be changed."""
    pipeline = make("panorama")
    pipeline.scheduler = copy.deepcopy(pipeline.scheduler)
    return pipeline


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(
    "name",
    [
        "DDIMScheduler",
        "DDPMScheduler",
        "EulerAncestralDiscreteScheduler",
        "EulerDiscreteScheduler",
        "LMSDiscreteScheduler",
    ],
)
def test_clean_latents_are_those_of_the_sampler(name, kind):
    unclipped = {} if "Discrete" in name else {"clip_sample": False}
    scheduler = getattr(diffusers, name)(prediction_type=kind, **unclipped)
    scheduler.set_timesteps(10)
    latents, said = noise(1, 4, 8, 8), noise(2, 4, 8, 8)[1:]
    for t in scheduler.timesteps[:9]:
        expected = clean_latents(scheduler, latents, said, t)
        found = scheduler.step(said, t, latents)
        torch.testing.assert_close(expected, found.pred_original_sample, atol=1e-3, rtol=1e-3)
        latents = found.prev_sample


@pytest.mark.parametrize("name", ["DPMSolverMultistepScheduler", "HeunDiscreteScheduler"])
def test_clean_latents_of_samplers_that_do_not_tell(name):
    """What a perfect model says of noised latents means these latents."""
    scheduler = getattr(diffusers, name)(prediction_type="epsilon")
    scheduler.set_timesteps(10)
    clean, added = noise(2, 1, 4, 8, 8)
    t = scheduler.timesteps[4]
    noised = scheduler.add_noise(clean, added, t[None])
    torch.testing.assert_close(clean_latents(scheduler, noised, added, t), clean)


def test_weight_zero_is_multidiffusion(own):
    windows, start = Windows.level(8, 12, 2), noise(1, 4, 8, 12)
    texts = [["a red room"] * len(windows.columns)]
    with torch.no_grad():
        plain, weightless, drawn = (
            denoise_jointly(own, start, texts, windows, 2, 2.0, adjust=adjust)
            for adjust in (
                None,
                Synchronization(own, squares, weight=0.0, decay=1.0),
                Synchronization(own, squares, *PAPER),
            )
        )
    assert torch.equal(weightless, plain)
    assert not torch.allclose(drawn, plain, atol=1e-4)


def loses_a_change(scheduler: Any) -> bool:
    """Whether a step ends where it would have ended, had its latents not been changed before it."""
    known = inspect.signature(scheduler.step).parameters
    for changed in range(1, 5):
        ends = []
        for change in (0.0, 1.0):
            scheduler.set_timesteps(6)
            latents, said = noise(2, 1, 4, 8, 8)
            for index, t in enumerate(scheduler.timesteps[: changed + 1]):
                given = {"generator": torch.Generator().manual_seed(index)}
                options = {key: value for key, value in given.items() if key in known}
                latents = latents + change * (index == changed)
                latents = scheduler.step(said, t, latents, **options).prev_sample
            ends.append(latents)
        if torch.allclose(*ends, atol=1e-4):  # of a change of 1
            return True
    return False


@pytest.mark.parametrize("name", get_args(Scheduler))
def test_a_sampler_that_would_lose_the_change_is_refused(own, name):
    lost = []
    for kind in ("epsilon", "sample"):  # the latter is not known to all
        scheduler = getattr(diffusers, name)(prediction_type=kind)
        with contextlib.suppress(NotImplementedError):
            lost.append(loses_a_change(scheduler))
    own.scheduler = getattr(diffusers, name).from_config(own.scheduler.config)
    if any(lost):
        with pytest.raises(InputError, match=f"'scheduler' is '{name}'; expected one that starts"):
            Synchronization(own, squares, *PAPER)
    else:
        Synchronization(own, squares, *PAPER)


@pytest.mark.parametrize("name", ["DDIMScheduler", "EulerDiscreteScheduler"])
def test_gradient_is_a_finite_difference(own, name):
    own.scheduler = getattr(diffusers, name).from_config(own.scheduler.config, clip_sample=False)
    t, embeds = at_step(own, 8, ["a red room"])
    window, anchor = noise(1, 4, 8, 8), torch.zeros(1, 3, 16, 16)
    if name == "EulerDiscreteScheduler":
        own.scheduler._init_step_index(t)
    sync = Synchronization(own, squares, *PAPER)
    gradient = sync.gradient(window, t, embeds[:, 0], anchor)
    along, step = gradient / gradient.norm(), 0.05
    with torch.no_grad():
        more, less = (
            squares(sync.foresee(window + way * step * along, t, embeds[:, 0]), anchor).double()
            for way in (1, -1)
        )
    assert gradient.norm().item() > 1e-3
    assert ((more - less) / (2 * step)).item() == pytest.approx(gradient.norm().item(), rel=0.02)


def test_a_step_draws_every_window_to_the_anchor(own):
    """Also perceptually: by the features that the miniature uses."""
    distance = FeatureDistance()
    t, embeds = at_step(own, 5, ["a red room", "a room", "red"])
    windows = noise(1, 3, 4, 8, 8)
    sync = Synchronization(own, distance, weight=20.0, decay=0.5)
    with torch.no_grad():
        drawn = sync(windows, t, embeds)
        again = sync(windows, t, embeds)
        anchor = sync.foresee(windows[:, 1], t, embeds[:, 1])
        assert torch.equal(drawn[:, 1], windows[:, 1])
        for index in (0, 2):
            before, after = (
                distance(sync.foresee(each[:, index], t, embeds[:, index]), anchor)
                for each in (windows, drawn)
            )
            assert after < before
            gradient = sync.gradient(windows[:, index], t, embeds[:, index], anchor)
            step = 20.0 * 8 * 8 / (64 * 64) * gradient
            torch.testing.assert_close(windows[:, index] - drawn[:, index], step)
            torch.testing.assert_close(windows[:, index] - again[:, index], step / 2)


def test_a_sample_does_not_depend_on_its_batch(own):
    windows, start = Windows.level(8, 10, 2), noise(2, 4, 8, 10)
    texts = [["a red room"] * len(windows.columns), ["a room"] * len(windows.columns)]
    with torch.no_grad():
        both, alone = (
            denoise_jointly(
                own,
                start[chosen],
                texts[chosen],
                windows,
                2,
                2.0,
                adjust=Synchronization(own, squares, *PAPER),
            )
            for chosen in (slice(2), slice(1, 2))
        )
    torch.testing.assert_close(both[1:], alone, atol=1e-5, rtol=1e-4)

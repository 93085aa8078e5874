"""Training starts from Stable Diffusion 1.5 and SDXL as from any base model."""

from pathlib import Path
from typing import Any

import pytest
import torch
from other_backbones import write_single_view
from safetensors.torch import load_file
from tiny_training import places, settings

from mvdiffusion.generation.settings import GenerationSettings
from mvdiffusion.generation.single import create_panorama
from mvdiffusion.models.text_encoding import tokenize
from mvdiffusion.records import InputError
from mvdiffusion.settings import parse
from mvdiffusion.training.baselines.controlnet import train_controlnet
from mvdiffusion.training.diffusion import DiffusionTask, load_parts
from mvdiffusion.training.settings import MultiViewSettings, ViewStage
from mvdiffusion.training.stage1 import train_inpainting, train_stage1, view_task
from mvdiffusion.training.stage2 import _with_attention, multi_view_task, train_stage2

FAMILIES = ("sd15", "sdxl")
families = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bases")
    return {family: write_single_view(root / family, family) for family in FAMILIES}


def written_out_loss(theirs: Any, task: DiffusionTask, position: int) -> float:
    """The mean squared error of the noise, with the conditions of diffusers' own pipeline."""
    batch, prompts = task.examples[position], task.examples.source.draw(position).prompts
    empty = batch["input_ids"].eq(tokenize(task.text.tokenizers, [""])).all(1).tolist()
    texts = ["" if dropped else text for text, dropped in zip(prompts, empty, strict=True)]
    added: dict[str, torch.Tensor] = {}
    if hasattr(theirs, "text_encoder_2"):
        # An empty text is all zeros: diffusers' own negative prompt where none is given.
        found = [theirs.encode_prompt(text) for text in texts]
        pairs = [
            one[1::2] if not text else one[::2] for one, text in zip(found, texts, strict=True)
        ]
        tokens, pooled = (torch.cat(values) for values in zip(*pairs, strict=True))
        ids = theirs._get_add_time_ids((16, 16), (0, 0), (16, 16), torch.float32, pooled.shape[1])
        added = {"text_embeds": pooled, "time_ids": ids.repeat(len(texts), 1)}
    else:
        tokens = torch.cat([theirs.encode_prompt(text, "cpu", 1, False)[0] for text in texts])
    vae, steps, noise = theirs.vae, batch["timesteps"], batch["noise"]
    clean = vae.encode(batch["pixels"]).latent_dist.mean * vae.config.scaling_factor
    alpha = theirs.scheduler.alphas_cumprod[steps].view(-1, 1, 1, 1)
    noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
    found = theirs.unet(noisy, steps, tokens, added_cond_kwargs=added).sample
    return (found - noise).square().mean().item()


@families
@pytest.mark.parametrize("stage", [1, pytest.param(2, marks=pytest.mark.slow)])
@torch.no_grad()
def test_the_loss_is_that_of_diffusers_unet_with_its_own_conditions(
    family: str, stage: int, bases: dict[str, Path], rooms: Path
) -> None:
    """Untrained attention between views changes nothing, so stage 2's is that of the same UNet."""
    theirs, parts, data = load_parts(bases[family]), load_parts(bases[family]), places(rooms, rooms)
    chosen = settings(loss={"caption_dropout": 0.5})
    if stage == 1:
        task: DiffusionTask = view_task(parse(ViewStage, chosen), data, parts)
    else:
        second = parse(MultiViewSettings, chosen)
        with_attention = _with_attention(parts, "panorama", second)
        task = multi_view_task(second, data, with_attention, "panorama")
    for position in range(3):
        expected = written_out_loss(theirs, task, position)
        assert task(task.examples[position]).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
@families
def test_the_stages_train_one_after_the_other(
    family: str, bases: dict[str, Path], rooms: Path, tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    train_stage1("panorama", settings(training__steps=1), bases[family], places(one, rooms))
    train_stage2("panorama", settings(training__steps=1), one / "output", places(two, rooms))
    names = [f"{part}/model.safetensors" for part in ("text_encoder", "text_encoder_2")]
    unet = "unet/diffusion_pytorch_model.safetensors"
    for name in names[: 1 + (family == "sdxl")]:
        before, after = (load_file(root / name) for root in (bases[family], two / "output"))
        assert all(torch.equal(value, after[key]) for key, value in before.items())
    before, tuned, after = (
        load_file(root / unet) for root in (bases[family], one / "output", two / "output")
    )
    assert any(not torch.equal(value, tuned[key]) for key, value in before.items())
    assert all(torch.equal(value, after[f"unet.{key}"]) for key, value in tuned.items())
    sampling = GenerationSettings(num_inference_steps=1, device="cpu")
    create_panorama(two / "output", tmp_path / "made", ["a room"], sampling, num_views=5)
    assert (tmp_path / "made/panorama.png").is_file()
    assert len(list((tmp_path / "made/panorama").glob("[0-9].png"))) == 5


@pytest.mark.slow
def test_outpainting_starts_from_an_inpainting_model_that_is_trained(
    bases: dict[str, Path], rooms: Path, tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    train_inpainting(settings(training__steps=1), bases["sdxl"], places(one, rooms))
    train_stage2("outpaint", settings(training__steps=1), one / "output", places(two, rooms))
    assert (two / "output/text_encoder_2/model.safetensors").is_file()


@pytest.mark.slow
def test_a_controlnet_beside_sdxl_is_refused(
    bases: dict[str, Path], rooms: Path, tmp_path: Path
) -> None:
    frames = {"height": 16, "width": 16, "num_views": 3}
    run = settings() | {"data": frames, "train_unet": True}
    with pytest.raises(InputError, match="two text encoders, as SDXL"):
        train_controlnet(run, bases["sdxl"], places(tmp_path, rooms))

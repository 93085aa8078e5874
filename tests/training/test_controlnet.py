"""Training of a ControlNet beside an inpainting model: its start, what it learns and writes."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetInpaintPipeline
from noise_data import HEIGHT, WIDTH, write_scene
from safetensors.torch import load_file
from tiny_training import places, settings, start_afresh

from mvdiffusion.data.scannet import ScanNetScenes
from mvdiffusion.models.controlnet import controlnet_of
from mvdiffusion.models.multiview_unet import extend_input_channels
from mvdiffusion.pipelines.controlnet import ControlNetInpaintPipeline
from mvdiffusion.records import InputError
from mvdiffusion.settings import parse
from mvdiffusion.training.baselines.controlnet import controlnet_task, train_controlnet
from mvdiffusion.training.baselines.settings import ControlNetSettings
from mvdiffusion.training.diffusion import DiffusionTask, freeze, load_parts
from mvdiffusion.training.examples import Frames, MaskedFrames

pytestmark = pytest.mark.long

FRAMES = {"height": HEIGHT, "width": WIDTH, "num_views": 3, "num_between": 1}


def run(**changes):
    return settings(**changes) | {"data": FRAMES}


@pytest.fixture(scope="module")
def walks(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("walks")
    for split, count in (("train", 3), ("validation", 1)):
        for scene in range(count):
            write_scene(root / split / f"scene{scene}", [0, 4, 6, 7], 8, scene)
    return root


@pytest.fixture(scope="module")
def inpainting(base_folder, tmp_path_factory) -> Path:
    """A base with the channels of inpainting, which start at zero."""
    start_afresh()
    folder = tmp_path_factory.mktemp("inpainting") / "model"
    parts = load_parts(base_folder)
    extend_input_channels(parts.unet, 9)
    parts.save_pretrained(folder)
    return folder


def weights(folder: Path, part: str) -> dict[str, torch.Tensor]:
    return load_file(folder / part / "diffusion_pytorch_model.safetensors")


def made_task(inpainting: Path, root: Path, walks: Path, **changes):
    parts = load_parts(inpainting)
    freeze(parts.vae, parts.text_encoder)
    checked = parse(ControlNetSettings, run(**changes))
    torch.manual_seed(0)
    controlnet = controlnet_of(parts.unet, 4, parts.vae_scale_factor)
    return controlnet_task(checked, places(root, walks), parts, controlnet)


def test_untrained_its_loss_is_that_of_the_inpainting_model(inpainting, walks, tmp_path):
    task = made_task(inpainting, tmp_path, walks)
    batch = task.examples[0]
    with torch.no_grad():
        found = task(batch)
        without = DiffusionTask.predict
        task.predict = lambda *given: without(task, *given)
        assert torch.equal(found, task(batch))


def test_the_loss_falls_on_a_tiny_set(inpainting, walks, tmp_path):
    """The same four frames again and again; the UNet is frozen, so the ControlNet learns it."""
    task = made_task(inpainting, tmp_path, walks)
    freeze(task.unet)
    batch = task.examples[1]
    for position in (2, 3, 4):
        more = task.examples[position]
        batch = {key: torch.cat([value, more[key]]) for key, value in batch.items()}
    optimizer = torch.optim.AdamW(task.controlnet.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = task(batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-3:]) / 3 < 0.9 * losses[0]


@pytest.mark.parametrize("train_unet", [True, False])
def test_it_writes_a_folder_that_diffusers_loads(inpainting, walks, tmp_path, train_unet):
    where = places(tmp_path, walks)
    train_controlnet(run(train_unet=train_unet), inpainting, where)
    before, after = weights(inpainting, "unet"), weights(where.output, "unet")
    assert all(torch.equal(before[name], after[name]) for name in before) == (not train_unet)
    trained = weights(where.output, "controlnet")
    assert trained["controlnet_mid_block.weight"].any(), "it starts at zero"
    index = json.loads((where.output / "model_index.json").read_text())
    assert index["_class_name"] == "StableDiffusionControlNetInpaintPipeline"
    assert StableDiffusionControlNetInpaintPipeline.from_pretrained(where.output)
    pipeline = ControlNetInpaintPipeline.from_single_view(where.output)
    assert torch.equal(
        pipeline.controlnet.state_dict()["conv_in.weight"], trained["conv_in.weight"]
    )
    curve = (tmp_path / "log" / "metrics.jsonl").read_text().splitlines()
    assert len(curve) >= 1
    assert (where.output / "sha256.json").is_file()


@pytest.mark.parametrize(("rate", "moved"), [(None, 1e-3), (1e-5, 1e-5)])
def test_the_unet_trains_at_a_rate_of_its_own(inpainting, walks, tmp_path, rate, moved):
    """AdamW's first step moves each weight that has a gradient by the learning rate."""
    where = places(tmp_path, walks)
    one = {"training__steps": 1, "training__weight_decay": 0.0, "training__ema_decay": 0.0}
    train_controlnet(run(unet_learning_rate=rate, **one), inpainting, where)
    before, after = weights(inpainting, "unet"), weights(where.output, "unet")
    found = max((after[name] - before[name]).abs().max().item() for name in before)
    assert found == pytest.approx(moved, rel=0.01)
    zero = weights(where.output, "controlnet")["controlnet_mid_block.weight"]  # before the step
    assert zero.abs().max().item() == pytest.approx(1e-3, rel=0.01)


def test_it_goes_on_from_a_published_controlnet(inpainting, walks, tmp_path):
    parts = load_parts(inpainting)
    controlnet_of(parts.unet, 4, 2).save_pretrained(tmp_path / "published")
    start = load_file(tmp_path / "published" / "diffusion_pytorch_model.safetensors")
    slow = run(pretrained=str(tmp_path / "published"), training__learning_rate=1e-9)
    where = places(tmp_path / "run", walks)
    train_controlnet(slow, inpainting, where)
    found = weights(where.output, "controlnet")
    for name, value in start.items():
        torch.testing.assert_close(found[name], value, atol=1e-6, rtol=0)
    other = ControlNetModel.from_pretrained(tmp_path / "published")
    config = dict(other.config) | {"cross_attention_dim": 16}
    ControlNetModel.from_config(config).save_pretrained(tmp_path / "other")
    wrong = run(pretrained=str(tmp_path / "other"))
    with pytest.raises(InputError, match="cross_attention_dim of 16; expected 32"):
        train_controlnet(wrong, inpainting, places(tmp_path / "wrong", walks))


def test_wrong_starts_are_named(base_folder, inpainting, walks, tmp_path):
    with pytest.raises(InputError, match="takes 4 channels; expected an inpainting model"):
        train_controlnet(run(), base_folder, places(tmp_path, walks))
    with pytest.raises(InputError, match="'pretrained' is 'owner/name'; expected a folder"):
        train_controlnet(run(pretrained="owner/name"), inpainting, places(tmp_path, walks))
    still = run(unet_learning_rate=1e-6, train_unet=False)
    with pytest.raises(InputError, match="'unet_learning_rate' is 1e-06; expected null without"):
        train_controlnet(still, inpainting, places(tmp_path, walks))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="no ControlNet"):
        train_controlnet(run(pretrained=str(empty)), inpainting, places(tmp_path, walks))


def test_frames_are_masked_as_views_are(walks):
    scenes = ScanNetScenes(walks, "train", HEIGHT, WIDTH, 3).scenes
    source, plain = MaskedFrames(scenes, 0, 4), Frames(scenes, 0, 4)
    drawn = [source.draw(position) for position in range(50)]
    masks = torch.cat([one.given["mask"] for one in drawn])
    assert masks.shape == (200, 1, HEIGHT, WIDTH)
    share = masks.mean(dim=(1, 2, 3))
    assert 0.3 < (share == 1).float().mean() < 0.5  # nothing given
    assert 0.15 < (share == 0).float().mean() < 0.35  # everything given, or an empty rectangle
    assert torch.equal(drawn[7].views, plain.draw(7).views)
    assert torch.equal(drawn[7].given["depth"], plain.draw(7).given["depth"])

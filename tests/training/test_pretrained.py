"""Training starts from the folders that Stable Diffusion's inpainting and depth models come in."""

import json
from pathlib import Path

import pytest
import torch
from noise_data import HEIGHT, WIDTH, write_scene
from safetensors.torch import load_file
from tiny_models import TASKS, single_view_unet
from tiny_stable_diffusion import save_as_published
from tiny_training import places, settings, start_afresh

from mvdiffusion.conversion.base_model import fetch_base
from mvdiffusion.generation.settings import GenerationSettings
from mvdiffusion.generation.split import load_pipeline
from mvdiffusion.records import InputError
from mvdiffusion.training.diffusion import load_parts
from mvdiffusion.training.stage1 import train_stage1
from mvdiffusion.training.stage2 import train_stage2

FRAMES = {"height": HEIGHT, "width": WIDTH, "num_views": 3, "num_between": 1}


def unet_weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")


@pytest.fixture(scope="module")
def published(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders as Stable Diffusion's pipelines write them, with what belongs to each."""
    start_afresh()
    root = tmp_path_factory.mktemp("published")
    parts = load_parts(base_folder)
    shared = {
        name: getattr(parts, name) for name in ("vae", "text_encoder", "tokenizer", "scheduler")
    }
    unets = {task: single_view_unet(task) for task in TASKS}
    return {task: save_as_published(root / task, unet, **shared) for task, unet in unets.items()}


@pytest.fixture(scope="module")
def walks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("walks")
    for split in ("train", "validation"):
        write_scene(root / split / "scene0", [0, 4, 6, 7], 8, 0)
    return root


@pytest.mark.parametrize("task", TASKS)
def test_fetched_folders_hold_the_parts_and_the_same_weights(
    task: str, published: dict[str, Path], tmp_path: Path
) -> None:
    fetch_base(str(published[task]), tmp_path / "base")
    parts = load_parts(tmp_path / "base")
    expected = unet_weights(published[task])
    assert parts.unet.config.in_channels == {"panorama": 4, "outpaint": 9, "depth": 5}[task]
    for name, value in parts.unet.state_dict().items():
        assert torch.equal(value, expected[name])
    kept = {path.name for path in (tmp_path / "base").iterdir() if path.is_dir()}
    assert kept == {"scheduler", "text_encoder", "tokenizer", "unet", "vae"}
    pipeline = load_pipeline(task, tmp_path / "base", GenerationSettings(device="cpu"))
    assert pipeline.unet.config["unet_config"]["in_channels"] == parts.unet.config.in_channels


def test_depth_stage_1_leaves_the_depth_model_s_five_channels(
    published: dict[str, Path], walks: Path, tmp_path: Path
) -> None:
    run = settings() | {"data": FRAMES}
    train_stage1("depth", run, published["depth"], places(tmp_path, walks))
    before, after = unet_weights(published["depth"]), unet_weights(tmp_path / "output")
    assert after["conv_in.weight"].shape == before["conv_in.weight"].shape == (32, 5, 3, 3)
    assert before["conv_in.weight"][:, 4].abs().max() > 0, "the depth channel has weights"
    difference = (after["conv_in.weight"] - before["conv_in.weight"]).abs()
    assert 0 < difference.max() < 0.05, "trained from the model's own weights"


def test_outpainting_stage_2_starts_from_the_inpainting_model(
    published: dict[str, Path], rooms: Path, tmp_path: Path
) -> None:
    train_stage2("outpaint", settings(), published["outpaint"], places(tmp_path, rooms))
    trained = unet_weights(tmp_path / "output")
    for name, value in unet_weights(published["outpaint"]).items():
        assert torch.equal(trained[f"unet.{name}"], value), name


def test_a_folder_without_a_part_is_refused(published: dict[str, Path], tmp_path: Path) -> None:
    fetch_base(str(published["panorama"]), tmp_path / "base")
    (tmp_path / "base/vae/diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(InputError, match=r"has no vae/diffusion_pytorch_model\.safetensors"):
        fetch_base(str(tmp_path / "base"), tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_files_are_linked_and_the_source_stays(published: dict[str, Path], tmp_path: Path) -> None:
    fetch_base(str(published["panorama"]), tmp_path / "base")
    name = "unet/diffusion_pytorch_model.safetensors"
    assert (tmp_path / "base" / name).samefile(published["panorama"] / name)
    index = json.loads((tmp_path / "base/model_index.json").read_text())
    assert index == json.loads((published["panorama"] / "model_index.json").read_text())


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("somebody/nothing", "could not be downloaded from the Hugging Face hub"),
        ("no such folder", "no such folder, and no id of a model"),
    ],
)
def test_a_model_that_cannot_be_had_is_named_with_the_fix(
    model: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without network: the hub's client is told that there is none."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=sentence) as caught:
        fetch_base(model, tmp_path / "base")
    assert f"'{model}'" in str(caught.value)
    assert "base.pretrained" in str(caught.value)
    assert not (tmp_path / "base").exists()

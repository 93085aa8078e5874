"""The base that the repository ships: whole, small, of a known recipe, with a recorded sample."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from workflow_project import ROOT, embedded_files

from mvdiffusion.pipelines.loading import check_files, load_single_view

PROMPT = "This is one view of a scene. a bedroom with blue walls, a bed and a window"
# Means of the red, green and blue values (0 to 1) of the sample's quarters: upper left and right,
# lower left and right. Recorded with the release; another release has others.
SAMPLE = [
    [0.664, 0.747, 0.824],
    [0.755, 0.796, 0.814],
    [0.718, 0.775, 0.819],
    [0.697, 0.712, 0.669],
]


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of base.dvc, put together as DVC does, each with the MD5 that is on record."""
    folder = tmp_path_factory.mktemp("shipped") / "base"
    for name, stored in embedded_files("base.dvc").items():
        assert hashlib.md5(stored.read_bytes()).hexdigest() == stored.parent.name + stored.name
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(stored, path)
    return folder


def test_it_is_whole_small_and_the_start_of_mini(shipped: Path) -> None:
    check_files(shipped)
    hashed = json.loads((shipped / "sha256.json").read_text())["files"]
    files = {path.relative_to(shipped).as_posix() for path in shipped.rglob("*") if path.is_file()}
    assert files == {"sha256.json", *hashed}
    assert sum((shipped / name).stat().st_size for name in files) <= 25_000_000
    mini = yaml.safe_load((ROOT / "workflow/config/mini.yaml").read_text())["base"]
    recorded = yaml.safe_load((ROOT / "base.dvc").read_text())["outs"][0]["md5"]
    assert mini == {"pretrained": "miniature", "embedded_md5": recorded}


def test_its_card_is_of_the_recipe_that_the_repository_holds(shipped: Path) -> None:
    card = (shipped / "README.md").read_text()
    recipe = yaml.safe_load(card.partition("```yaml\n")[2].partition("```")[0])
    config = yaml.safe_load((ROOT / "workflow/config/base.yaml").read_text())
    for name in ("vae", "decoder", "diffusion", "unet"):
        trained, written = recipe[name], config["base"][name]
        decided = {key: written["training"][key] for key in trained["training"]}
        assert trained == written | {"training": decided}
    assert config["data"]["expected_sha256"]["train"] in card


@torch.no_grad()
def test_a_sample_is_as_recorded(shipped: Path) -> None:
    pipeline = load_single_view(shipped)
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    options = {"num_inference_steps": 10, "guidance_scale": 2.0, "output_type": "np"}
    side = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    image = pipeline(PROMPT, height=side, width=side, generator=generator, **options).images[0]
    rows = [row for half in np.split(image, 2, axis=0) for row in np.split(half, 2, axis=1)]
    found = np.array([quarter.mean(axis=(0, 1)) for quarter in rows])
    assert found.std() > 0.02, "a sample that shows something"
    np.testing.assert_allclose(found, SAMPLE, atol=0.02, err_msg=str(found.round(3).tolist()))

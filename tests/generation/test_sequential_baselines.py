"""Baselines that make view after view, on Stable Diffusion 2's parts as diffusers saves them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from noise_data import write_rooms, write_scene
from tiny_stable_diffusion import few_noisy_steps, write_stable_diffusion_2
from tiny_training import places, start_afresh

from mvdiffusion.data.matterport3d import Matterport3DPanoramas
from mvdiffusion.data.scannet import ScanNetScenes
from mvdiffusion.generation.sample_folder import SampleFolder, read_views, split_manifest
from mvdiffusion.generation.split import generate_split
from mvdiffusion.methods.registry import find_method
from mvdiffusion.tasks import Task
from mvdiffusion.training.baselines.controlnet import train_controlnet

pytestmark = pytest.mark.slow
SIZE = 64


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_rooms(root, "test", ["a", "b"], 0)
    for split in ("train", "validation", "test"):
        for seed in (0, 1):
            write_scene(root / split / f"scene{seed}", [0, 2, 4], 5, seed)
    return root


@pytest.fixture(scope="module")
def sets(data: Path) -> dict[str, Any]:
    panoramas = Matterport3DPanoramas(data, "test", image_size=SIZE)
    walks = ScanNetScenes(data, "test", SIZE, SIZE, num_views=3)
    return {"panorama": panoramas, "outpaint": panoramas, "depth": walks}


@pytest.fixture(scope="module")
def models(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    inpainting = write_stable_diffusion_2(root / "inpainting", 9)
    start_afresh()
    settings = {
        "seed": 0,
        "device": "cpu",
        "data": {"height": SIZE, "width": SIZE, "num_views": 3},
        "training": {"steps": 1, "batch_size": 1, "learning_rate": 1e-4, "num_workers": 0},
    }
    where = places(root / "controlnet", data)
    train_controlnet(settings, inpainting, where)
    single_view = write_stable_diffusion_2(root / "depth", 5)
    return {"inpainting": inpainting, "single-view": single_view, "controlnet": where.output}


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("panorama", "inpainting"),
        ("outpaint", "inpainting"),
        ("depth", "repaint"),
        ("depth", "controlnet"),
    ],
)
def test_it_completes_and_no_sample_depends_on_its_batch(
    task: str, name: str, sets: dict[str, Any], models: dict[str, Path], tmp_path: Path
) -> None:
    method, dataset, found = find_method(name, task), sets[task], []
    model, *others = (models[each] for each in method.models)
    for batch_size in (1, 2):
        settings = few_noisy_steps(batch_size)
        count = None if batch_size == 2 else 1
        manifest = split_manifest(Task(task), name, dataset, count, "0" * 64)
        folder = SampleFolder(tmp_path / str(batch_size), manifest, {})
        further = dict(zip(method.others, others, strict=True))
        generate_split(method, model, dataset, settings, folder, further)
        found.append(read_views(folder.root / dataset.sample_id(0)))
    assert found[0].shape == (5 if task == "depth" else 8, 3, SIZE, SIZE)
    assert torch.isfinite(found[0]).all()
    assert found[0].std() > 0.05
    assert (found[0] - found[1]).abs().max() < 0.02

"""A scored toy world, made once for all evaluation tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import toy
import walks

METHODS = (
    "real",
    "vae_reconstruction",
    "mvdiffusion",
    "autoregressive_latent",
    "independent",
    "wrong_correspondence",
)


OTHER_TASKS = ("outpaint", "depth")
FEWER_METHODS = ("real", "vae_reconstruction", "mvdiffusion", "independent")
"""Methods of the other tasks."""


@pytest.fixture(scope="session", autouse=True)
def _no_default_extractor() -> Iterator[None]:
    """What scores unasked looks at every image: tests that do not mean it are spared the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mvdiffusion_eval.api.default_extractors", lambda: ())
        yield


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Panorama folders of every method (8 rooms, the control 4), other tasks' beside them (4)."""
    root, real = tmp_path_factory.mktemp("world"), toy.real_samples(8)
    unrelated = toy.noisy(toy.independent_samples(8), 2, 2)
    folders = {
        "real": real,
        "vae_reconstruction": toy.noisy(real, 2),
        "mvdiffusion": toy.noisy(real, 3, 1),
        "autoregressive_latent": toy.noisy(toy.autoregressive_samples(8), 2, 3),
        "independent": unrelated,
        "wrong_correspondence": dict(list(toy.noisy(unrelated, 2, 4).items())[:4]),
    }
    for method, samples in folders.items():
        toy.write_folder(root / "panorama" / method, method, samples)
    for method in FEWER_METHODS:
        few = dict(list(folders[method].items())[:4])
        if method == "independent":
            few = toy.outpainted_samples(4, few)
        toy.write_folder(root / "outpaint" / method, method, few, "b" * 64, given_views=(0,))
    _write_walks(root / "depth")
    return root / "panorama"


def _write_walks(root: Path) -> None:
    real = walks.real_samples(4)
    folders = {
        "real": real,
        "vae_reconstruction": toy.noisy(real, 2, 5),
        "mvdiffusion": toy.noisy(real, 3, 6),
        "independent": toy.noisy(walks.independent_samples(4), 2, 7),
    }
    for method, samples in folders.items():
        walks.write_folder(root / method, method, samples)


@pytest.fixture(scope="session")
def extractors(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A classifier and a CLIP, trained for a moment."""
    root = tmp_path_factory.mktemp("extractors")
    rooms = {f"room{i:03d}": toy.views_of(2000 + i, i % 3) for i in range(12)}
    views = str(toy.write_folder(root / "views", "real", rooms))
    common = {"image_size": toy.SIZE, "epochs": 1, "batch_size": 32, "held_out": 0.25}
    small_clip = {"embed_dim": 32, "vision_width": 16, "text_width": 32, "text_layers": 1}
    settings = {
        "classifier": {"classes": list(toy.KINDS), "channels": [8, 16], **common},
        "clip": {**small_clip, **common},
    }
    for kind, chosen in settings.items():
        arguments = ["--kind", kind, "--views", views, "--output", str(root / kind)]
        toy.run("train-extractor", *arguments, "--settings", json.dumps(chosen))
    return [root / kind for kind in settings]


@pytest.fixture(scope="session")
def scores(world: Path, extractors: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Score files of panoramas by every method, other tasks' in folders beside."""
    root = tmp_path_factory.mktemp("scores")
    for method in METHODS:
        toy.score(world / method, root / "panorama" / f"{method}.json", world / "real", extractors)
    for task in OTHER_TASKS:
        folders = world.parent / task
        reconstruction = folders / "vae_reconstruction" if task == "outpaint" else None
        for method in FEWER_METHODS:
            output = root / task / f"{method}.json"
            toy.score(folders / method, output, folders / "real", extractors, reconstruction)
    return root / "panorama"

"""Tiny models, the command line as a function, and a studio of the demo."""

from functools import partial
from pathlib import Path

import pytest
from command_line import models, one_thread, run  # noqa: F401
from scenes import HEIGHT, WIDTH, write_scene

from mvdiffusion.demo.settings import Limits, recommended
from mvdiffusion.demo.studio import Studio
from mvdiffusion.generation import single
from mvdiffusion.generation.media import write_panorama
from mvdiffusion.tasks import Task


@pytest.fixture(autouse=True)
def short_films(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a quarter of a second, which take as little to make."""
    monkeypatch.setattr(single, "write_panorama", partial(write_panorama, seconds=0.25))


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scene(tmp_path_factory.mktemp("scenes") / "flat", 5, [0, 2, 4])


@pytest.fixture
def studio(models: dict[str, Path], scene: Path, tmp_path: Path) -> Studio:  # noqa: F811
    """All three tasks, few steps, and uploads of at most 100,000 bytes."""
    folders = {task: models[task] for task in Task}
    samplings = {
        task: recommended(folder, device="cpu", frame_height=HEIGHT, frame_width=WIDTH)
        for task, folder in folders.items()
    }
    (tmp_path / "results").mkdir()
    limits = Limits(steps=30, image_bytes=100_000, image_pixels=200 * 200, prompt_characters=40)
    return Studio(folders, tmp_path / "results", samplings, {"flat": scene}, limits)

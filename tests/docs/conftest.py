"""What the readers of the pages have: the results of a run, folders of views, a shell."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import textures
from PIL import Image
from readers import Reader
from tiny_rater import write_rater

import mvdiffusion_eval

ROOT = Path(__file__).resolve().parents[2]
SMOKE = ROOT / "results/smoke"
CODE = ("Snakefile", "workflow", "profiles", "config", "benchmarks", "mvdiffusion", "eval", "tests")
FILES = ("constraints.txt", "pyproject.toml", "Makefile", "data.dvc", "base.dvc", ".dvc")
COMMANDS = {
    "mvdiffusion": "-m mvdiffusion.cli",
    "mvdiffusion-eval": "-m mvdiffusion_eval",
    "snakemake": "-m snakemake",
    "dvc": "-m dvc",
    "python": "",
}


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the commands that an installation would put on the path."""
    folder = tmp_path_factory.mktemp("commands")
    for name, words in COMMANDS.items():
        (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def smoke() -> Path:
    """The results of `make smoke`, which runs now if there are none."""
    if not (SMOKE / "report.html").exists():
        run = [sys.executable, "-m", "snakemake", "--cores", "2", "--quiet", "all", "smoke"]
        subprocess.run(run, cwd=ROOT, check=True)
    return SMOKE


@pytest.fixture(scope="session")
def given(tmp_path_factory: pytest.TempPathFactory, smoke: Path) -> Path:
    """The folders and files that pages take for given, by the names that they have there."""
    root = tmp_path_factory.mktemp("given")
    real = {f"room{seed}": textures.panorama_views(seed, 192) for seed in range(3)}
    rng = np.random.default_rng(0)
    for name, noise in (
        ("real_views", 0),
        ("my_views", 4),
        ("their_views", 9),
        ("other_views", 15),
    ):
        made = {
            key: np.uint8(np.clip(views + rng.normal(0, noise, views.shape), 0, 255))
            for key, views in real.items()
        }
        for sample in textures.write_views(root / name, made).iterdir():
            (sample / "prompt.txt").write_text("A room full of disks\n")
    for name in ("my_panoramas", "real_panoramas", "my_folder", "their_folder"):
        (root / name).mkdir()
        for seed in range(3):
            pixels = textures.disks(256, 512, seed + (name == "my_panoramas"), closed=True)
            Image.fromarray(pixels).save(root / name / f"room{seed}.png")
    for name in ("photo.jpg", "a.jpg", "b.jpg"):
        Image.fromarray(textures.disks(256, 512, len(name), closed=True)).save(root / name)
    (root / "texts").mkdir()
    for name in ("a", "b"):
        (root / "texts" / f"{name}.txt").write_text("A room full of disks\n")
    write_theirs(root / "theirs", list(real.values()))
    write_rater(root / "my_rater")
    scored, made = (smoke / f"{part}/panorama/mvdiffusion" for part in ("scores", "images"))
    mvdiffusion_eval.pack(scored.with_suffix(".json"), made, root / "theirs.zip")
    shutil.copytree(smoke / "walks/test/test/test-walk-00000", root / "FOLDER")
    next((root / "FOLDER").glob("key_frame*.txt")).unlink()
    for name, part in (
        ("models/pano", "models/panorama_stage2"),
        ("results/look/models/panorama_stage2", "models/panorama_stage2"),
        ("guided/images/panorama/mvdiffusion", "images/panorama/mvdiffusion"),
        *((f"results/{part.name}", part.name) for part in smoke.iterdir()),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(smoke / part)
    (root / "results/reference").symlink_to(ROOT / "results/reference")
    return root


def write_theirs(root: Path, rooms: list[np.ndarray]) -> None:
    """Write views as the layout has them that docs/score.md reads by a pattern."""
    for number, views in enumerate(rooms):
        room, sample = root / f"house{number}", f"spot{number}"
        for folder in (room / sample / "mvd_img", room / "mvd_img"):  # generated and real ones
            folder.mkdir(parents=True)
            for yaw, pixels in zip(range(0, 360, 45), views, strict=True):
                Image.fromarray(pixels).save(folder / f"{sample}_{yaw}.png")
        (room / "text_desc").mkdir()
        (room / "text_desc" / f"{sample}.txt").write_text("A room full of disks\n")


@pytest.fixture
def reader(tmp_path: Path, given: Path, commands: Path) -> Reader:
    """A reader of one page."""
    folder = tmp_path / "project"
    shutil.copytree(given, folder, symlinks=True)
    link_code(folder)
    shutil.copytree(ROOT / "docs", folder / "docs")
    return Reader(folder, commands)


@pytest.fixture
def planner(tmp_path: Path, commands: Path) -> Reader:
    """A reader who has run nothing yet."""
    folder = tmp_path / "plans"
    folder.mkdir()
    link_code(folder)
    return Reader(folder, commands)


def link_code(folder: Path) -> None:
    """Have the files of the repository, but for its results, in a folder."""
    for name in (*CODE, *FILES):
        (folder / name).symlink_to(ROOT / name)

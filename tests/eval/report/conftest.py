"""A page of a toy run, and what it is made of."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import toy
import yaml
from PIL import Image

STEPS = {
    "rooms_train": [],
    "panorama_stage1": ["rooms_train"],
    "panorama_mvdiffusion": ["panorama_stage1"],
    "score_panorama_mvdiffusion": ["panorama_mvdiffusion"],
    "tables": ["score_panorama_mvdiffusion"],
    "report": ["tables"],
}


@pytest.fixture(scope="session")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log") / "metrics.jsonl"
    lines = [{"step": step, "loss": 1 / (step + 1), "lr": 1e-3} for step in range(20)]
    lines.append({"step": 19, "loss": 0.5})  # a resumed run repeats a step: the later one counts
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture(scope="session")
def draw(world: Path, scores: Path, log: Path) -> Callable[[Path], Path]:
    """Draw the figures of the toy world into a folder."""
    panoramas = [
        f"panorama/{m}" for m in ("real", "independent", "autoregressive_latent", "mvdiffusion")
    ]
    others = [f"{t}/{m}" for t in ("outpaint", "depth") for m in ("real", "mvdiffusion")]
    folders = [f"{label}={world.parent / label}" for label in panoramas + others]
    files = [str(path) for path in sorted(scores.parent.rglob("*.json"))]

    def drawn(output: Path) -> Path:
        words = [*toy.repeated("--generated", folders), *toy.repeated("--scores", files)]
        words += ["--curves", f"vae={log}", "--num-samples", "2"]
        toy.run("figures", *words, "--output-dir", str(output))
        return output

    return drawn


@pytest.fixture(scope="session")
def figures(draw: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("made") / "figures")


@pytest.fixture(scope="session")
def made(
    figures: Path, scores: Path, world: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """All that a page is made of: tables, metrics, times, and folders of images."""
    root = tmp_path_factory.mktemp("page")
    shutil.copytree(figures, root / "figures")
    files = [str(path) for path in sorted(scores.parent.rglob("*.json"))]
    arguments = ["tables", *files, "--output-dir", str(root / "tables")]
    toy.run(*arguments, "--metrics", str(root / "metrics.json"))
    for step, seconds in {"train_vae": 12.7, "train_clip": 30.0, "tables": 20.0}.items():
        path = root / f"{step}.tsv"
        path.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:12\t512\n")
        os.utime(path, (1000, 1000))  # all end at the same time
    for method in ("real", "mvdiffusion"):
        target = shutil.copytree(world / method, root / "panorama" / method)
        for sample in ("room000", "room005"):
            Image.new("RGB", (64, 32), (200, 30, 60)).save(target / sample / "panorama.png")
    return root


@pytest.fixture(scope="session")
def write(made: Path, world: Path, scores: Path) -> Callable[..., Path]:
    """Write a page of the toy run."""

    def written(name: str, *words: str, **configuration: object) -> Path:
        config = {"name": "<toy> & co", "seed": 0, "steps": STEPS, **configuration}
        (made / f"{name}.yaml").write_text(yaml.safe_dump(config))
        steps = [f"{step}={made / step}.tsv" for step in ("absent", "train_vae", "train_clip")]
        steps.append(f"tables={made / 'tables.tsv'}")
        shown = [f"panorama/{m}={made / 'panorama' / m}" for m in ("real", "mvdiffusion")]
        shown += [f"panorama/mine={world / 'independent'}"]  # views alone, of which it is stitched
        shown += [f"depth/{m}={world.parent / 'depth' / m}" for m in ("real", "mvdiffusion")]
        shown += [f"depth/wrong_correspondence={world.parent / 'depth/independent'}"]
        page = made / f"{name}.html"
        toy.run(
            *("report", "--tables", str(made / "tables"), "--figures", str(made / "figures")),
            *("--metrics", str(made / "metrics.json"), "--config", str(made / f"{name}.yaml")),
            *toy.repeated("--benchmark", steps),
            *toy.repeated("--generated", shown),
            *("--scores", str(scores / "mvdiffusion.json")),
            *("--leaderboard", str(made / "boards/leader & board.html")),
            *("--output", str(page), *words),
        )
        return page

    return written


@pytest.fixture(scope="session")
def page(write: Callable[..., Path]) -> Path:
    return write("report", data={"embedded_md5": "0123abcd.dir"})

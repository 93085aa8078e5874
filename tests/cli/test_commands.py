"""The commands that the workflow calls reach what they name."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from noise_data import write_rooms
from scenes import HEIGHT, WIDTH, write_scene

from mvdiffusion.cli import app

Run = Callable[..., tuple[int, str]]
VIEWS = {"image_size": 16, "num_views": 4, "fov_deg": 90.0}
FRAMES = {"height": HEIGHT // 2, "width": WIDTH // 2, "num_views": 3, "num_between": 1}


def commands(group: typer.Typer, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    own = [
        (*path, str(command.name or command.callback.__name__))
        for command in group.registered_commands
    ]
    return own + [
        name
        for child in group.registered_groups
        for name in commands(child.typer_instance, (*path, str(child.name)))
    ]


def test_every_command_explains_itself(run: Run) -> None:
    assert set(map(" ".join, commands(app))) == {
        *("convert", "mesh", "fetch-base"),
        *(f"data {name}" for name in ("rooms", "walks", "key-frames", "export", "views", "stitch")),
        *(f"data {name}" for name in ("fetch", "labels", "prepare", "splits", "caption")),
        *(f"data {name}" for name in ("check", "import", "equirect")),
        *(f"train {name}" for name in ("vae", "base", "inpainting", "stage1", "stage2")),
        *(f"generate {name}" for name in ("split", "panorama", "outpaint", "depth")),
    }
    for words in commands(app):
        code, said = run(*words, "--help")
        assert (code, "--help" in said) == (0, True)


def test_as_a_module_it_loads_nothing_heavy() -> None:
    code = "import sys, mvdiffusion.cli; print('torch' in sys.modules, 'numpy' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "False"]
    words = [sys.executable, "-m", "mvdiffusion.cli", "data", "rooms", "--settings", "{"]
    ran = subprocess.run([*words, "--output", "x"], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr.startswith("mvdiffusion: --settings:")


@pytest.mark.parametrize("task", ["panorama", "outpaint", "depth"])
def test_splits_of_every_task(run: Run, models: dict[str, Path], tmp_path: Path, task: str) -> None:
    root = tmp_path / "data"
    if task == "depth":
        write_scene(root / "test" / "scene", 5, [0, 2, 4])
    else:
        write_rooms(root, "test", ["a", "b"], 0)
    shared = ("--split", "test", "--settings-sha256", "0" * 64, "--task", task)
    data = FRAMES if task == "depth" else VIEWS
    settings = json.dumps({"data": data, "num_samples": 1})
    code, said = run(
        "data", "export", "--root", root, "--output", tmp_path / "real", *shared, "--settings",
        settings,
    )  # fmt: skip
    assert code == 0, said
    settings = json.dumps(
        {"data": data, "num_samples": 1, "num_inference_steps": 1, "seed": 1, "device": "cpu"}
    )
    code, said = run(
        "generate", "split", "--method", "mvdiffusion", "--model", models[task], "--data", root,
        "--output", tmp_path / "made", *shared, "--settings", settings,
    )  # fmt: skip
    assert code == 0, said
    for name, method in (("real", "real"), ("made", "mvdiffusion")):
        manifest = json.loads((tmp_path / name / "manifest.json").read_text())
        assert (manifest["task"], manifest["method"]) == (task, method)
        assert manifest.get("given_views", []) == ([0] if task == "outpaint" else [])
    settings = json.dumps({"data": {"color": 3}})
    code, said = run(
        "data", "export", "--root", root, "--output", tmp_path / "x", *shared, "--settings",
        settings,
    )  # fmt: skip
    assert code == 2
    assert f"data.{'frames' if task == 'depth' else 'views'}" in said


def test_outpainting_has_no_first_stage(run: Run, tmp_path: Path) -> None:
    names = ("data", "validation", "base", "output", "checkpoints", "log-dir")
    folders = [word for name in names for word in (f"--{name}", tmp_path / name)]
    code, said = run("train", "stage1", "--task", "outpaint", "--settings", "{}", *folders)
    assert (code, "mvdiffusion train inpainting" in said) == (2, True)

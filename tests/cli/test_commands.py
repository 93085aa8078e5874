"""The commands that the workflow calls reach what they name."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from noise_data import write_rooms
from scenes import HEIGHT, WIDTH, write_scene
from typer import Typer
from typer.main import get_command
from typer.testing import CliRunner

import mvdiffusion_eval.cli
from mvdiffusion.cli import app

Run = Callable[..., tuple[int, str]]
VIEWS = {"image_size": 16, "num_views": 4, "fov_deg": 90.0}
FRAMES = {"height": HEIGHT // 2, "width": WIDTH // 2, "num_views": 3, "num_between": 1}


NO_SENTENCE = re.compile(r"(Of|What|Those|They|You|Gets|So many|At most|Where)\b")
OLD_WORDS = re.compile(
    r"\b(anew|be had|goes on|is none|middle square|stay away|told|whole or not at all)\b"
)


def commands(group: Any, path: str = "") -> dict[str, Any]:
    """Commands by their words, groups of commands too."""
    found = {path.strip(): group}
    for name, command in getattr(group, "commands", {}).items():
        found |= commands(command, f"{path} {name}")
    return found


COMMANDS = commands(get_command(app))


def test_there_are_these_commands() -> None:
    assert set(COMMANDS) == {
        *("", "convert", "demo", "mesh", "fetch-base", "release-base", "data", "train", "generate"),
        "fetch-released",
        *(f"data {name}" for name in ("rooms", "walks", "key-frames", "export", "views", "stitch")),
        *(f"data {name}" for name in ("fetch", "labels", "prepare", "splits", "caption")),
        *(f"data {name}" for name in ("check", "import", "equirect")),
        *(f"train {name}" for name in ("vae", "decoder", "base", "inpainting", "stage1", "stage2")),
        *("train panorama-finetune", "train controlnet", "external"),
        *(f"external {name}" for name in ("list", "plan", "install", "run", "import", "check")),
        *(f"generate {name}" for name in ("split", "panorama", "outpaint", "depth")),
    }


@pytest.mark.parametrize("app", [app, mvdiffusion_eval.cli.app])
def test_version_and_short_help(app: Typer) -> None:
    assert CliRunner().invoke(app, ["--version"]).output == f"{version('mvdiffusion')}\n"
    assert "--version" in CliRunner().invoke(app, ["-h"]).output


@pytest.mark.parametrize(
    ("app", "typed", "found"),
    [(app, "gen", "generate"), (mvdiffusion_eval.cli.app, "com", "compare")],
)
def test_a_shell_completes_words(app: Typer, typed: str, found: str) -> None:
    """What the shell asks for at a tab, once `--install-completion` was called."""
    asked = {"_PROGRAM_COMPLETE": "complete_bash", "COMP_WORDS": f"program {typed}"}
    runner = CliRunner(env={**asked, "COMP_CWORD": "1"})
    assert runner.invoke(app, [], prog_name="program").output.split() == [found]
    assert "--install-completion" in runner.invoke(app, ["--help"], prog_name="other").output


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_explains_itself_in_sentences(run: Run, words: str) -> None:
    code, said = run(*words.split(), "--help")
    assert (code, "--help" in said) == (0, True)
    command = COMMANDS[words]
    texts = {"itself": command.help} | {option.name: option.help for option in command.params}
    for name, text in texts.items():
        assert text, f"{name} is not explained"
        assert text[0].isupper(), f"{name}: {text!r} does not begin with a capital"
        assert text.endswith("."), f"{name}: {text!r} does not end with a period"
        assert not NO_SENTENCE.match(text), f"{name}: {text!r} begins without its noun"
        assert not OLD_WORDS.search(text), f"{name}: {text!r}"


def test_outputs_say_what_happens_to_those_of_other_settings() -> None:
    for words, command in COMMANDS.items():
        options = {option.name: option.help for option in command.params}
        if options.get("output", "").startswith("Output folder"):
            assert "refused" in options["output"], words
            assert re.search("moved|files are kept", options["overwrite"]), words


@pytest.mark.long
def test_as_a_module_it_loads_nothing_heavy() -> None:
    code = "import sys, mvdiffusion.cli; print('torch' in sys.modules, 'numpy' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "False"]
    words = [sys.executable, "-m", "mvdiffusion.cli", "data", "rooms", "--settings", "{"]
    ran = subprocess.run([*words, "--output", "x"], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr.startswith("mvdiffusion: settings: could not read")


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
        "data", "export", "--data", root, "--output", tmp_path / "real", *shared, "--settings",
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
        "data", "export", "--data", root, "--output", tmp_path / "x", *shared, "--settings",
        settings,
    )  # fmt: skip
    assert code == 2
    assert "unknown setting 'data.color'; known: " in said


def test_outpainting_has_no_first_stage(run: Run, tmp_path: Path) -> None:
    names = ("data", "validation", "base", "output", "checkpoints", "log-dir")
    folders = [word for name in names for word in (f"--{name}", tmp_path / name)]
    code, said = run("train", "stage1", "--task", "outpaint", "--settings", "{}", *folders)
    assert (code, "mvdiffusion train inpainting" in said) == (2, True)

"""Weights: nothing wrong or unfinished gets its place; a plan's commands do what `install` does.

`hf` is a stand-in that copies a folder, as the hub would send it.
"""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.long

Run = Callable[..., tuple[int, str]]
Track = Callable[[Path, str, str], None]
FILES = {"config.json": b"{}", "unet/model.safetensors": b"weights" * 1000}
HASHES = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
HF = """#!/bin/sh
[ "$1" = download ] && [ "$2" = somebody/model ] && [ "$3" = --local-dir ] || exit 3
mkdir -p "$4/.cache/huggingface"
echo lock > "$4/.cache/huggingface/lock"
cp -rn "{hub}/." "$4"
"""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the model's folder on the hub holds."""
    folder, programs = tmp_path / "hub", tmp_path / "programs"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    programs.mkdir()
    (programs / "hf").write_text(HF.format(hub=folder))
    (programs / "hf").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return folder


@pytest.fixture
def specification(write_specification: Callable[..., Path], hub: Path) -> Path:
    """The stand-in, with weights of the hub as well."""
    path = write_specification()
    content = yaml.safe_load(path.read_text())
    content["checkpoints"].append({"path": "weights/m", "hub": "somebody/model", "sha256": HASHES})
    path.write_text(yaml.safe_dump(content))
    return path


def test_files_of_a_model(run: Run, specification: Path, hub: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    weights = root / "stand-in/source/weights"
    (hub / "unet/model.safetensors").write_bytes(b"another")
    (hub / "more.txt").write_text("more")
    code, said = run("install", specification, "--root", root)
    assert code == 2
    assert "warning: the revision of somebody/model is not on record" in said
    error = said.splitlines()[-1]
    found, known = hashlib.sha256(b"another").hexdigest(), HASHES["unet/model.safetensors"]
    assert f"weights/m.part/unet/model.safetensors: its SHA-256 is {found}, but {known}" in error
    assert "is on record; it was deleted: run `mvdiffusion external install` again." in error
    assert sorted(path.name for path in weights.iterdir()) == ["gain.txt", "m.part"]
    assert not (weights / "m.part/unet/model.safetensors").exists()
    assert (weights / "m.part/config.json").exists()
    (hub / "unet/model.safetensors").write_bytes(FILES["unet/model.safetensors"])
    code, said = run("install", specification, "--root", root)
    assert code == 0, said
    assert "weights/m: no hash is on record of more.txt; installed.json has what was" in said
    assert sorted(path.name for path in weights.iterdir()) == ["gain.txt", "m"]
    steps = json.loads((root / "stand-in/installed.json").read_text())["steps"]
    more = {"more.txt": hashlib.sha256(b"more").hexdigest()}
    assert list(steps.values())[-1] == HASHES | more


def test_a_file_that_is_missing(run: Run, specification: Path, hub: Path, tmp_path: Path) -> None:
    (hub / "config.json").unlink()
    code, said = run("install", specification, "--root", tmp_path / "root")
    assert code == 2
    assert "weights/m.part/config.json: its SHA-256 is none, it is missing, but" in said


def test_a_finished_installation_is_verified(run: Run, specification: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    code, said = run("check", specification, "--root", root)  # nothing is installed
    assert code == 0, said
    assert run("install", specification, "--root", root)[0] == 0
    code, said = run("check", specification, "--root", root)
    assert code == 0, said
    changed = root / "stand-in/source/weights/m/config.json"
    changed.write_text("{ }")
    for command in ("install", "check"):
        code, said = run(command, specification, "--root", root)
        assert code == 2
        assert f"{changed}: its SHA-256 is" in said
        assert f"is on record; delete {changed.parent}, and run `mvdiffusion external ins" in said
    assert changed.exists()
    shutil.rmtree(changed.parent)
    code, said = run("install", specification, "--root", root)
    assert code == 0, said
    assert changed.read_bytes() == FILES["config.json"]


@pytest.mark.parametrize("by_hand", [False, True])
@pytest.mark.parametrize("hashes", [{}, HASHES])
def test_the_repository_is_not_taken_for_weights(
    run: Run,
    specification: Path,
    track: Track,
    tmp_path: Path,
    by_hand: bool,
    hashes: dict[str, str],
) -> None:
    """It is said before the environment is made, and again by the next call."""
    track(specification, "weights/m/.gitkeep", "")
    content = yaml.safe_load(specification.read_text())
    source = {"by_hand": "ask somebody"} if by_hand else {"hub": "somebody/model"}
    content["checkpoints"][1] = {"path": "weights/m", "sha256": hashes, **source}
    specification.write_text(yaml.safe_dump(content))
    root = tmp_path / "root"
    for _ in range(2):
        code, said = run("install", specification, "--root", root)
        assert code == 2
        assert f"{root}/stand-in/source/weights/m: is in the repository already" in said
        assert "choose another path for the weights" in said
    assert not (root / "stand-in/environment").exists()


def test_what_an_install_command_leaves_is_not_taken_for_weights(
    run: Run, specification: Path, tmp_path: Path
) -> None:
    content = yaml.safe_load(specification.read_text())
    content["environment"]["install"] = [["mkdir", "-p", "weights/m"]]
    specification.write_text(yaml.safe_dump(content))
    code, said = run("install", specification, "--root", tmp_path / "root")
    assert code == 2
    assert "source/weights/m: is in the repository already" in said


def test_weights_of_the_repository_with_their_hash(
    run: Run, specification: Path, track: Track, tmp_path: Path
) -> None:
    """They are taken, and nothing is fetched."""
    track(specification, "weights/gain.txt", "3\n")
    (tmp_path / "gain.txt").unlink()
    code, said = run("install", specification, "--root", tmp_path / "root")
    assert code == 0, said


@pytest.mark.parametrize("weights", ["gain.txt", "m"])
def test_killed_before_weights_get_their_place(
    run: Run, specification: Path, tmp_path: Path, weights: str
) -> None:
    """A whole download is taken as it is; without hashes, the hub's is asked for once more."""
    content = yaml.safe_load(specification.read_text())
    del content["checkpoints"][1]["sha256"]
    specification.write_text(yaml.safe_dump(content))
    root = tmp_path / "root"
    assert run("install", specification, "--root", root)[0] == 0
    place = root / "stand-in/source/weights" / weights
    place.rename(place.with_name(f"{weights}.part"))
    (tmp_path / "gain.txt").unlink()
    code, said = run("install", specification, "--root", root)
    assert code == 0, said
    assert place.exists()
    assert not place.with_name(f"{weights}.part").exists()


def test_a_download_that_cannot_go_on(run: Run, specification: Path, tmp_path: Path) -> None:
    """What is there of it is kept, and named."""
    root = tmp_path / "root"
    (tmp_path / "gain.txt").rename(tmp_path / "later.txt")
    code, said = run("install", specification, "--root", root)
    assert code == 2
    assert "went on" not in said
    part = root / "stand-in/source/weights/gain.txt.part"
    part.parent.mkdir(exist_ok=True)
    part.write_text("3")
    code, said = run("install", specification, "--root", root)
    assert code == 2
    assert f"The download went on from {part}; if it keeps failing, delete this file." in said
    assert part.read_text() == "3"
    (tmp_path / "later.txt").rename(tmp_path / "gain.txt")
    code, said = run("install", specification, "--root", root)
    assert code == 0, said
    assert part.with_name("gain.txt").read_text() == "3\n"


def test_weights_that_a_person_has_put_there(run: Run, specification: Path, tmp_path: Path) -> None:
    """They are not fetched, but their hashes count."""
    content = yaml.safe_load(specification.read_text())
    checkpoint = content["checkpoints"][1]
    del checkpoint["hub"]
    checkpoint["by_hand"] = "ask somebody"
    specification.write_text(yaml.safe_dump(content))
    root = tmp_path / "root"
    place = root / "stand-in/source/weights/m"
    code, said = run("install", specification, "--root", root)
    assert code == 2
    assert f"put them at {place}: ask somebody" in said
    shutil.copytree(tmp_path / "hub", place)
    (place / "config.json").write_text("[]")
    code, said = run("install", specification, "--root", root)
    assert code == 2
    assert f"{place}/config.json: its SHA-256 is" in said
    assert (place / "config.json").exists()
    (place / "config.json").write_text("{}")
    code, said = run("install", specification, "--root", root)
    assert code == 0, said


def commands(plan: str) -> str:
    """The commands of a plan's installation, as one would copy them."""
    steps = plan.split("\ninstall: ")[1].split("\nrun: ")[0].splitlines()
    lines = [line.strip() for line in steps if line.startswith("     ")]
    return "\n".join(line for line in lines if not line.startswith("warning: "))


@pytest.mark.parametrize("wrong", [False, True])
def test_a_plan_can_be_copied_into_a_shell(
    run: Run, specification: Path, hub: Path, tmp_path: Path, wrong: bool
) -> None:
    """A folder with a blank in its name; weights of another hash do not get their place."""
    root = tmp_path / "my root"
    code, plan = run("plan", specification, "--root", root)
    assert code == 0, plan
    assert f"install: mvdiffusion external install {specification} --root '{root}'" in plan
    if wrong:
        (hub / "config.json").write_text("[]")
    script = f"set -e\n{commands(plan)}\n"
    shell = subprocess.run(["bash"], input=script, capture_output=True, text=True, check=False)
    source = root / "stand-in/source"
    assert (shell.returncode != 0) == wrong, shell.stderr
    assert (source / "method.py").exists()
    assert (root / "stand-in/environment/bin/python").exists()
    assert (source / "weights/gain.txt").read_text() == "3\n"
    assert (source / "weights/m/unet/model.safetensors").exists() != wrong

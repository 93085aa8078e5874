"""A stand-in for a method of others, on its whole way: install, run, import, check, table."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from mvdiffusion import medals
from mvdiffusion.data.matterport3d import Matterport3DPanoramas
from mvdiffusion.external import process
from mvdiffusion.external.generate import Run as External
from mvdiffusion.external.requests import joined, make_requests, seed_of
from mvdiffusion.external.steps import Place
from mvdiffusion.methods.specification import find_specification, read_specification
from mvdiffusion.records import InputError
from mvdiffusion.tasks import Task
from mvdiffusion_eval.cli import main as evaluate

Run = Callable[..., tuple[int, str]]
SETTINGS = json.dumps({"data": {"image_size": 16, "num_views": 8, "fov_deg": 90.0}, "seed": 7})


@pytest.fixture
def words(rooms: Path, tmp_path: Path) -> tuple[object, ...]:
    """What every run is told."""
    return ("--data", rooms, "--settings", SETTINGS, "--root", tmp_path / "root",
            "--output", tmp_path / "raw")  # fmt: skip


@pytest.mark.slow
def test_the_whole_way(
    run: Run, write_specification: Callable[..., Path], words: tuple[object, ...], tmp_path: Path
) -> None:
    path = write_specification()
    code, said = run("run", path, *words)
    assert code == 2
    assert "external/stand-in is not installed there as specified (repository: make a fo" in said
    code, said = run("install", path, "--root", tmp_path / "root")
    assert code == 0, said
    installed = json.loads((tmp_path / "root/stand-in/installed.json").read_text())["steps"]
    assert len(installed) == 5
    assert "1121cfccd5913f0a" in str(installed)
    assert (tmp_path / "root/stand-in/environment/bin/python").exists()
    code, said = run("install", path, "--root", tmp_path / "root")
    assert "already made with these settings" in said
    code, said = run("run", path, *words)
    assert code == 0, said
    requests = json.loads((tmp_path / "raw/requests.json").read_text())
    asked = {sample["id"]: sample for sample in requests["samples"]}
    assert set(asked) == {"a", "b", "c"}
    assert len(asked["b"]["prompts"]) == len(requests["yaw_deg"]) == 8
    assert asked["b"]["prompt"].startswith("A panorama. a green room, no. 1. a blue ")
    assert f"making b {asked['b']['prompt']}" in (tmp_path / "raw/log.txt").read_text()
    blue = np.asarray(Image.open(tmp_path / "raw/b/pano.png"))[..., 2]
    assert (blue == asked["b"]["seed"] % 256).all()
    ours = tmp_path / "ours"
    code, said = run("import", path, tmp_path / "raw", "--output", ours)
    assert code == 0, said
    assert (ours / "b/prompt.txt").read_text().splitlines() == asked["b"]["prompts"]
    manifest = json.loads((ours / "manifest.json").read_text())
    assert manifest["settings"]["commit"] == (tmp_path / "commit").read_text()
    column = np.asarray(Image.open(ours / "a/0.png"))[8, :, 0].astype(float)
    angle = np.degrees(np.arctan((np.arange(16) - 7.5) / 8))  # red is 3 per column of 5.625°
    assert np.abs(column - 3 * (angle / 5.625 + 31.5)).max() < 2
    code, said = run("check", path, ours, "--protocol", "paper-consistency-pano")
    assert code == 0, said
    assert "cross_view_psnr (panorama): 0 in this test; here" in said
    assert "not within 1" in said
    assert "not compared: no protocol of the suite is known to be the paper's" in said
    assert said.endswith("Stand-in: runs\n")
    measured = json.loads((tmp_path / "ours.json").read_text())["metrics"]["cross_view_psnr"]
    path = write_specification(value=measured["value"] + 0.5)
    code, said = run("check", path, tmp_path / "ours.json")
    assert said.endswith("Stand-in: reproduced\n")
    code, said = run("check", path)
    assert said.endswith("Stand-in: numbers on record\n")
    with pytest.raises(SystemExit) as ended:
        evaluate(["tables", str(tmp_path / "ours.json"), "--output-dir", str(tmp_path / "tables"),
                  "--metrics", str(tmp_path / "metrics.json")])  # fmt: skip
    assert not ended.value.code
    with (tmp_path / "tables/panorama_main.csv").open() as file:
        assert [row[0] for row in csv.reader(file)][1:] == ["external/stand-in"]


def is_ended(process: int, seconds: float) -> bool:
    """Whether a process ends within a time; what nobody has waited for yet counts as ended."""
    deadline, status = time.monotonic() + seconds, Path(f"/proc/{process}/stat")
    while time.monotonic() < deadline:
        try:
            if status.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.slow
def test_it_is_killed_midway_and_goes_on(
    run: Run, write_specification: Callable[..., Path], words: tuple[object, ...], tmp_path: Path
) -> None:
    """Nothing of the killed run goes on by itself; what was finished is not made again."""
    path, raw = write_specification(pause=2), tmp_path / "raw"
    assert run("install", path, "--root", tmp_path / "root")[0] == 0
    command = [sys.executable, "-m", "mvdiffusion.cli", "external", "run", path, *words]
    with subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL) as killed:
        deadline = time.monotonic() + 300
        while not (raw / "a/pano.png").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(killed.pid, signal.SIGKILL)
    first = (raw / "a/pano.png").stat().st_mtime_ns
    (raw / "b").mkdir(exist_ok=True)
    (raw / "b/pano.png").write_bytes((raw / "a/pano.png").read_bytes()[:100])  # half a picture
    assert is_ended(int((raw / "pid").read_text()), seconds=1.5)  # it pauses longer than that
    time.sleep(1)
    assert (raw / "b/pano.png").stat().st_size == 100
    code, said = run("run", path, *words)
    assert code == 0, said
    assert (raw / "a/pano.png").stat().st_mtime_ns == first
    log = (raw / "log.txt").read_text()
    assert [log.count(f"making {name} ") for name in "ac"] == [1, 1]
    Image.open(raw / "b/pano.png").load()


def test_nothing_that_a_program_has_started_outlives_this_process(tmp_path: Path) -> None:
    """Programs start others, as `conda run` does; killed, this process can end none of them."""
    script = f"sleep 60 & echo $! > {tmp_path}/pid; wait"
    code = f"""
from pathlib import Path
from mvdiffusion.external.process import run
run(["sh", "-c", {script!r}], Path({str(tmp_path)!r}), Path({str(tmp_path / "log.txt")!r}))
"""
    with subprocess.Popen([sys.executable, "-c", code]) as killed:
        deadline, pid = time.monotonic() + 60, tmp_path / "pid"
        while not (pid.exists() and pid.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(killed.pid, signal.SIGKILL)
    assert is_ended(int(pid.read_text()), seconds=5)


@pytest.mark.slow
def test_it_fails_loudly(
    run: Run, write_specification: Callable[..., Path], words: tuple[object, ...], tmp_path: Path
) -> None:
    path = write_specification(broken="b")
    assert run("install", path, "--root", tmp_path / "root")[0] == 0
    code, said = run("run", path, *words)
    assert code == 2
    assert "ended with code 1; its last lines were" in said
    assert "| RuntimeError: no b today" in said
    assert "Traceback" not in said.split("its last lines were")[0]
    assert (tmp_path / "raw/a/pano.png").exists()
    assert not (tmp_path / "raw/manifest.json").exists()
    code, said = run("import", path, tmp_path / "raw", "--output", tmp_path / "ours")
    assert code == 2
    assert "the sample 'b' lacks b/pano.png" in said
    assert not (tmp_path / "ours").exists()


def test_weights_with_another_hash(
    run: Run, write_specification: Callable[..., Path], tmp_path: Path
) -> None:
    path = write_specification(sha256="f" * 64)
    code, said = run("install", path, "--root", tmp_path / "root")
    assert code == 2
    assert "weights/gain.txt.part: its SHA-256 is 1121cfcc" in said
    assert "'wrong commit'" not in said
    assert list((tmp_path / "root/stand-in/source/weights").iterdir()) == []


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\| no-such-command: No such file .*; install it"):
        process.run(["no-such-command"], tmp_path, tmp_path / "log.txt")


def test_secrets_are_not_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefgh")
    monkeypatch.setenv("PYTHONPATH", "ours")
    say = "import os, sys; print('it is', os.environ['HF_TOKEN'], os.environ.get('PYTHONPATH'))"
    process.run([sys.executable, "-c", say, "hf_abcdefgh"], tmp_path, tmp_path / "log.txt")
    log = (tmp_path / "log.txt").read_text()
    assert "it is <HF_TOKEN> None" in log
    assert "hf_abcdefgh" not in log


def test_prompts_and_seeds() -> None:
    assert joined(["a bed.", "a  door", "a bed."], "A panorama. ") == "A panorama. a bed. a door."
    assert seed_of(7, "a") != seed_of(7, "b")
    assert all(0 <= seed_of(number, "a") < 2**32 for number in range(50))


def result(**score: object) -> list[medals.Comparison]:
    found = {"task": "panorama", "images": {"num_samples": 1092}, "metrics": {}} | score
    return medals.compare(find_specification("panfusion"), found)


def measured(value: float, protocol: str) -> dict[str, object]:
    return {"value": value, "protocol": protocol}


def test_medals() -> None:
    """Only the paper's protocol on as many samples can reproduce its number."""
    near = {"panorama_fid": measured(44.0, "panfusion-panorama")}
    far = near | {"panfusion_8_fid": measured(25.0, "panfusion-8")}
    other = {"panorama_fid": measured(45.21, "antialiased")}
    assert medals.medal({}, result(metrics=near)) == "reproduced"
    assert medals.medal({}, result(metrics=far)) == "runs"
    assert medals.medal({}, result(metrics=other)) == "runs"
    assert medals.medal({}, result(metrics=near, images={"num_samples": 64})) == "runs"
    assert medals.medal(None, medals.compare(find_specification("panfusion"), None)) == (
        "numbers on record"
    )
    few = result(metrics=near, images={"num_samples": 64})[0]
    assert "not compared: of 64 samples, not of 1092" in few.words


ONE = """
import pathlib, sys
from PIL import Image

sample, prompt, seed, inputs, output = sys.argv[1:]
print("making", sample, prompt, pathlib.Path(inputs).name)
Image.new("RGB", (64, 32), (int(seed) % 256, 0, 0)).save(f"{output}/{sample}/pano.jpg")
"""


def test_a_process_per_sample(rooms: Path, tmp_path: Path) -> None:
    """For programs that take one prompt; what is there is not made again."""
    path = tmp_path / "one.yaml"
    command = ["python", "{script}", "{sample}", "{prompt}", "{seed}", "{inputs}", "{output}"]
    generation = {"command": command, "script": ONE, "per_sample": True,
                  "output": {"layout": "equirectangular", "files": "{sample}/pano.*"}}  # fmt: skip
    repository = {"url": "x", "commit": "0" * 40, "license": "MIT"}
    content = {"name": "one", "title": "One", "paper": "none", "checked": "here",
               "repository": repository, "environment": {"backend": "venv"},
               "tasks": {"panorama": generation}}  # fmt: skip
    path.write_text(yaml.safe_dump(content))
    place = Place(tmp_path / "root")
    (place.environment / "bin").mkdir(parents=True)
    python = place.environment / "bin/python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    place.source.mkdir()
    dataset = Matterport3DPanoramas(rooms, "test", image_size=16)
    specification, folder = read_specification(path), tmp_path / "raw"
    requests = make_requests(specification, Task.PANORAMA, dataset, seed=1)
    (folder / "b").mkdir(parents=True)
    Image.new("RGB", (64, 32)).save(folder / "b/pano.jpg")
    External(specification, requests, folder).go(place, rooms)
    log = (folder / "log.txt").read_text()
    assert [log.count(f"making {name} a ") for name in "abc"] == [1, 0, 1]
    red = np.asarray(Image.open(folder / "c/pano.jpg"))[0, 0, 0].astype(int)
    assert abs(red - seed_of(1, "c") % 256) <= 2
    assert np.asarray(Image.open(folder / "b/pano.jpg")).max() == 0

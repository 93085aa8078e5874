"""Real processes that train together: the same losses and weights, whatever their number."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from tiny_training import BASE_PARTS, VAE_MODEL, settings
from torch import Tensor
from torch.testing import assert_close

pytestmark = pytest.mark.slow

STEPS = {"training__steps": 6, "training__batch_size": 4, "training__log_every": 1}
ADVERSARIAL = {"adversarial_weight": 0.1, "adversarial_start": 0.5}
STARTED = "mvdiffusion.cli"
MOVED = 1e-4  # AdamW moves a weight by up to 1e-3 a step, whatever rounding its gradient is


def command(stage: str, root: Path, rooms: Path, base: Path | None, **changes: Any) -> list[str]:
    """Words of a training; the settings are those of a tiny model."""
    words = ["train", stage, "--settings", json.dumps(settings(**STEPS | changes))]
    words += ["--data", str(rooms), "--validation", str(rooms), "--output", str(root / "output")]
    words += ["--checkpoints", str(root / "checkpoints"), "--log-dir", str(root / "log")]
    return [*words, *(["--base", str(base)] if base else [])]


def environment() -> dict[str, str]:
    paths = os.pathsep.join(filter(None, sys.path))
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}


def run(words: list[str], *more: str, start: tuple[str, ...] = (sys.executable,)) -> str:
    """Run a command to its end; what it said on standard error."""
    done = subprocess.run(
        [*start, "-m", STARTED, *words, *more],
        env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stderr


def losses(root: Path) -> list[float]:
    lines = map(json.loads, (root / "log/metrics.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines]


def weights(root: Path) -> dict[str, Tensor]:
    files = sorted((root / "output").rglob("*.safetensors"))
    return {f"{path.parent.name}.{key}": value for path in files
            for key, value in load_file(path).items()}  # fmt: skip


def sittings(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / "log/sittings.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("stage", ["vae", "base", "stage2"])
def test_two_processes_learn_what_one_learns(
    stage: str, rooms: Path, vae_folder: Path, base_folder: Path, tmp_path: Path
) -> None:
    """The VAE with a discriminator, which has no part in the first steps."""
    base = {"vae": None, "base": vae_folder, "stage2": base_folder}[stage]
    own = {"vae": {"model": VAE_MODEL, "loss": ADVERSARIAL}, "base": BASE_PARTS, "stage2": {}}
    for number in (1, 2):
        words = command(stage, tmp_path / str(number), rooms, base, **own[stage])
        run(words, "--processes", str(number))
    one, two = tmp_path / "1", tmp_path / "2"
    assert len(losses(one)) == 6
    assert losses(two) == pytest.approx(losses(one), rel=1e-5)
    assert weights(one).keys() == weights(two).keys()
    for key, value in weights(one).items():
        assert_close(weights(two)[key], value, rtol=0, atol=MOVED)
    assert [line["processes"] for line in sittings(two)] == [2]


def test_a_training_goes_on_in_another_number_of_processes(
    rooms: Path, vae_folder: Path, tmp_path: Path
) -> None:
    """One, two, one: killed at a checkpoint each time; a log line spans the change."""
    changes = {**BASE_PARTS, "training__steps": 9, "training__log_every": 2}
    whole = command("base", tmp_path / "whole", rooms, vae_folder, **changes)
    run(whole)
    words = command(
        "base", tmp_path / "parts", rooms, vae_folder, **changes, training__checkpoint_every=3
    )
    for number, step in ((1, 3), (2, 6)):
        kill_after(tmp_path / f"parts/checkpoints/step-{step:08d}.pt", words, number)
    run(words, "--processes", "1")
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), rel=1e-5)
    for key, value in weights(tmp_path / "whole").items():
        assert_close(weights(tmp_path / "parts")[key], value, rtol=0, atol=MOVED)
    assert {line["processes"] for line in sittings(tmp_path / "parts")} == {1, 2}


def kill_after(file: Path, words: list[str], number: int) -> None:
    """Kill a training and all of its processes, once a checkpoint is there."""
    started = subprocess.Popen(
        [sys.executable, "-m", STARTED, *words, "--processes", str(number)],
        env=environment(), stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not file.exists():
        assert started.poll() is None
        time.sleep(0.01)
    started.kill()
    started.wait()


def test_a_killed_process_ends_all_with_one_sentence(
    rooms: Path, vae_folder: Path, tmp_path: Path
) -> None:
    changes = {**BASE_PARTS, "training__steps": 100_000, "training__checkpoint_every": 5}
    words = command("base", tmp_path, rooms, vae_folder, **changes)
    started = subprocess.Popen(
        [sys.executable, "-m", STARTED, *words, "--processes", "2"],
        env=environment(), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not (tmp_path / "checkpoints/step-00000005.pt").exists():
        assert started.poll() is None
        time.sleep(0.05)
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
    os.kill(int(children[1]), signal.SIGKILL)
    _, said = started.communicate(timeout=120)
    assert started.returncode == 2
    (sentence,) = [line for line in said.splitlines() if line and not line.startswith("base:")]
    assert "process 2 of 2 was ended by SIGKILL" in sentence
    assert "run the same command again" in sentence
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    run(command("base", tmp_path, rooms, vae_folder, **changes | {"training__steps": 20}),
        "--processes", "2", "--overwrite")  # fmt: skip
    assert (tmp_path / "output/model_index.json").exists()


def test_one_mistake_is_one_message(rooms: Path, vae_folder: Path, tmp_path: Path) -> None:
    words = command("base", tmp_path, rooms, vae_folder, **BASE_PARTS, training__batch_size=3)
    done = subprocess.run(
        [sys.executable, "-m", STARTED, *words, "--processes", "2"],
        env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("cannot be divided between 2 processes") == 1
    assert "Traceback" not in done.stderr


def test_accelerate_launch_starts_the_same_training(
    rooms: Path, vae_folder: Path, tmp_path: Path
) -> None:
    words = command("base", tmp_path / "ours", rooms, vae_folder, **BASE_PARTS)
    run(words, "--processes", "2")
    launch = ("accelerate.commands.accelerate_cli", "launch", "--multi_gpu", "--num_processes=2")
    theirs = command("base", tmp_path / "theirs", rooms, vae_folder, **BASE_PARTS)
    options = "--num_machines 1 --mixed_precision no --dynamo_backend no --main_process_port 0"
    run(theirs, start=(sys.executable, "-m", *launch, *options.split()))
    assert losses(tmp_path / "theirs") == losses(tmp_path / "ours")
    for key, value in weights(tmp_path / "ours").items():
        assert weights(tmp_path / "theirs")[key].equal(value)

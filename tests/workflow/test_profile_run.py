"""Where the time of a run goes, beside another run."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def profile(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "workflow.scripts.profile_run", *map(str, words)]
    paths = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": paths}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def write_run(folder: Path, seconds: dict[str, float]) -> Path:
    (folder / "benchmarks").mkdir(parents=True)
    for step, value in seconds.items():
        (folder / f"benchmarks/{step}.tsv").write_text(f"s\th:m:s\n{value}\t0:00:01\n")
    return folder


def test_two_runs_side_by_side(tmp_path: Path) -> None:
    before = {"rooms_train": 10, "train_a": 60, "generate_b": 30, "score_b": 20, "gone": 5}
    after = {"rooms_train": 5, "train_a": 30, "generate_b": 12, "score_b": 20, "new": 7}
    record = tmp_path / "before.json"
    assert profile(write_run(tmp_path / "old", before), "--record", record).returncode == 0
    assert json.loads(record.read_text())["seconds"] == before
    shown = profile(record, write_run(tmp_path / "new", after)).stdout.splitlines()
    assert shown[2:4] == ["| **data** | 10 | 5 | 0.50 |", "| rooms_train | 10 | 5 | 0.50 |"]
    assert "| **generation** | 30 | 12 | 0.40 |" in shown
    # Steps of one run alone are left out of the sums.
    assert shown[-2:] == [
        "| **all but training** | 60 | 37 | 0.62 |",
        "| **total** | 120 | 67 | 0.56 |",
    ]


def test_recorded_runs_can_be_profiled() -> None:
    shown = profile(ROOT / "results/reference/mini/provenance.json").stdout
    assert "| **training** |" in shown
    assert "| **report** |" not in shown  # no step of the run is of no group


def test_no_run(tmp_path: Path) -> None:
    found = profile(tmp_path / "missing.json")
    assert found.returncode == 1
    assert found.stderr.strip() == (
        f"{tmp_path / 'missing.json'}: no seconds of steps; expected a folder of results, or a "
        "recorded file"
    )

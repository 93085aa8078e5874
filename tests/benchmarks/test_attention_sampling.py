"""The benchmark of a GPU's kernels compares ways that compute the same."""

from pathlib import Path

import pytest
from processes import run_benchmark


@pytest.mark.slow
def test_all_ways_predict_the_same(tmp_path: Path) -> None:
    # At the tiny size a level is one cell wide, which the plain arithmetic divides by zero.
    words = ["--size", "small", "--steps", "1", "--repeats", "1", "--device", "cpu"]
    report = run_benchmark("attention_sampling.py", tmp_path / "a.json", *words)
    found = report["against_plain"]
    assert set(found) == {"kernel", "pytorch", "plain"}
    assert max(way["difference"] for way in found.values()) < 1e-5
    assert found["kernel"]["difference"] > 0  # the plain arithmetic took another way
    assert found["plain"]["times_as_fast"] == 1

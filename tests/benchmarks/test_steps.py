"""The benchmark of steps times each measure with and without, and compares the outputs."""

from pathlib import Path

import pytest
from processes import run_benchmark


@pytest.mark.slow
def test_steps(tmp_path: Path) -> None:
    words = ["--size", "tiny", "--steps", "2", "--repeats", "2", "--device", "cpu"]
    report = run_benchmark("steps.py", tmp_path / "a.json", *words)
    measures = report["measures"]
    assert len(measures) == 8
    for name, found in measures.items():
        for clock in ("processor", "wall"):
            times = found[clock]
            assert times["ratio"] == pytest.approx(times["without"] / times["with"])
        # Each says the same, but for what rounds otherwise.
        assert found["largest_relative_difference"] < (0.2 if name == "bfloat16" else 1e-4)
    for name in ("texts_once", "texts_and_condition_once", "geometry_once"):
        assert measures[name]["largest_relative_difference"] == 0
    assert measures["all_views_at_once"]["processor"]["ratio"] > 1.2

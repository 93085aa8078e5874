"""The benchmark of attention measures what it says, and its plain arithmetic is the layer's."""

from pathlib import Path

import pytest
from processes import run_benchmark


@pytest.mark.slow
def test_attention(tmp_path: Path) -> None:
    words = ["--channels", "64", "--side", "8", "--step-side", "16", "--repeats", "1"]
    report = run_benchmark("attention.py", tmp_path / "a.json", *words)
    for part, tolerance in (("layer", 1e-4), ("step", 1e-4)):
        for name, found in report[part].items():
            assert found["cpu_seconds"] >= 0
            assert found["difference"] < tolerance, (part, name)
        assert report[part]["released plain"]["times_as_fast_cpu"] == 1
    assert len(report["layer"]) == 8
    assert report["provenance"]["attention_kernel"]

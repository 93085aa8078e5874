"""The script that measures how far open choices move the numbers of panoramas."""

from __future__ import annotations

from pathlib import Path

import foreign
import pytest
from processes import run_benchmark


@pytest.mark.slow
def test_every_variant_has_numbers_of_both_sets(tmp_path: Path) -> None:
    panoramas = foreign.panoramas(tmp_path / "panoramas", 8)
    words = ["--panoramas", panoramas, "--count", 8, "--height", 64, "--threads", 1]
    words += ["--parts", "FIDclip", "FIDpole", "FID of whole panoramas"]
    report = run_benchmark("sensitivity.py", tmp_path / "found.json", *words)
    parts = report["values"]
    assert [*parts] == ["FIDclip", "FIDpole", "FID of whole panoramas"]
    for variants in parts.values():
        assert all(set(values) == {"blurry", "other"} for values in variants.values())
        own, *others = variants.values()
        assert min(own.values()) > 0
        assert any(other != own for other in others)
    assert parts["FIDclip"]["0 % at each end"] == pytest.approx(
        parts["FID of whole panoramas"]["Pillow bicubic"]
    )
    assert report["extractor"].startswith("efficientnet-lite0 (")

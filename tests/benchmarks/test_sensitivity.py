"""The script that measures how far open choices move the numbers of panoramas."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import foreign
import pytest
from processes import ROOT, run_benchmark


def test_the_documentation_prints_the_recorded_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    from sensitivity import PARTS, table_rows

    recorded = json.loads((ROOT / "benchmarks/results/sensitivity.json").read_text())
    assert list(dict.fromkeys(row["metric"] for row in recorded["rows"])) == list(PARTS)
    page = (ROOT / "docs/panorama_metrics.md").read_text()
    assert "\n".join(table_rows(recorded["rows"])) in page
    assert f"{recorded['count']} real panoramas" in page


@pytest.mark.slow
def test_every_variant_has_numbers_of_both_sets(tmp_path: Path) -> None:
    panoramas = foreign.panoramas(tmp_path / "panoramas", 8)
    words = ["--panoramas", panoramas, "--count", 8, "--height", 64, "--threads", 1]
    words += ["--parts", "FIDclip", "FIDpole", "FID of whole panoramas"]
    report = run_benchmark("sensitivity.py", tmp_path / "found.json", *words)
    parts: dict[str, dict[str, tuple[float, float]]] = {}
    for row in report["rows"]:
        parts.setdefault(row["metric"], {})[row["choice"]] = row["blurry"], row["other"]
    assert [*parts] == ["FIDclip", "FIDpole", "FID of whole panoramas"]
    for variants in parts.values():
        own, *others = variants.values()
        assert min(own) > 0
        assert any(other != own for other in others)
    whole = parts["FID of whole panoramas"]["Pillow bicubic"]
    assert parts["FIDclip"]["0 % at each end"] == pytest.approx(whole)
    assert report["extractor"].startswith("efficientnet-lite0 (")

"""Errors of differences between sets: no wider than what they are errors of, and values as ever."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torchmetrics.image.kid import poly_mmd

from mvdiffusion_eval.functional.fid import Moments, frechet_distance

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def coverage(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import interval_coverage

    return interval_coverage


@pytest.mark.long
@pytest.mark.parametrize("metric", ["fid", "kid"])
def test_errors_of_differences_are_not_too_wide_where_there_is_none(
    coverage: ModuleType, metric: str
) -> None:
    """The jackknife's, 1.4 times the spread here, would be."""
    found = coverage.simulate(metric, "32:12", coverage.SETTINGS["equal_to_real"], 80)["difference"]
    assert found["before"]["width"] > 1.3
    assert 0.9 < found["after"]["width"] < 1.3
    assert found["after"]["coverage"] >= 0.93


def test_values_are_those_of_the_sets_bit_by_bit(coverage: ModuleType) -> None:
    random = np.random.default_rng(0)
    real, made, _ = coverage.draw(random, 40, 24, coverage.SETTINGS["equal"])
    assert coverage.fid(made, real)[0] == frechet_distance(Moments.of([made]), Moments.of([real]))
    assert coverage.kid(made, real)[0] == pytest.approx(float(poly_mmd(real, made)), rel=1e-9)


def test_kid_is_summed_in_the_order_that_it_always_was(coverage: ModuleType) -> None:
    """The sums over all groups, as they were before there were weights."""
    real, made, _ = coverage.draw(np.random.default_rng(1), 40, 24, coverage.SETTINGS["equal"])
    group_of = torch.arange(320) // 8 % 32
    sums = coverage.polynomial_sums((made, group_of), (real, group_of), 32)
    n, m = sums.preds_count.sum(), sums.target_count.sum()
    within_p = (sums.preds.sum() - sums.preds_own.sum()) / (n * (n - 1))
    within_t = (sums.target.sum() - sums.target_own.sum()) / (m * (m - 1))
    expected = float(within_p + within_t - 2 * sums.cross.sum() / (n * m))
    assert coverage.kid(made, real)[0] == expected


@pytest.mark.parametrize("metric", ["fid", "kid"])
def test_the_documentation_prints_what_was_recorded(metric: str) -> None:
    recorded = json.loads((ROOT / "benchmarks/results/interval_coverage_cpu.json").read_text())
    text = (ROOT / "docs/score.md").read_text()
    _, table = text.split(f"| differences of two {metric.upper()}s |")
    cells = [row.split(" | ")[1:] for row in table.split("\n\n")[0].splitlines()[2:]]
    printed = [cell.strip(" |") for column in zip(*cells, strict=True) for cell in column]
    of_metric = [row["difference"] for row in recorded["rows"] if row["metric"] == metric]
    ways = ("before", "after")
    expected = [
        " → ".join(f"{row[w]['width']:.2f} / {100 * row[w]['coverage']:.1f}" for w in ways)
        for row in of_metric
    ]
    assert printed == expected

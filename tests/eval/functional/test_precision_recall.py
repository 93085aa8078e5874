"""Precision and recall against torch-fidelity's, of whole sets and without groups of images."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from torch import Tensor
from torch_fidelity.metric_prc import (
    calculate_precision_recall_full,
    calculate_precision_recall_part,
)

from mvdiffusion_eval.functional.precision_recall import Blocks, covered, radii

GROUPS, K = 5, 3


def features(count: int, seed: int, width: float = 1.0, dimensions: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return width * torch.randn(count, dimensions, generator=generator, dtype=torch.float64)


def blocks_of(rows: Tensor, groups: Tensor, size: int) -> Blocks:
    def blocks() -> Iterable[tuple[Tensor, Tensor]]:
        return zip(rows.split(size), groups.split(size), strict=True)

    return blocks


def shares(
    preds: Tensor, target: Tensor, size: int = 17, left_out: int | None = None, k: int = K
) -> tuple[float, float]:
    groups = [torch.arange(len(side)) % GROUPS for side in (preds, target)]
    sides = [blocks_of(*pair, size) for pair in zip((preds, target), groups, strict=True)]
    reach = [radii(side, GROUPS, k) for side in sides]
    precision = covered(sides[0], sides[1], reach[1])
    recall = covered(sides[1], sides[0], reach[0])
    return precision.share(left_out), recall.share(left_out)


SETS = {
    "alike": (features(90, 0), features(110, 1)),
    "narrow": (features(90, 2, 0.6), features(110, 3)),
    "wide": (features(90, 4, 1.5), features(70, 5)),
    "apart": (features(60, 6) + 3, features(60, 7)),
    "of many repeats": (features(20, 8).repeat(4, 1), features(80, 9)),
}


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("size", [7, 1000])
def test_the_shares_are_torch_fidelitys(name: str, size: int) -> None:
    preds, target = SETS[name]
    for theirs in (calculate_precision_recall_full, calculate_precision_recall_part):
        expected = theirs(preds, target, K, 1000)
        assert shares(preds, target, size) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("name", ["alike", "narrow", "wide"])
def test_without_a_group_they_are_those_of_the_other_images(name: str) -> None:
    """The jackknife takes groups off both sets: torch-fidelity is given what is left."""
    preds, target = SETS[name]
    found = []
    for group in range(GROUPS):
        kept = [side[torch.arange(len(side)) % GROUPS != group] for side in (preds, target)]
        expected = calculate_precision_recall_full(*kept, K, 1000)
        found.append(shares(preds, target, 13, group))
        assert found[-1] == pytest.approx(expected, abs=1e-7)
    assert len(set(found)) > 1


def test_few_modes_cost_recall_and_noise_costs_precision() -> None:
    target = features(150, 10)
    modes = features(3, 11)[torch.arange(150) % 3] + features(150, 12, 0.05)
    alike = shares(features(150, 13), target)
    assert shares(modes, target)[1] < 0.1 < alike[1]
    assert shares(features(150, 13, 2.0), target)[0] < 0.1 < alike[0]
    assert shares(target, target) == (1.0, 1.0)


def test_more_neighbors_reach_farther() -> None:
    preds, target = SETS["alike"]
    least, more = (shares(preds, target, k=k) for k in (1, 5))
    assert least[0] < more[0]
    assert least[1] < more[1]

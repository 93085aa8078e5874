"""KID and CMMD: distances between sets of images that do not depend on their number as FID does."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from ..extractors.base import Extractor
from ..extractors.store import FeatureSet
from ..functional.cmmd import SCALE, gaussian_sums
from ..functional.kernel_sums import Grouped
from ..functional.kid import draw_subsets, polynomial_sums, subsets_of
from .base import Inputs, Metric, Step, register
from .quality import Statistic, groups_of_samples, num_evaluated, of_sets, sides_of


def _kid(inputs: Inputs, step: Step, extractor: Extractor) -> dict[str, Statistic]:
    """KID of the samples kept, on the same subsets without those left out."""
    preds, target = sides_of(inputs, extractor)
    group_of = groups_of_samples(inputs)
    size, subsets = step.options["subset_size"], step.options["subsets"]
    drawn = draw_subsets(len(preds), len(target), size, subsets, inputs.settings.seed)
    count = int(group_of.max()) + 1

    def grouped(side: FeatureSet, images: np.ndarray) -> Grouped:
        return side.rows(images), torch.from_numpy(group_of[side.sample_of[images]])

    sums = [
        polynomial_sums(grouped(preds, ours), grouped(target, theirs), count)
        for ours, theirs in drawn
    ]

    def distance(kept: np.ndarray) -> float:
        groups = torch.from_numpy(np.unique(group_of[kept]))
        return float(np.mean([of_subset.mmd2(groups, unbiased=True) for of_subset in sums]))

    return {step.key: distance}


def _kid_subsets(inputs: Inputs, step: Step) -> dict[str, int]:
    preds, target = num_evaluated(inputs.generated), num_evaluated(inputs.real)
    wanted = step.options["subset_size"], step.options["subsets"]
    size, subsets = subsets_of(preds, target, *wanted)
    return {"subset_size": size, "subsets": subsets}


def _cmmd(inputs: Inputs, step: Step, extractor: Extractor) -> dict[str, Statistic]:
    preds, target = sides_of(inputs, extractor)
    group_of = groups_of_samples(inputs)

    def blocks(side: FeatureSet) -> Iterator[Grouped]:
        for images in side.block_images():
            yield side.rows(images), torch.from_numpy(group_of[side.sample_of[images]])

    count = int(group_of.max()) + 1
    sums = gaussian_sums(lambda: blocks(preds), lambda: blocks(target), count)

    def discrepancy(kept: np.ndarray) -> float:
        groups = torch.from_numpy(np.unique(group_of[kept]))
        return SCALE * sums.mmd2(groups, unbiased=False)

    return {step.key: discrepancy}


KID_OPTIONS = ("subsets", "subset_size")
register(
    Metric("kid", of_sets(_kid), KID_OPTIONS, uses="features", compares=True, used=_kid_subsets)
)
register(Metric("cmmd", of_sets(_cmmd), uses="similarity", compares=True))

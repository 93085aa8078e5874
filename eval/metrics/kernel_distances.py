"""KID and CMMD: distances between sets of images that do not depend on their number as FID does."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ..extractors.base import Extractor
from ..extractors.store import FeatureSet
from ..functional.cmmd import SCALE, gaussian_sums
from ..functional.kernel_sums import Grouped, gathered
from ..functional.kid import draw_subsets, polynomial_sums, subsets_of
from .base import Inputs, Metric, Step, register
from .quality import (
    SmoothStatistic,
    as_computed,
    groups_of_samples,
    num_evaluated,
    of_distances,
    sides_of,
)


def _kid(inputs: Inputs, step: Step, extractor: Extractor) -> dict[str, SmoothStatistic]:
    """KID by the weights of groups, on the same subsets whatever they weigh."""
    preds, target = sides_of(inputs, extractor)
    group_of = groups_of_samples(inputs)
    size, subsets = step.options["subset_size"], step.options["subsets"]
    drawn = draw_subsets(len(preds), len(target), size, subsets, inputs.settings.seed)
    count = int(group_of.max()) + 1

    def grouped(side: FeatureSet, images: np.ndarray) -> Grouped:
        return side.rows(images), torch.from_numpy(group_of[side.sample_of[images]])

    of_subsets = (
        polynomial_sums(grouped(preds, ours), grouped(target, theirs), count)
        for ours, theirs in drawn
    )
    sums = gathered(of_subsets, subsets_of(len(preds), len(target), size, subsets)[1])

    def distance(weights: Tensor) -> Tensor:
        found = torch.stack([of_subset.mmd2(weights, unbiased=True) for of_subset in sums])
        return as_computed(float(np.mean(found.tolist())), found.mean())

    return {step.key: distance}


def _kid_subsets(inputs: Inputs, step: Step) -> dict[str, int]:
    preds, target = num_evaluated(inputs.generated), num_evaluated(inputs.real)
    wanted = step.options["subset_size"], step.options["subsets"]
    size, subsets = subsets_of(preds, target, *wanted)
    return {"subset_size": size, "subsets": subsets}


def _cmmd(inputs: Inputs, step: Step, extractor: Extractor) -> dict[str, SmoothStatistic]:
    preds, target = sides_of(inputs, extractor)
    group_of = groups_of_samples(inputs)

    def blocks(side: FeatureSet) -> Iterator[Grouped]:
        for images in side.block_images():
            yield side.rows(images), torch.from_numpy(group_of[side.sample_of[images]])

    count = int(group_of.max()) + 1
    sums = gaussian_sums(lambda: blocks(preds), lambda: blocks(target), count)

    return {step.key: lambda weights: SCALE * sums.mmd2(weights, unbiased=False)}


KID_OPTIONS = ("subsets", "subset_size")
register(
    Metric(
        "kid", of_distances(_kid), KID_OPTIONS, uses="features", compares=True, used=_kid_subsets
    )
)
register(Metric("cmmd", of_distances(_cmmd), uses="similarity", compares=True))

"""Precision and recall of generated images against real ones, by nearest neighbors in features."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ..extractors.base import Extractor
from ..extractors.store import FeatureSet
from ..functional.precision_recall import Blocks, Covered, covered, radii
from .base import Inputs, Metric, Step, needs_samples, register
from .quality import Statistic, groups_of_samples, of_sets, sides_of


def _both(inputs: Inputs, step: Step, extractor: Extractor) -> dict[str, Statistic]:
    """Both shares of the samples kept: of all, or of all but one group."""
    group_of, k = groups_of_samples(inputs), step.options["neighbors"]
    count = int(group_of.max()) + 1
    preds, target = (_blocks(side, group_of) for side in sides_of(inputs, extractor))
    reach = [radii(side, count, k) for side in (preds, target)]
    found = {
        f"{step.key}_precision": covered(preds, target, reach[1]),
        f"{step.key}_recall": covered(target, preds, reach[0]),
    }

    def statistic(part: Covered) -> Statistic:
        def share(kept: np.ndarray) -> float:
            left_out = np.setdiff1d(np.arange(count), group_of[kept])
            return part.share(int(left_out[0]) if len(left_out) else None)

        return share

    return {key: statistic(part) for key, part in found.items()}


def _blocks(side: FeatureSet, group_of: np.ndarray) -> Blocks:
    def blocks() -> Iterator[tuple[Tensor, Tensor]]:
        for images in side.block_images():
            yield side.rows(images), torch.from_numpy(group_of[side.sample_of[images]])

    return blocks


register(
    Metric(
        "precision_recall",
        of_sets(_both, better=True),
        ("neighbors",),
        uses="features",
        compares=True,
        missing=needs_samples,
    )
)

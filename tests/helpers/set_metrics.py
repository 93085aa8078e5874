"""Metrics of sets of images in memory: one group, all at once, with the suite's own functions."""

from __future__ import annotations

import torch
from torch import Tensor

from mvdiffusion_eval.functional import fid
from mvdiffusion_eval.functional.cmmd import SCALE, gaussian_sums
from mvdiffusion_eval.functional.inception_score import SplitSums
from mvdiffusion_eval.functional.kernel_sums import Grouped
from mvdiffusion_eval.functional.kid import polynomial_sums

ALL = torch.tensor([0])
EQUAL = torch.ones(1, dtype=torch.float64)


def frechet_distance(preds: Tensor, target: Tensor) -> float:
    """Of features [N, D] and [M, D]."""
    return fid.frechet_distance(fid.Moments.of([preds]), fid.Moments.of([target]))


def kernel_distance(preds: Tensor, target: Tensor) -> float:
    """KID of features [N, D] and [M, D], all of them in one subset."""
    return (
        polynomial_sums(_one_group(preds), _one_group(target), 1).mmd2(EQUAL, unbiased=True).item()
    )


def cmmd(preds: Tensor, target: Tensor) -> float:
    """Of embeddings [N, D] and [M, D]."""
    sides = [_one_group(x) for x in (preds, target)]
    sums = gaussian_sums(lambda: [sides[0]], lambda: [sides[1]], 1)
    return SCALE * sums.mmd2(EQUAL, unbiased=False).item()


def inception_score(logits: Tensor, split_of: Tensor) -> float:
    """Of class scores [N, classes] and the split of each image [N]."""
    sums = SplitSums(1, int(split_of.max()) + 1)
    sums.add(logits, torch.zeros(len(logits), dtype=torch.long), split_of.long())
    return sums.score(ALL)


def _one_group(features: Tensor) -> Grouped:
    return features, torch.zeros(len(features), dtype=torch.long)

"""Distances of panoramas cut into faces: OmniFID, FIDpole and FIDequ, TangentFID and TangentIS.

OmniFID (arXiv 2407.18207) is the mean of the Fréchet distances of the upper face of a cube, of the
lower face and of the four horizontal faces. There are two readings of the last: one distance of
all four faces as one set, as published, or the mean of four distances, as the benchmark of the
survey of text-driven panoramas computes it (arXiv 2502.14799).

FIDpole and FIDequ (SMGD, CVPR 2025) are two distances: of both faces at the poles as one set, and
of the four horizontal faces as one set, which is also the middle term of OmniFID as published.

TangentFID and TangentIS (TanDiT) take every tangent plane for itself; see `bound_of_planes`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import reduce
from operator import add

import numpy as np
import torch
from torch import Tensor

from ...extractors.base import Extractor
from ...extractors.store import FeatureSet
from ...folders.crops import TANGENT_ROWS
from ..base import Inputs, Metric, Outcome, Step, needs_samples, register
from ..quality import (
    SmoothStatistic,
    Statistic,
    frechet_statistic,
    groups_of_samples,
    inception_statistic,
    of_distances,
    of_sets,
    sides_of,
    splits_used,
)

UP, AROUND, DOWN = 0, (1, 2, 3, 4), 5
"""Faces in the order of the directions `cube_6`."""
NUM_FACES = 6
POLES = (UP, DOWN)
PLANES = tuple(pitch for pitch, count in TANGENT_ROWS for _ in range(count))
"""Latitude of each plane in the order of the directions `tangent_18`."""
POLAR_WEIGHT = 0.5
"""Weight of the planes of the rows at the poles, where they overlap most; others weigh 1."""
WEIGHTS = np.where(np.abs(PLANES) == max(PLANES), POLAR_WEIGHT, 1.0)
REACH = 1.96
"""Standard errors between the mean over the planes and the bound."""


def omnifid(
    preds: FeatureSet, target: FeatureSet, group_of: np.ndarray, per_face: bool
) -> SmoothStatistic:
    """OmniFID by the weights of groups.

    Args:
        preds, target: features of the six faces of every sample, in order.
        group_of: group of each sample [S].
        per_face: mean of four distances around instead of the distance of one set.
    """

    def distance(faces: Sequence[int]) -> SmoothStatistic:
        return pooled(preds, target, group_of, faces, NUM_FACES)

    around = [distance([face]) for face in AROUND] if per_face else [distance(AROUND)]
    poles = [distance([UP]), distance([DOWN])]

    def statistic(weights: Tensor) -> Tensor:
        mean_around = reduce(add, [part(weights) for part in around]) / len(around)
        return (poles[0](weights) + poles[1](weights) + mean_around) / 3

    return statistic


def pooled(
    preds: FeatureSet, target: FeatureSet, group_of: np.ndarray, faces: Sequence[int], count: int
) -> SmoothStatistic:
    """Fréchet distance of some of the `count` faces of every sample as one set."""
    sides = (_some(preds, faces, count), _some(target, faces, count))
    return frechet_statistic(*sides, group_of)


def _some(features: FeatureSet, faces: Sequence[int], count: int) -> FeatureSet:
    """Some of the `count` faces of every sample."""
    chosen = np.flatnonzero(np.isin(np.arange(len(features)) % count, faces))
    keys = tuple(features.keys[image] for image in chosen)
    return dataclasses.replace(features, keys=keys, sample_of=features.sample_of[chosen])


def _readings(inputs: Inputs, step: Step, extractor: Extractor) -> dict[str, SmoothStatistic]:
    given = (*sides_of(inputs, extractor), groups_of_samples(inputs))
    return {step.key: omnifid(*given, False), f"{step.key}_per_face": omnifid(*given, True)}


def _of_faces(faces: Sequence[int]) -> Callable[..., dict[str, SmoothStatistic]]:
    def statistics(inputs: Inputs, step: Step, extractor: Extractor) -> dict[str, SmoothStatistic]:
        given = (*sides_of(inputs, extractor), groups_of_samples(inputs))
        return {step.key: pooled(*given, faces, NUM_FACES)}

    return statistics


def mean_of_planes(values: Tensor) -> Tensor:
    """Weighted mean [] of the values of the 18 planes [18]."""
    weights = torch.as_tensor(WEIGHTS, dtype=values.dtype)
    return (weights * values).sum() / weights.sum()


def bound_of_planes(values: Tensor, worse: int) -> Tensor:
    """Mean of the 18 planes' values plus 1.96 times their standard deviation over √18.

    Both are weighted; the standard deviation is that of the values themselves (divided by the sum
    of the weights, not by one less): how TanDiT weighs it is not published.

    Args:
        values: of each plane [18].
        worse: 1 to add the spread, -1 to subtract it, where more is better.

    >>> bound_of_planes(torch.arange(18.0), 1) > mean_of_planes(torch.arange(18.0))
    tensor(True)
    """
    mean = mean_of_planes(values)
    shares = torch.as_tensor(WEIGHTS / WEIGHTS.sum(), dtype=values.dtype)
    # A norm, as its derivative is finite where all planes are alike, as those of copies are.
    deviation = torch.linalg.vector_norm(shares.sqrt() * (values - mean))
    return mean + worse * REACH * deviation / len(values) ** 0.5


def _tangent_fid(inputs: Inputs, step: Step, extractor: Extractor) -> dict[str, SmoothStatistic]:
    """TangentFID by the weights of groups: the bound that TanDiT states, and the mean."""
    given, count = (*sides_of(inputs, extractor), groups_of_samples(inputs)), len(PLANES)
    planes = [pooled(*given, [plane], count) for plane in range(count)]

    def values(weights: Tensor) -> Tensor:
        return torch.stack([plane(weights) for plane in planes])

    return {
        step.key: lambda weights: bound_of_planes(values(weights), 1),
        f"{step.key}_mean": lambda weights: mean_of_planes(values(weights)),
    }


def _tangent_score(inputs: Inputs, step: Step, extractor: Extractor) -> dict[str, Statistic]:
    """TangentIS of the samples kept, for a jackknife: the lower bound, and the mean."""
    preds, count = inputs.store.features(inputs.generated, extractor), len(PLANES)
    planes = [
        inception_statistic(inputs, step, _some(preds, [plane], count)) for plane in range(count)
    ]

    def values(kept: np.ndarray) -> Tensor:
        return torch.tensor([plane(kept) for plane in planes], dtype=torch.float64)

    return {
        step.key: lambda kept: float(bound_of_planes(values(kept), -1)),
        f"{step.key}_mean": lambda kept: float(mean_of_planes(values(kept))),
    }


def _compared(name: str, run: Callable[[Inputs, Step], Outcome]) -> Metric:
    return Metric(name, run, uses="features", compares=True, missing=needs_samples)


register(_compared("omnifid", of_distances(_readings)))
register(_compared("fid_pole", of_distances(_of_faces(POLES))))
register(_compared("fid_equ", of_distances(_of_faces(AROUND))))
register(_compared("tangent_fid", of_distances(_tangent_fid)))
register(
    Metric(
        "tangent_inception_score",
        of_sets(_tangent_score, better=True),
        ("splits",),
        uses="classes",
        missing=needs_samples,
        used=lambda inputs, step: splits_used(inputs, step, len(inputs.generated.sample_ids)),
    )
)

"""Distances of panoramas cut into faces: OmniFID, FIDpole and FIDequ, TangentFID and TangentIS.

OmniFID (arXiv 2407.18207) is the mean of the Fréchet distances of the upper face of a cube, of the
lower face and of the four horizontal faces. There are two readings of the last: one distance of
all four faces as one set, as published, or the mean of four distances, as the benchmark of the
survey of text-driven panoramas computes it (arXiv 2502.14799).

FIDpole and FIDequ (SMGD, CVPR 2025) are two distances: of both faces at the poles as one set, and
of the four horizontal faces as one set, which is also the middle term of OmniFID as published.

TangentFID and TangentIS (TanDiT) take every tangent plane for itself; see `over_planes`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from ..extractors.base import Extractor
from ..extractors.store import FeatureSet
from ..folders.crops import TANGENT_ROWS
from .base import Inputs, Metric, Outcome, Step, needs_samples, register
from .quality import Statistic, frechet_statistic, inception_statistic, of_sets, sides_of

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


def omnifid(preds: FeatureSet, target: FeatureSet, per_face: bool) -> Statistic:
    """OmniFID of the samples kept, for a jackknife.

    Args:
        preds, target: features of the six faces of every sample, in order.
        per_face: mean of four distances around instead of the distance of one set.
    """

    def distance(faces: Sequence[int]) -> Statistic:
        return pooled(preds, target, faces)

    around = [distance([face]) for face in AROUND] if per_face else [distance(AROUND)]
    poles = [distance([UP]), distance([DOWN])]

    def statistic(kept: np.ndarray) -> float:
        mean_around = sum(part(kept) for part in around) / len(around)
        return (sum(part(kept) for part in poles) + mean_around) / 3

    return statistic


def pooled(preds: FeatureSet, target: FeatureSet, faces: Sequence[int]) -> Statistic:
    """Fréchet distance of some faces of a cube as one set, of the samples kept."""
    return frechet_statistic(*(_some(side, faces, NUM_FACES) for side in (preds, target)))


def _some(features: FeatureSet, faces: Sequence[int], count: int) -> FeatureSet:
    """Some of the `count` faces of every sample."""
    chosen = np.flatnonzero(np.isin(np.arange(len(features)) % count, faces))
    keys = tuple(features.keys[image] for image in chosen)
    return dataclasses.replace(features, keys=keys, sample_of=features.sample_of[chosen])


def _readings(inputs: Inputs, step: Step, extractor: Extractor) -> dict[str, Statistic]:
    sides = sides_of(inputs, extractor)
    return {step.key: omnifid(*sides, False), f"{step.key}_per_face": omnifid(*sides, True)}


def _of_faces(faces: Sequence[int]) -> Callable[..., dict[str, Statistic]]:
    def statistics(inputs: Inputs, step: Step, extractor: Extractor) -> dict[str, Statistic]:
        return {step.key: pooled(*sides_of(inputs, extractor), faces)}

    return statistics


def bound_of_planes(values: np.ndarray, worse: int) -> float:
    """Mean of the 18 planes' values plus 1.96 times their standard deviation over √18.

    Both are weighted; the standard deviation is that of the values themselves (divided by the sum
    of the weights, not by one less): how TanDiT weighs it is not published.

    Args:
        values: of each plane [18].
        worse: 1 to add the spread, -1 to subtract it, where more is better.

    >>> bound_of_planes(np.full(18, 3.0), 1)
    3.0
    """
    mean = np.average(values, weights=WEIGHTS)
    variance = np.average((values - mean) ** 2, weights=WEIGHTS)
    return float(mean + worse * REACH * np.sqrt(variance / len(values)))


def over_planes(key: str, planes: Sequence[Statistic], worse: int) -> dict[str, Statistic]:
    """Sum up what was measured on each plane: the bound that TanDiT states, and the mean.

    Args:
        key: name of the bound; the mean's is `<key>_mean`.
        planes: the measure of each plane.
        worse: 1 if more is worse, -1 if less is.
    """

    def both(kept: np.ndarray) -> np.ndarray:
        return np.array([plane(kept) for plane in planes])

    return {
        key: lambda kept: bound_of_planes(both(kept), worse),
        f"{key}_mean": lambda kept: float(np.average(both(kept), weights=WEIGHTS)),
    }


def _tangent_fid(inputs: Inputs, step: Step, extractor: Extractor) -> dict[str, Statistic]:
    preds, target = sides_of(inputs, extractor)
    count = len(PLANES)
    planes = [
        frechet_statistic(*(_some(side, [plane], count) for side in (preds, target)))
        for plane in range(count)
    ]
    return over_planes(step.key, planes, 1)


def _tangent_score(inputs: Inputs, step: Step, extractor: Extractor) -> dict[str, Statistic]:
    preds, count = inputs.store.features(inputs.generated, extractor), len(PLANES)
    planes = [
        inception_statistic(inputs, step, _some(preds, [plane], count)) for plane in range(count)
    ]
    return over_planes(step.key, planes, -1)


def _compared(name: str, run: Callable[[Inputs, Step], Outcome]) -> Metric:
    return Metric(name, run, uses="features", compares=True, missing=needs_samples)


register(_compared("omnifid", of_sets(_readings)))
register(_compared("fid_pole", of_sets(_of_faces(POLES))))
register(_compared("fid_equ", of_sets(_of_faces(AROUND))))
register(_compared("tangent_fid", of_sets(_tangent_fid)))
register(
    Metric(
        "tangent_inception_score",
        of_sets(_tangent_score, better=True),
        ("splits",),
        uses="classes",
        missing=needs_samples,
    )
)

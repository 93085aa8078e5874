"""OmniFID (arXiv 2407.18207): Fréchet distances of the cube faces of panoramas.

Whole panoramas are cut into cube faces; OmniFID is the mean of the distances of the upper face, of
the lower face and of the four horizontal faces. There are two readings of the last: one distance of
all four faces as one set, as published, or the mean of four distances, as the benchmark of the
survey of text-driven panoramas computes it (arXiv 2502.14799).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import reduce
from operator import add

import numpy as np
from torch import Tensor

from ..extractors.base import Extractor
from ..extractors.store import FeatureSet
from .base import Inputs, Metric, Step, needs_samples, register
from .quality import SmoothStatistic, frechet_statistic, groups_of_samples, of_distances, sides_of

UP, AROUND, DOWN = 0, (1, 2, 3, 4), 5
"""Faces in the order of the directions `cube_6`."""
NUM_FACES = 6


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
        return frechet_statistic(_faces(preds, faces), _faces(target, faces), group_of)

    around = [distance([face]) for face in AROUND] if per_face else [distance(AROUND)]
    poles = [distance([UP]), distance([DOWN])]

    def statistic(weights: Tensor) -> Tensor:
        mean_around = reduce(add, [part(weights) for part in around]) / len(around)
        return (poles[0](weights) + poles[1](weights) + mean_around) / 3

    return statistic


def _faces(features: FeatureSet, faces: Sequence[int]) -> FeatureSet:
    """Some faces of every sample."""
    chosen = np.flatnonzero(np.isin(np.arange(len(features)) % NUM_FACES, faces))
    keys = tuple(features.keys[image] for image in chosen)
    return dataclasses.replace(features, keys=keys, sample_of=features.sample_of[chosen])


def _readings(inputs: Inputs, step: Step, extractor: Extractor) -> dict[str, SmoothStatistic]:
    given = (*sides_of(inputs, extractor), groups_of_samples(inputs))
    return {step.key: omnifid(*given, False), f"{step.key}_per_face": omnifid(*given, True)}


register(
    Metric(
        "omnifid", of_distances(_readings), uses="features", compares=True, missing=needs_samples
    )
)

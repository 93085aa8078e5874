"""OmniFID (arXiv 2407.18207): Fréchet distances of the cube faces of panoramas.

Whole panoramas are cut into cube faces; OmniFID is the mean of the distances of the upper face, of
the lower face and of the four horizontal faces. There are two readings of the last: one distance of
all four faces as one set, as published, or the mean of four distances, as the benchmark of the
survey of text-driven panoramas computes it (arXiv 2502.14799).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from ..extractors.base import Extractor
from ..extractors.store import FeatureSet
from .base import Inputs, Metric, Outcome, Step, by_extractor, needs_samples, register
from .quality import frechet_statistic, per_group, sides_of

UP, AROUND, DOWN = 0, (1, 2, 3, 4), 5
"""Faces in the order of the directions `cube_6`."""
NUM_FACES = 6
Statistic = Callable[[np.ndarray], float]


def omnifid(preds: FeatureSet, target: FeatureSet, per_face: bool) -> Statistic:
    """OmniFID of the samples kept, for a jackknife.

    Args:
        preds, target: features of the six faces of every sample, in order.
        per_face: mean of four distances around instead of the distance of one set.
    """

    def distance(faces: Sequence[int]) -> Statistic:
        return frechet_statistic(*(_faces(features, faces) for features in (preds, target)))

    around = [distance([face]) for face in AROUND] if per_face else [distance(AROUND)]
    poles = [distance([UP]), distance([DOWN])]

    def statistic(kept: np.ndarray) -> float:
        mean_around = sum(part(kept) for part in around) / len(around)
        return (sum(part(kept) for part in poles) + mean_around) / 3

    return statistic


def _faces(features: FeatureSet, faces: Sequence[int]) -> FeatureSet:
    """Some faces of every sample."""
    chosen = np.flatnonzero(np.isin(np.arange(len(features)) % NUM_FACES, faces))
    keys = tuple(features.keys[image] for image in chosen)
    return dataclasses.replace(features, keys=keys, sample_of=features.sample_of[chosen])


def _run(inputs: Inputs, step: Step) -> Outcome:
    def measure(extractor: Extractor) -> Outcome:
        sides = sides_of(inputs, extractor)
        readings = {step.key: omnifid(*sides, False), f"{step.key}_per_face": omnifid(*sides, True)}
        made = readings.items()
        return Outcome({k: per_group(inputs, one, False, step, extractor) for k, one in made})

    return by_extractor(inputs, measure)


register(Metric("omnifid", _run, uses="features", compares=True, missing=needs_samples))

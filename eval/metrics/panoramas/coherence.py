"""Coherence within one panorama, by the protocol of SyncDiffusion (arXiv 2306.05178).

Distances between windows of a panorama that share no pixel. They are zero where all windows are one
picture: less is not better. With real panoramas their value stands beside, and the gap to it says
which of two methods is closer.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
from torch import Tensor

from ...extractors.base import FeatureExtractor
from ...extractors.lpips import load_lpips
from ...folders.samples import SampleFolder
from ...functional.coherence import cosine_distances, knn_giqa, squared_distances
from ..base import (
    Inputs,
    Metric,
    Outcome,
    Step,
    beside_real,
    by_extractor,
    per_sample,
    register,
)
from ..measurement import Measurement
from ..quality import sides_of

NEIGHBORS = 8
"""Real images that KNN-GIQA looks at, as in SyncDiffusion's evaluation."""

Distances = Callable[[SampleFolder], list[np.ndarray]]
"""Distances of all pairs of windows [pairs] of every sample of a folder."""


def _of_pairs(
    inputs: Inputs, step: Step, distances: Distances, by: FeatureExtractor | None = None
) -> dict[str, Measurement]:
    """Mean over pairs of windows, beside that of the real panoramas; and the sum over pairs."""
    pairs, real = distances(inputs.generated), None
    if inputs.has_other_reference:
        real = np.array([own.mean() for own in distances(inputs.real)])
    mean, summed = (np.array([f(own) for own in pairs]) for f in (np.mean, np.sum))
    measurements = beside_real(step.key, mean, real, inputs, step, by)
    measurements[f"{step.key}_sum"] = per_sample(summed, "", None, step, by=by)
    return measurements


def _of_features(
    compare: Callable[[Tensor], Tensor],
) -> Callable[[Inputs, Step], Outcome]:
    """Make what a metric runs: distances of windows by their features."""

    def run(inputs: Inputs, step: Step) -> Outcome:
        def measure(extractor: FeatureExtractor) -> Outcome:
            def distances(folder: SampleFolder) -> list[np.ndarray]:
                features = inputs.store.features(folder, extractor)
                windows = [np.flatnonzero(features.sample_of == i) for i in range(len(ids))]
                return [compare(features.rows(own)).numpy() for own in windows]

            ids = inputs.generated.sample_ids
            return Outcome(_of_pairs(inputs, step, distances, extractor))

        return by_extractor(inputs, measure)

    return run


def _run_lpips(inputs: Inputs, step: Step) -> Outcome:
    lpips = load_lpips(step.options["network"], spatial=False)

    def distances(folder: SampleFolder) -> list[np.ndarray]:
        rows = []
        for sample_id in inputs.samples(f"LPIPS of windows of {folder.method}"):
            pairs = itertools.combinations(folder.views(sample_id).astype(np.float32) / 255, 2)
            rows.append(np.array([lpips.between(*pair) for pair in pairs]))
        return rows

    name, found = str(lpips.identity), _of_pairs(inputs, step, distances)
    made = {key: dataclasses.replace(one, extractor=name) for key, one in found.items()}
    return Outcome(made, extractors={name: lpips.description})


def _run_giqa(inputs: Inputs, step: Step) -> Outcome:
    """KNN-GIQA among the real images; theirs, each among the others, stands beside."""

    def measure(extractor: FeatureExtractor) -> Outcome:
        preds, target = sides_of(inputs, extractor)
        real = target.rows(np.arange(len(target)))
        sides = {step.key: (preds, 0, True), f"{step.key}_real": (target, 1, None)}
        measurements = {}
        for key, (side, skipped, better) in sides.items():
            parts = [knn_giqa(block, real, NEIGHBORS, skipped).numpy() for block in side.blocks()]
            sums = np.bincount(side.sample_of, np.concatenate(parts))
            means = sums / np.bincount(side.sample_of)
            measurements[key] = per_sample(means, "", better, step, by=extractor)
        return Outcome(measurements)

    return by_extractor(inputs, measure)


def _needs_pairs(inputs: Inputs) -> str:
    """Say what is missing for windows that share no pixel."""
    folder = inputs.generated
    enough = all(folder.count(sample_id) > 1 for sample_id in folder.sample_ids)
    return "" if enough else "two views or more that share no pixel"


def _needs_network(inputs: Inputs) -> str:
    if not inputs.settings.lpips:
        return "a network for LPIPS (setting 'lpips')"
    return _needs_pairs(inputs)


def _needs_neighbors(inputs: Inputs) -> str:
    real = inputs.real
    count = sum(len(real.evaluated_views(sample_id)) for sample_id in real.sample_ids)
    return "" if count > NEIGHBORS else f"at least {NEIGHBORS + 1} real images"


for _name, _compare in {"intra_style": squared_distances, "intra_cosine": cosine_distances}.items():
    _run = _of_features(_compare)
    register(Metric(_name, _run, uses="features", agreement=True, missing=_needs_pairs))
register(
    Metric("intra_lpips", _run_lpips, ("network",), agreement=True, missing=_needs_network),
)
register(Metric("knn_giqa", _run_giqa, uses="features", compares=True, missing=_needs_neighbors))

"""Error accumulation: consistency and image quality of a view against its steps from view 0.

A method that generates one view after another passes its errors on; one that generates all views at
once has no first and no last view. View n is n steps from view 0, pair n is views n and n + 1. The
last pair closes the loop: it is shown, and stays out of the slopes. The rise of the Fréchet
distance is its slope as a share of its mean over the steps, so that it does not depend on the
extractor's scale; every step has the same number of images, hence nearly the same bias.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..extractors.base import FeatureExtractor, SimilarityExtractor
from ..extractors.store import FeatureSet
from ..functional.gradient_energy import gradient_energy
from ..statistics import linearize, mean_and_se, set_error, slope
from .base import (
    Inputs,
    Metric,
    Outcome,
    Step,
    by_extractor,
    needs_samples,
    per_sample,
    register,
)
from .panorama_consistency import as_panoramas, needs_a_ring, neighbor_psnr
from .quality import (
    as_computed,
    by_group,
    clip_scores,
    frechet_statistic,
    groups_of_samples,
    needs_prompts,
    sides_of,
)

Rows = tuple[dict[str, Any], ...]


def _run_psnr(inputs: Inputs, step: Step) -> Outcome:
    folder = as_panoramas(inputs.generated)
    psnr = neighbor_psnr(inputs, folder, step.options["resolution"])  # [S, pairs]
    fall = per_sample(slope(psnr[:, :-1]), "dB per step", True, step)
    return Outcome({step.key: fall}, steps=_rows(inputs, "psnr_db", psnr, closing=True))


def _run_energy(inputs: Inputs, step: Step) -> Outcome:
    folder = inputs.generated
    energy = np.array(
        [
            [gradient_energy(view) for view in folder.views(i).astype(np.float32) / 255]
            for i in inputs.samples("gradient energy by step")
        ]
    )  # [S, V]
    change = per_sample(slope(energy), "per step", None, step)
    return Outcome({step.key: change}, steps=_rows(inputs, "gradient_energy", energy))


def _run_clip_score(inputs: Inputs, step: Step) -> Outcome:
    def measure(extractor: SimilarityExtractor) -> Outcome:
        scores = clip_scores(inputs, extractor).numpy()
        values = scores.reshape(len(inputs.generated.sample_ids), -1)  # [S, V]
        slopes = per_sample(slope(values), "per step", True, step, by=extractor)
        return Outcome({step.key: slopes}, steps=_rows(inputs, "clip_score", values))

    return by_extractor(inputs, measure)


def _run_fid(inputs: Inputs, step: Step) -> Outcome:
    """Fréchet distance of each step's views from the real views of the same direction."""
    num_views, group_of = as_panoramas(inputs.real).num_views, groups_of_samples(inputs)

    def measure(extractor: FeatureExtractor) -> Outcome:
        preds, target = sides_of(inputs, extractor)
        of_step = [
            frechet_statistic(
                _step(preds, view, num_views), _step(target, view, num_views), group_of
            )
            for view in range(num_views)
        ]

        def distances(weights: Tensor) -> Tensor:
            by_step = torch.stack([distance(weights) for distance in of_step])
            return torch.cat([by_step, _rise(by_step)[None]])

        found = linearize(distances, int(group_of.max()) + 1)
        errors = list(map(set_error, found.values.T, found.curvatures.T))
        last = float(found.value[-1]), found.values[:, -1], found.curvatures[:, -1]
        rise = by_group(*last, "of the mean per step", False, step, extractor)
        steps = _labeled(inputs, "fid", found.value[:-1].tolist(), errors[:-1])
        return Outcome({step.key: rise}, steps=steps)

    return by_extractor(inputs, measure)


def _rise(by_step: Tensor) -> Tensor:
    """Slope of distances [V] as a share of their mean."""
    plain, mean = by_step.detach().numpy(), by_step.mean()
    if not mean > 0:
        return 0 * mean  # all are 0, and then there is no slope
    # A slope is linear: its derivatives are the slopes of unit vectors.
    share = by_step @ torch.from_numpy(slope(np.eye(len(plain)))) / mean
    return as_computed(float(slope(plain[None])[0] / plain.mean()), share)


def _step(features: FeatureSet, step: int, num_views: int) -> FeatureSet:
    """Features of one view of every sample."""
    keys = features.keys[step::num_views]
    return dataclasses.replace(features, keys=keys, sample_of=np.arange(len(keys)))


def _rows(inputs: Inputs, metric: str, values: np.ndarray, closing: bool = False) -> Rows:
    """Mean over samples of values [S, steps]; with `closing`, the last step closes the loop."""
    means, errors = zip(*(mean_and_se(column) for column in values.T), strict=True)
    return _labeled(inputs, metric, means, errors, closing)


def _labeled(
    inputs: Inputs,
    metric: str,
    means: Sequence[float],
    errors: Sequence[float | None],
    closing: bool = False,
) -> Rows:
    yaw = as_panoramas(inputs.generated).yaw_deg
    return tuple(
        {
            "metric": metric,
            "step": step,
            "angle_deg": (yaw[step] - yaw[0]) % 360,
            "value": mean,
            "se": error,
            "closes_the_loop": closing and step == len(means) - 1,
        }
        for step, (mean, error) in enumerate(zip(means, errors, strict=True))
    )


def _missing_prompts(inputs: Inputs) -> str:
    return _missing(inputs) or needs_prompts(inputs)


def _missing(inputs: Inputs) -> str:
    if missing := needs_a_ring(inputs):
        return missing
    if as_panoramas(inputs.generated).given_views:
        return "views of which none was given"
    return needs_samples(inputs)


register(Metric("per_step_psnr", _run_psnr, ("resolution",), missing=_missing, agreement=True))
register(Metric("per_step_gradient_energy", _run_energy, missing=_missing))
register(
    Metric(
        "per_step_clip_score",
        _run_clip_score,
        uses="similarity",
        missing=_missing_prompts,
        reads_prompts=True,
    )
)
register(Metric("per_step_fid", _run_fid, uses="classes", compares=True, missing=_missing))

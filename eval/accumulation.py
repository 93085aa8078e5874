"""Error accumulation: consistency and image quality of a view against its steps from view 0.

A method that goes round view by view hands its errors on; one that makes all views at once has no
first and no last view. View n is n steps from view 0, pair n is views n and n + 1. The last pair
closes the loop: it is shown, and stays out of the slopes. The rise of the Fréchet distance is its
slope as a share of its mean over the steps, so that it does not depend on the extractor's scale;
every step has the same number of images, hence nearly the same bias.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from eval.feature_store import FeatureSet
from eval.features import FeatureExtractor, SimilarityExtractor
from eval.metrics.clip_score import clip_score
from eval.metrics.gradient_energy import gradient_energy
from eval.panorama import as_panoramas, needs_a_ring, neighbour_psnr, resolution_note
from eval.protocols import Inputs, Measurement, Outcome, Protocol, per_sample, register
from eval.quality import collect_features, frechet_statistic, metric_key, variant
from eval.samples import SampleFolder
from eval.statistics import jackknife, mean_and_se, slope

LEAST_SAMPLES = 4
"""So that two images per step are left when the jackknife takes half of them away."""
Rows = tuple[dict[str, Any], ...]
Found = tuple[dict[str, Measurement], Rows]


def _run(inputs: Inputs, protocol: Protocol) -> Outcome:
    collect_features(inputs)
    parts = [_consistency(inputs, protocol), _energy(inputs, protocol)]
    for number, similarity in enumerate(inputs.similarity_extractors):
        parts.append(_similarity(inputs, similarity, number, protocol))
    if inputs.has_other_reference and inputs.reference is not None:
        classifiers = [e for e in inputs.feature_extractors if e.has_classes]
        for number, features in enumerate(classifiers):
            parts.append(_distance(inputs, inputs.reference, features, number, protocol))
    measurements = {name: found for part, _ in parts for name, found in part.items()}
    return Outcome(measurements, steps=tuple(row for _, rows in parts for row in rows))


def _consistency(inputs: Inputs, protocol: Protocol) -> Found:
    psnr = neighbour_psnr(inputs, as_panoramas(inputs.generated))  # [S, pairs]
    at = resolution_note(inputs)
    found = per_sample(slope(psnr[:, :-1]), "dB per step", True, protocol, at)
    return {"per_step_psnr": found}, _rows(inputs, "psnr_db", psnr, closing=True)


def _energy(inputs: Inputs, protocol: Protocol) -> Found:
    folder = inputs.generated
    energy = np.array(
        [
            [gradient_energy(view) for view in folder.views(i).astype(np.float32) / 255]
            for i in inputs.samples("gradient energy by step")
        ]
    )  # [S, V]
    found = per_sample(slope(energy), "per step", None, protocol)
    return {"per_step_gradient_energy": found}, _rows(inputs, "gradient_energy", energy)


def _similarity(
    inputs: Inputs, extractor: SimilarityExtractor, number: int, protocol: Protocol
) -> Found:
    folder = inputs.generated
    prompts = [prompt for i in folder.sample_ids for prompt in folder.prompts(i)]
    images = inputs.store.features(folder, extractor).blocks()
    pairs = zip(images, inputs.store.texts(extractor, prompts).blocks(), strict=True)
    scores = torch.cat([clip_score(image, text) for image, text in pairs])
    values = scores.numpy().reshape(len(folder.sample_ids), -1)  # [S, V]
    by = str(extractor.identity)
    found = per_sample(slope(values), "per step", True, protocol, variant(extractor), by)
    rows = _rows(inputs, metric_key("clip_score", extractor, number), values)
    return {metric_key("per_step_clip_score", extractor, number): found}, rows


def _distance(
    inputs: Inputs,
    real: SampleFolder,
    extractor: FeatureExtractor,
    number: int,
    protocol: Protocol,
) -> Found:
    """Fréchet distance of each step's views from the real views of the same direction."""
    sides = [inputs.store.features(folder, extractor) for folder in (inputs.generated, real)]
    count, num_views = len(real.sample_ids), as_panoramas(real).num_views
    of_step = [
        frechet_statistic(*(_step(features, step, num_views) for features in sides))
        for step in range(num_views)
    ]

    def distances(kept: np.ndarray) -> np.ndarray:
        each = np.array([distance(kept) for distance in of_step])
        return np.append(each, _relative_slope(each))

    whole, pseudo = jackknife(distances, count, inputs.settings.jackknife_groups)
    errors = [mean_and_se(column)[1] for column in pseudo.T]
    rise = Measurement(
        float(whole[-1]), errors[-1], "of the mean per step", False,
        protocol.name + variant(extractor), protocol.version, str(extractor.identity),
        tuple(pseudo[:, -1].tolist()), "group",
    )  # fmt: skip
    rows = _labelled(inputs, metric_key("fid", extractor, number), whole[:-1].tolist(), errors[:-1])
    return {metric_key("per_step_fid", extractor, number): rise}, rows


def _step(features: FeatureSet, step: int, num_views: int) -> FeatureSet:
    """Features of one view of every sample."""
    keys = features.keys[step::num_views]
    return dataclasses.replace(features, keys=keys, sample_of=np.arange(len(keys)))


def _relative_slope(values: np.ndarray) -> float:
    """Slope of values [steps] as a share of their mean; 0 if all are 0."""
    mean = float(values.mean())
    return float(slope(values[None])[0] / mean) if mean > 0 else 0.0


def _rows(inputs: Inputs, metric: str, values: np.ndarray, closing: bool = False) -> Rows:
    """Mean over samples of values [S, steps]; with `closing`, the last step closes the loop."""
    each = [mean_and_se(column) for column in values.T]
    means, errors = [mean for mean, _ in each], [error for _, error in each]
    return _labelled(inputs, metric, means, errors, closing)


def _labelled(
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


def _missing(inputs: Inputs) -> str:
    if missing := needs_a_ring(inputs):
        return missing
    if as_panoramas(inputs.generated).given_views:
        return "views none of which was given"
    enough = len(inputs.generated.sample_ids) >= LEAST_SAMPLES
    return "" if enough else f"at least {LEAST_SAMPLES} samples"


register(
    Protocol(
        "error-accumulation",
        1,
        ("panorama",),
        "PSNR of pair (n, n+1), gradient energy, CLIP score and Fréchet distance from the real "
        "views of the same direction, against n steps from view 0; least-squares slope per step",
        _missing,
        _run,
    )
)

"""The protocols of the panorama task (paper, section 5): image quality, consistency, controls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eval.features import Extractor, FeatureExtractor
from eval.folders import SampleFolder
from eval.metrics.cross_view_psnr import Overlap, cross_view_psnr, neighbour_overlaps, resize_views
from eval.metrics.fid import frechet_distance
from eval.metrics.gradient_energy import gradient_energy
from eval.metrics.inception_score import assign_splits, inception_score
from eval.protocols import Inputs, Measurement, Outcome, Protocol, register
from eval.statistics import jackknife, mean_and_se, ratio_of_means
from mvdiffusion.records import InputError


def _per_sample(
    values: np.ndarray,
    unit: str,
    better: bool | None,
    protocol: Protocol,
    at: str = "",
    by: str = "",
) -> Measurement:
    value, se = mean_and_se(values)
    return Measurement(
        value, se, unit, better, protocol.name + at, protocol.version, by or None,
        tuple(values.tolist()), "sample",
    )  # fmt: skip


# --- paper-pano: image quality ---------------------------------------------------------------


def _run_image_quality(inputs: Inputs, protocol: Protocol) -> Outcome:
    measurements: dict[str, Measurement] = {}
    for number, features in enumerate(inputs.feature_extractors):
        found = _distribution_metrics(inputs, features, protocol)
        measurements |= {_key(name, features, number): found[name] for name in found}
    for number, similarity in enumerate(inputs.similarity_extractors):
        scores = [
            similarity(inputs.generated.views(i), inputs.generated.prompts(i)).mean().item()
            for i in inputs.samples(f"CLIP score by {similarity.identity.name}")
        ]
        measurements[_key("clip_score", similarity, number)] = _per_sample(
            np.array(scores), "0-100", True, protocol,
            _variant(similarity), str(similarity.identity),
        )  # fmt: skip
    return Outcome(measurements)


def _key(metric: str, extractor: Extractor, number: int) -> str:
    """Only further extractors of a kind need telling apart."""
    return metric if number == 0 else f"{metric}_{extractor.identity.name}"


def _variant(extractor: Extractor) -> str:
    """The paper's protocol is the paper's only with pretrained extractors; say so in its name."""
    name = extractor.identity.name
    return f"@{name}" if name.startswith("miniature-") else ""


def _distribution_metrics(
    inputs: Inputs, extractor: FeatureExtractor, protocol: Protocol
) -> dict[str, Measurement]:
    features, logits = _extract(inputs, inputs.generated, extractor)
    count, views = features.shape[:2]
    splits = assign_splits(count * views, inputs.settings.inception_splits, inputs.settings.seed)
    split_of = splits.reshape(count, views)

    def score(kept: np.ndarray) -> float:
        return inception_score(logits[kept].flatten(0, 1), split_of[kept].flatten())

    found = {"inception_score": _per_group(inputs, score, True, protocol, extractor)}
    if inputs.has_other_reference and inputs.reference is not None:
        target, _ = _extract(inputs, inputs.reference, extractor)

        def distance(kept: np.ndarray) -> float:
            return frechet_distance(features[kept].flatten(0, 1), target[kept].flatten(0, 1))

        found["fid"] = _per_group(inputs, distance, False, protocol, extractor)
    return found


def _extract(
    inputs: Inputs, folder: SampleFolder, extractor: FeatureExtractor
) -> tuple[Tensor, Tensor]:
    """Features [S, V, D] and logits [S, V, classes]; one sample at a time, whatever the machine."""
    what = f"features of {folder.method} by {extractor.identity.name}"
    pairs = [extractor(folder.views(sample_id)) for sample_id in inputs.samples(what)]
    features, logits = zip(*pairs, strict=True)
    return torch.stack(features), torch.stack(logits)


def _per_group(
    inputs: Inputs,
    statistic: Callable[[np.ndarray], float],
    better: bool,
    protocol: Protocol,
    extractor: Extractor,
) -> Measurement:
    count = len(inputs.generated.sample_ids)
    value, pseudo_values = jackknife(statistic, count, inputs.settings.jackknife_groups)
    return Measurement(
        value, mean_and_se(pseudo_values)[1], "", better, protocol.name + _variant(extractor),
        protocol.version, str(extractor.identity), tuple(pseudo_values.tolist()), "group",
    )  # fmt: skip


register(
    Protocol(
        "paper-pano",
        1,
        "FID, Inception score and CLIP score of the views, CLIP with each view's own prompt",
        lambda inputs: "" if inputs.extractors else "an extractor (--evaluators or 'extractors')",
        _run_image_quality,
    )
)


# --- paper-consistency-pano: cross-view PSNR -------------------------------------------------


def _run_consistency(inputs: Inputs, protocol: Protocol) -> Outcome:
    at = _at(inputs)
    psnr = _psnr_of(inputs, inputs.generated)  # [S, pairs]
    parts = {
        "cross_view_psnr": psnr.mean(1),
        "cross_view_psnr_non_closing": psnr[:, :-1].mean(1),
        "cross_view_psnr_closing": psnr[:, -1],
        "cross_view_psnr_worst": psnr.min(1),
    }
    found = {name: _per_sample(parts[name], "dB", True, protocol, at) for name in parts}
    if inputs.reference is not None:
        real = _psnr_of(inputs, inputs.reference) if inputs.has_other_reference else psnr
        ratio, se = ratio_of_means(psnr.mean(1), real.mean(1))
        found["cross_view_psnr_ratio"] = Measurement(
            ratio, se, "of real", True, protocol.name + at, protocol.version
        )
    return Outcome(found, tuple(_pair_rows(inputs, psnr)))


def _at(inputs: Inputs) -> str:
    """The paper compares at 1024 px; another resolution shows in the protocol's name."""
    resolution = inputs.settings.consistency_resolution
    return "" if resolution == 1024 else f"@{resolution}"


def _comparison_size(inputs: Inputs) -> tuple[int, int]:
    height = inputs.settings.consistency_resolution
    return height, round(height * inputs.generated.width / inputs.generated.height)


def _psnr_of(inputs: Inputs, folder: SampleFolder, other: bool = False) -> np.ndarray:
    """PSNR [S, pairs]; with `other`, against the next sample's neighbouring views."""
    size = _comparison_size(inputs)
    overlaps = _overlaps(folder, *size)
    ids = inputs.generated.sample_ids
    next_of = dict(zip(ids, ids[1:] + ids[:1], strict=True))
    rows = []
    what = "other-scene control" if other else f"cross-view PSNR of {folder.method}"
    for sample_id in inputs.samples(what):
        views = resize_views(folder.views(sample_id), *size)
        others = resize_views(folder.views(next_of[sample_id]), *size) if other else None
        rows.append(cross_view_psnr(views, overlaps, others))
    return np.stack(rows)


def _overlaps(folder: SampleFolder, height: int, width: int) -> list[Overlap]:
    try:
        return neighbour_overlaps(folder.fov_deg, folder.yaw_deg, height, width)
    except ValueError as error:
        raise InputError(f"{folder.root}: {error} Check fov_deg and yaw_deg.") from None


def _pair_rows(inputs: Inputs, psnr: np.ndarray) -> Iterator[dict[str, Any]]:
    num_views = inputs.generated.num_views
    for view in range(num_views):
        value, se = mean_and_se(psnr[:, view])
        yield {"pair": f"{view}-{(view + 1) % num_views}", "psnr_db": value, "se": se}


register(
    Protocol(
        "paper-consistency-pano",
        1,
        "PSNR over the overlap of every pair of neighbouring views, the closing one included",
        lambda inputs: "" if inputs.generated.num_views > 2 else "at least three views per sample",
        _run_consistency,
    )
)


# --- controls: a gain in consistency must be neither blur nor a shared palette ---------------


def _run_controls(inputs: Inputs, protocol: Protocol) -> Outcome:
    energy = _energies(inputs, inputs.generated)
    found = {"gradient_energy": _per_sample(energy, "", None, protocol)}
    if inputs.reference is not None:
        ratio, se = ratio_of_means(energy, _energies(inputs, inputs.reference))
        found["gradient_energy_ratio"] = Measurement(
            ratio, se, "of real", None, protocol.name, protocol.version
        )
    if len(inputs.generated.sample_ids) > 1:
        psnr = _psnr_of(inputs, inputs.generated, other=True).mean(1)
        found["other_scene_psnr"] = _per_sample(psnr, "dB", None, protocol, _at(inputs))
    return Outcome(found)


def _energies(inputs: Inputs, folder: SampleFolder) -> np.ndarray:
    ids = inputs.samples(f"gradient energy of {folder.method}")
    return np.array([gradient_energy(folder.views(i).astype(np.float32) / 255) for i in ids])


register(
    Protocol(
        "controls",
        1,
        "Gradient energy, and PSNR against the neighbouring view of another scene",
        lambda inputs: "" if inputs.generated.num_views > 2 else "at least three views per sample",
        _run_controls,
    )
)

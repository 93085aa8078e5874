"""One folder in, one score file out: every number with what made it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eval import (
    accumulation,
    consistency_images,
    controls,
    depth,
    equirect,
    modern,
    omnifid,
    outpaint,
    panorama,
    quality,
)
from eval.feature_store import FeatureStore
from eval.features import Extractor, load_evaluator
from eval.pretrained import load_standard
from eval.protocols import Inputs, Outcome, ScoreSettings, select
from eval.samples import SampleFolder, SequenceFolder
from eval.suspicions import warnings_of
from mvdiffusion.records import InputError, provenance

PROTOCOL_MODULES = (
    *(quality, modern, panorama, outpaint, depth, controls),
    *(accumulation, consistency_images, equirect, omnifid),
)
"""Importing them registers the protocols."""


def score_folder(
    generated: SampleFolder,
    reference: SampleFolder | None,
    evaluators: Sequence[str | Path],
    settings: ScoreSettings,
    codec: SampleFolder | None = None,
    cache: str | Path | None = None,
) -> dict[str, Any]:
    """Score a folder with every protocol that the settings ask for.

    Args:
        generated: the samples to score.
        reference: the real views of the same samples, and perhaps of more.
        evaluators: folders of evaluators made by `evaluator`.
        settings: what to run, and how.
        codec: the real views through the methods' autoencoder; only outpainting asks for them.
        cache: folder that keeps features for later runs; None: they are computed for this one.

    Returns:
        The content of a score file.

    Raises:
        InputError: the folders do not fit together, or a protocol's needs are not met.
    """
    whole_reference = reference
    reference = matching_reference(generated, reference) if reference else None
    if codec is not None and generated.task != "outpaint":
        raise InputError(f"--codec: only outpainting is compared with it, not '{generated.task}'.")
    codec = matching_reference(generated, codec) if codec else None
    extractors: list[Extractor] = [load_evaluator(folder) for folder in evaluators]
    extractors += [load_standard(name) for name in settings.extractors]
    inputs = Inputs(generated, reference, tuple(extractors), settings, codec, FeatureStore(cache))
    outcomes = [(protocol, protocol.run(inputs, protocol)) for protocol in select(inputs)]
    return {
        "format": 1,
        "task": generated.task,
        "method": generated.method,
        "settings_sha256": generated.settings_sha256,
        "images": describe_images(generated),
        "reference": describe_images(reference) if reference else None,
        "codec": describe_images(codec) if codec else None,
        "protocols": {p.name: {"version": p.version, "is": p.description} for p, _ in outcomes},
        "extractors": {str(e.identity): e.description for e in extractors},
        "metrics": _metrics([outcome for _, outcome in outcomes]),
        "pairs": [row for _, outcome in outcomes for row in outcome.pairs],
        "steps": [row for _, outcome in outcomes for row in outcome.steps],
        "warnings": warnings_of(inputs, whole_reference),
        "settings": dataclasses.asdict(settings),
        "provenance": provenance(),
    }


def matching_reference(generated: SampleFolder, reference: SampleFolder) -> SampleFolder:
    """Restrict real views to the samples generated.

    Raises:
        InputError: another camera arrangement or size, or samples without real views.
    """
    if isinstance(generated, SequenceFolder) != isinstance(reference, SequenceFolder):
        raise InputError(
            f"{generated.root}: its task is {generated.task}, that of the reference "
            f"{reference.root} is {reference.task}; both must be of the same task."
        )
    for key in ("height", "width", "fov_deg", "yaw_deg"):
        _check_alike(generated, reference, key)
    unknown = sorted(set(generated.sample_ids) - set(reference.sample_ids))
    if unknown:
        raise InputError(
            f"{generated.root}: samples {unknown[:3]} ({len(unknown)} in all) are not in the "
            f"reference {reference.root}; real views of the same samples are needed."
        )
    reference = dataclasses.replace(reference, sample_ids=generated.sample_ids)
    if isinstance(generated, SequenceFolder) and isinstance(reference, SequenceFolder):
        _check_geometry(generated, reference)
    return reference


def _check_alike(generated: SampleFolder, reference: SampleFolder, key: str) -> None:
    ours, theirs = getattr(generated, key, None), getattr(reference, key, None)
    if ours != theirs:
        raise InputError(
            f"{generated.root}: {key} is {ours}, but the reference {reference.root} has "
            f"{theirs}; both must be the same views at the same size."
        )


def _check_geometry(generated: SequenceFolder, reference: SequenceFolder) -> None:
    for sample_id in generated.sample_ids:
        one = [dataclasses.replace(f, sample_ids=(sample_id,)) for f in (generated, reference)]
        if one[0].geometry_sha256() != one[1].geometry_sha256():
            raise InputError(
                f"{generated.root / sample_id}: frames, cameras or depth differ from those in the "
                f"reference {reference.root}; both must be the same frames."
            )


def describe_images(folder: SampleFolder) -> dict[str, Any]:
    """Say which images were scored: hash, counts and cameras."""
    ids = folder.sample_ids
    return {
        "method": folder.method,
        "sha256": folder.images_sha256(),
        "samples": list(ids),
        "num_samples": len(ids),
        "num_images": sum(folder.count(sample_id) for sample_id in ids),
        "num_judged": sum(len(folder.judged(sample_id)) for sample_id in ids),
        "height": folder.height,
        "width": folder.width,
        **folder.arrangement(),
    }


def _metrics(outcomes: Sequence[Outcome]) -> dict[str, dict[str, Any]]:
    metrics = {}
    for outcome in outcomes:
        for name, measurement in outcome.measurements.items():
            if not math.isfinite(measurement.value):
                raise InputError(
                    f"{name} came out as {measurement.value}; are there enough samples, and are "
                    "the images not all alike?"
                )
            metrics[name] = dataclasses.asdict(measurement)
    return metrics

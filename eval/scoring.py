"""One folder in, one score file out: every number with what made it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import eval.panorama  # noqa: F401  registers the panorama protocols
from eval.features import Extractor, load_evaluator, load_standard
from eval.folders import SampleFolder
from eval.protocols import Inputs, Outcome, ScoreSettings, select
from mvdiffusion.records import InputError, provenance


def score_folder(
    generated: SampleFolder,
    reference: SampleFolder | None,
    evaluators: Sequence[str | Path],
    settings: ScoreSettings,
) -> dict[str, Any]:
    """Score a folder with every protocol that the settings ask for.

    Args:
        generated: the samples to score.
        reference: the real views of the same samples, and perhaps of more.
        evaluators: folders of evaluators made by `evaluator`.
        settings: what to run, and how.

    Returns:
        The content of a score file.

    Raises:
        InputError: the folders do not fit together, or a protocol's needs are not met.
    """
    if reference is not None:
        reference = matching_reference(generated, reference)
    extractors: list[Extractor] = [load_evaluator(folder) for folder in evaluators]
    extractors += [load_standard(name) for name in settings.extractors]
    inputs = Inputs(generated, reference, tuple(extractors), settings)
    outcomes = [(protocol, protocol.run(inputs, protocol)) for protocol in select(inputs)]
    return {
        "format": 1,
        "method": generated.method,
        "settings_sha256": generated.settings_sha256,
        "images": describe_images(generated),
        "reference": describe_images(reference) if reference else None,
        "protocols": {p.name: {"version": p.version, "is": p.description} for p, _ in outcomes},
        "extractors": {str(e.identity): e.description for e in extractors},
        "metrics": _metrics([outcome for _, outcome in outcomes]),
        "pairs": [row for _, outcome in outcomes for row in outcome.pairs],
        "settings": dataclasses.asdict(settings),
        "provenance": provenance(),
    }


def matching_reference(generated: SampleFolder, reference: SampleFolder) -> SampleFolder:
    """Restrict the real views to the samples generated.

    Raises:
        InputError: another camera arrangement or size, or samples without real views.
    """
    for key in ("height", "width", "fov_deg", "yaw_deg"):
        ours, theirs = getattr(generated, key), getattr(reference, key)
        if ours != theirs:
            raise InputError(
                f"{generated.root}: {key} is {ours}, but the reference {reference.root} has "
                f"{theirs}; both must be the same views at the same size."
            )
    unknown = sorted(set(generated.sample_ids) - set(reference.sample_ids))
    if unknown:
        raise InputError(
            f"{generated.root}: samples {unknown[:3]} ({len(unknown)} in all) are not in the "
            f"reference {reference.root}; real views of the same samples are needed."
        )
    return dataclasses.replace(reference, sample_ids=generated.sample_ids)


def describe_images(folder: SampleFolder) -> dict[str, Any]:
    """Say which images were scored: hash, count and cameras."""
    return {
        "method": folder.method,
        "sha256": folder.images_sha256(),
        "samples": list(folder.sample_ids),
        "num_samples": len(folder.sample_ids),
        "num_views": folder.num_views,
        "height": folder.height,
        "width": folder.width,
        "fov_deg": folder.fov_deg,
        "yaw_deg": list(folder.yaw_deg),
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

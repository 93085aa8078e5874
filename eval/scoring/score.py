"""Scoring one folder: every number with its provenance."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from mvdiffusion.records import InputError, provenance

from ..extractors.base import described
from ..extractors.store import BATCH
from ..folders.equirectangular import EquirectangularFolder
from ..folders.faults import find_faults
from ..folders.samples import SampleFolder, SequenceFolder
from ..metrics.base import Detail, Inputs, merge
from ..metrics.measurement import Measurement
from ..protocols.plan import Run, collect_features, plan
from ..protocols.protocol import metrics as registered
from .few_images import few_images, limited_note
from .sanity_checks import warnings_of
from .verification import sealed


def score_inputs(
    inputs: Inputs,
    whole_reference: SampleFolder | None,
    limited_from: int | None = None,
    details: list[Detail] | None = None,
    part: tuple[int, int] = (0, 1),
) -> dict[str, Any]:
    """Score a folder with every protocol that the settings ask for.

    Args:
        inputs: without extractors, those that the protocols named are defined with are loaded.
        whole_reference: the reference as it was given, perhaps with more samples.
        limited_from: number of samples there are, if only the first of them are scored.
        details: list that gets the values of single views and pairs.
        part: number of this process and how many there are. One of several only brings the
            features of its samples into the cache.

    Returns:
        The content of a score file; nothing if it is for one of several to see to its part.

    Raises:
        InputError: a protocol's needs are not met.
    """
    generated, reference, bound = inputs.generated, inputs.reference, inputs.vae_reconstruction
    faults = find_faults(generated)
    runs, inputs = plan(dataclasses.replace(inputs, faults=faults))
    collect_features(runs, inputs.store, part)
    if part[1] > 1:
        return {}
    outcome = merge([run.measure() for run in runs])
    protocols = {run.protocol.name: describe_run(run) for run in runs}
    if details is not None:
        details.extend(outcome.details)
    warnings = [*warnings_of(inputs, whole_reference), *_protocol_warnings(runs, inputs)]
    more: dict[str, Any] = {}
    if limited_from is not None:
        more["limited"] = {"to": len(generated.sample_ids), "of": limited_from}
        warnings.append(limited_note(more["limited"]))
    if inputs.store.batch_size != BATCH:
        more["batch_size"] = inputs.store.batch_size
    return sealed(
        {
            "format": 4,
            "task": generated.task,
            "method": generated.method,
            "settings_sha256": generated.settings_sha256,
            "images": describe_images(generated),
            "faults": dataclasses.asdict(faults),
            "reference": describe_images(reference) if reference else None,
            "vae_reconstruction": describe_images(bound) if bound else None,
            "protocols": protocols,
            "extractors": {str(e.identity): described(e) for e in inputs.extractors}
            | dict(outcome.extractors),
            "metrics": _numbers(outcome.measurements),
            "pairs": list(outcome.pairs),
            "steps": list(outcome.steps),
            "warnings": [*warnings, *few_images(protocols)],
            "settings": dataclasses.asdict(inputs.settings),
            "provenance": provenance(),
            **more,
        }
    )


def describe_run(run: Run) -> dict[str, Any]:
    """Describe a protocol and how each of its metrics was measured."""
    protocol = run.protocol
    metrics = {}
    for step, inputs in run.steps:
        used = registered()[step.metric].used
        metrics[step.key] = {
            "metric": step.metric,
            "images": dict(step.images),
            "size": [inputs.generated.width, inputs.generated.height],
            **step.options,
            **({"used": used(inputs, step)} if used else {}),
        }
    about = {"version": protocol.version, "is": protocol.measures, "source": protocol.source}
    return {**about, "metrics": metrics}


def _protocol_warnings(runs: Sequence[Run], inputs: Inputs) -> list[str]:
    """Warn of metrics that were not measured, and of other numbers of images than published."""
    warnings = []
    evaluated = sum(len(inputs.generated.evaluated_views(i)) for i in inputs.generated.sample_ids)
    for run in runs:
        name, count = run.protocol.name, run.protocol.count
        if name in inputs.settings.protocols:
            keys_of: dict[str, list[str]] = {}
            for key, need in run.lacking.items():
                keys_of.setdefault(need, []).append(f"'{key}'")
            warnings += [
                f"{name}: {', '.join(keys)} {'was' if len(keys) == 1 else 'were'} not measured "
                f"because {'it needs' if len(keys) == 1 else 'they need'} {need}."
                for need, keys in keys_of.items()
            ]
        pretrained = any(
            e.identity.name in step.extractors for step, seen in run.steps for e in seen.extractors
        )
        if count and pretrained and evaluated != count:
            warnings.append(
                f"{name}: its published numbers use {count} images, these use {evaluated}; FID "
                "depends on the number of images, so compare it only with methods scored on the "
                "same number."
            )
    return warnings


def matching_reference(generated: SampleFolder, reference: SampleFolder) -> SampleFolder:
    """Restrict real views to the generated samples.

    Raises:
        InputError: the cameras or sizes differ, or samples have no real views.
    """
    if isinstance(generated, SequenceFolder) != isinstance(reference, SequenceFolder):
        raise InputError(
            f"{generated.root}: its task is {generated.task}, but that of the reference "
            f"{reference.root} is {reference.task}; both must have the same task."
        )
    for key in ("height", "width", "fov_deg", "yaw_deg"):
        ours, theirs = getattr(generated, key, None), getattr(reference, key, None)
        if ours != theirs:
            raise InputError(
                f"{generated.root}: {key} is {ours}, but {theirs} in the reference "
                f"{reference.root}; both must contain the same views at the same size."
            )
    _check_panorama_sizes(generated, reference)
    unknown = sorted(set(generated.sample_ids) - set(reference.sample_ids))
    if unknown:
        raise InputError(
            f"{generated.root}: samples {unknown[:3]} ({len(unknown)} in all) are not in the "
            f"reference {reference.root}; give real views of the same samples."
        )
    reference = dataclasses.replace(reference, sample_ids=generated.sample_ids)
    if isinstance(generated, SequenceFolder) and isinstance(reference, SequenceFolder):
        _check_geometry(generated, reference)
    return reference


def _check_panorama_sizes(generated: SampleFolder, reference: SampleFolder) -> None:
    """Refuse views cut from panoramas of two sizes: those of the smaller ones are smoother."""
    both = (generated, reference)
    sizes = [f.panorama_size for f in both if isinstance(f, EquirectangularFolder)]
    if len(set(sizes)) > 1:
        ours, theirs = (f"{width}×{height} pixels" for width, height in sizes)
        raise InputError(
            f"{generated.root}: its panoramas have {ours}, but those of the reference "
            f"{reference.root} {theirs}; resize all of them to one size, or give --panorama-height."
        )


def _check_geometry(generated: SequenceFolder, reference: SequenceFolder) -> None:
    for sample_id in generated.sample_ids:
        one = [dataclasses.replace(f, sample_ids=(sample_id,)) for f in (generated, reference)]
        if one[0].geometry_sha256() != one[1].geometry_sha256():
            raise InputError(
                f"{generated.root / sample_id}: its frames, cameras or depth maps differ from "
                f"those in the reference {reference.root}; both must contain the same frames."
            )


def describe_images(folder: SampleFolder) -> dict[str, Any]:
    """Describe the scored images: hash, counts and cameras."""
    ids = folder.sample_ids
    return {
        "method": folder.method,
        "sha256": folder.images_sha256(),
        "samples": list(ids),
        "num_samples": len(ids),
        "num_images": sum(folder.count(sample_id) for sample_id in ids),
        "num_evaluated": sum(len(folder.evaluated_views(sample_id)) for sample_id in ids),
        "height": folder.height,
        "width": folder.width,
        **folder.arrangement(),
        **({"named_by": dict(folder.named_by)} if folder.named_by else {}),
    }


def _numbers(measurements: Mapping[str, Measurement]) -> dict[str, dict[str, Any]]:
    for name, measurement in measurements.items():
        if not math.isfinite(measurement.value):
            raise InputError(
                f"{name} is {measurement.value}; check that there are enough samples and that the "
                "images are not all alike."
            )
    return {name: dataclasses.asdict(measurement) for name, measurement in measurements.items()}

"""Consistency of panoramas, generated from text alone or from a view as well (paper, section 5)."""

from __future__ import annotations

import numpy as np

from mvdiffusion.records import InputError

from ..folders.images import resize_views
from ..folders.samples import PanoramaFolder, SampleFolder
from ..functional.cross_view_psnr import Overlap, cross_view_psnr, neighbor_overlaps
from .base import (
    Inputs,
    Metric,
    Outcome,
    Step,
    details_of,
    pair_rows,
    per_sample,
    ratio_to_real,
    register,
)


def _run_consistency(inputs: Inputs, step: Step) -> Outcome:
    folder, resolution = as_panoramas(inputs.generated), step.options["resolution"]
    psnr = neighbor_psnr(inputs, folder, resolution)  # [S, pairs]
    parts = {
        step.key: psnr.mean(1),
        f"{step.key}_non_closing": psnr[:, :-1].mean(1),
        f"{step.key}_closing": psnr[:, -1],
        f"{step.key}_worst": psnr.min(1),
    }
    if folder.given_views:
        given = np.isin(np.arange(folder.num_views), folder.given_views)
        # Pairs of a given view and one that was generated; pair i is view i and the next.
        parts["given_pairs_psnr"] = psnr[:, given != np.roll(given, -1)].mean(1)
    measurements = {name: per_sample(parts[name], "dB", True, step) for name in parts}
    if inputs.reference is not None:
        real = psnr
        if inputs.has_other_reference:
            real = neighbor_psnr(inputs, inputs.reference, resolution)
        measurements[f"{step.key}_ratio"] = ratio_to_real(psnr.mean(1), real.mean(1), True, step)
    count = folder.num_views
    names = [f"{view}-{(view + 1) % count}" for view in range(count)]
    samples = folder.sample_ids
    details = details_of(step.key, samples, [names] * len(samples), list(psnr))
    return Outcome(measurements, pair_rows(names, list(psnr.T)), details=details)


def as_panoramas(folder: SampleFolder) -> PanoramaFolder:
    """Narrow a folder to one of panoramas; protocols are only run on their own tasks."""
    assert isinstance(folder, PanoramaFolder)
    return folder


def needs_a_ring(inputs: Inputs) -> str:
    """Say what is missing for neighboring views to form a closed ring."""
    enough = as_panoramas(inputs.generated).num_views > 2
    return "" if enough else "at least three views per sample"


def neighbor_psnr(
    inputs: Inputs, folder: SampleFolder, resolution: int, other: bool = False
) -> np.ndarray:
    """PSNR [S, pairs] at a height in pixels; with `other`, against the next sample's neighbors.

    Args:
        inputs: says which samples.
        folder: generated or real views.
        resolution: height in pixels at which views are compared.
        other: compare with the next sample's views instead, the control of a shared palette.
    """
    size = comparison_size(inputs, resolution)
    overlaps = overlaps_of(as_panoramas(folder), *size)
    rows = []
    what = "other-scene control" if other else f"cross-view PSNR of {folder.method}"
    for sample_id in inputs.samples(what):
        views = resize_views(folder.views(sample_id), *size)
        others = None
        if other:
            others = resize_views(folder.views(inputs.other_sample(sample_id)), *size)
        rows.append(cross_view_psnr(views, overlaps, others))
    return np.stack(rows)


def comparison_size(inputs: Inputs, height: int) -> tuple[int, int]:
    """Height and width in pixels at which neighboring views are compared."""
    return height, round(height * inputs.generated.width / inputs.generated.height)


def overlaps_of(folder: PanoramaFolder, height: int, width: int) -> list[Overlap]:
    """What neighboring views share at a size.

    Raises:
        InputError: they do not overlap.
    """
    try:
        return neighbor_overlaps(folder.fov_deg, folder.yaw_deg, height, width)
    except ValueError as error:
        raise InputError(f"{folder.root}: {error} Check fov_deg and yaw_deg.") from None


register(
    Metric(
        "cross_view_psnr",
        _run_consistency,
        options=("resolution",),
        missing=needs_a_ring,
        agreement=True,
    )
)

"""Consistency of panoramas, generated from text alone or from a view as well (paper, section 5)."""

from __future__ import annotations

import numpy as np

from eval.metrics.cross_view_psnr import Overlap, cross_view_psnr, neighbour_overlaps, resize_views
from eval.protocols import (
    Inputs,
    Outcome,
    Protocol,
    pair_rows,
    per_sample,
    ratio_to_real,
    register,
)
from eval.samples import PanoramaFolder, SampleFolder
from mvdiffusion.records import InputError


def _run_consistency(inputs: Inputs, protocol: Protocol) -> Outcome:
    at, folder = resolution_note(inputs), as_panoramas(inputs.generated)
    psnr = neighbour_psnr(inputs, folder)  # [S, pairs]
    parts = {
        "cross_view_psnr": psnr.mean(1),
        "cross_view_psnr_non_closing": psnr[:, :-1].mean(1),
        "cross_view_psnr_closing": psnr[:, -1],
        "cross_view_psnr_worst": psnr.min(1),
    }
    if folder.given_views:
        parts["given_pairs_psnr"] = psnr[:, _pairs_with(folder)].mean(1)
    found = {name: per_sample(parts[name], "dB", True, protocol, at) for name in parts}
    if inputs.reference is not None:
        real = neighbour_psnr(inputs, inputs.reference) if inputs.has_other_reference else psnr
        ratio = ratio_to_real(psnr.mean(1), real.mean(1), True, protocol, at)
        found["cross_view_psnr_ratio"] = ratio
    count = folder.num_views
    names = [f"{view}-{(view + 1) % count}" for view in range(count)]
    return Outcome(found, pair_rows(names, list(psnr.T)))


def _pairs_with(folder: PanoramaFolder) -> list[int]:
    """Pairs of a given view and one that was generated; pair i is view i and the next."""
    given, count = folder.given_views, folder.num_views
    return [view for view in range(count) if (view in given) != ((view + 1) % count in given)]


def as_panoramas(folder: SampleFolder) -> PanoramaFolder:
    """Narrow a folder to one of panoramas; protocols are only run on their own tasks."""
    assert isinstance(folder, PanoramaFolder)
    return folder


def needs_a_ring(inputs: Inputs) -> str:
    """Say what is missing for neighbouring views to form a closed ring."""
    enough = as_panoramas(inputs.generated).num_views > 2
    return "" if enough else "at least three views per sample"


def resolution_note(inputs: Inputs) -> str:
    """The paper compares at 1024 px; another resolution shows in the protocol's name."""
    resolution = inputs.settings.consistency_resolution
    return "" if resolution == 1024 else f"@{resolution}"


def neighbour_psnr(inputs: Inputs, folder: SampleFolder, other: bool = False) -> np.ndarray:
    """PSNR [S, pairs]; with `other`, against the next sample's neighbouring views."""
    size = comparison_size(inputs)
    overlaps = overlaps_of(as_panoramas(folder), *size)
    rows = []
    what = "other-scene control" if other else f"cross-view PSNR of {folder.method}"
    for sample_id in inputs.samples(what):
        views = resize_views(folder.views(sample_id), *size)
        next_one = inputs.next_sample(sample_id)
        others = resize_views(folder.views(next_one), *size) if other else None
        rows.append(cross_view_psnr(views, overlaps, others))
    return np.stack(rows)


def comparison_size(inputs: Inputs) -> tuple[int, int]:
    """Height and width in pixels at which neighbouring views are compared."""
    height = inputs.settings.consistency_resolution
    return height, round(height * inputs.generated.width / inputs.generated.height)


def overlaps_of(folder: PanoramaFolder, height: int, width: int) -> list[Overlap]:
    """What neighbouring views share at a size.

    Raises:
        InputError: they do not overlap.
    """
    try:
        return neighbour_overlaps(folder.fov_deg, folder.yaw_deg, height, width)
    except ValueError as error:
        raise InputError(f"{folder.root}: {error} Check fov_deg and yaw_deg.") from None


register(
    Protocol(
        "paper-consistency-pano",
        1,
        ("panorama", "outpaint"),
        "PSNR over the overlap of every pair of neighbouring views, the closing one included",
        needs_a_ring,
        _run_consistency,
    )
)

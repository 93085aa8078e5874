"""Consistency beyond PSNR: SSIM and LPIPS over the same overlaps.

PSNR compares pixel by pixel, SSIM compares structure, and LPIPS compares perceived appearance. The
pairs, the warp and the pixels compared are those of the paper's consistency protocols.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from mvdiffusion.records import InputError

from ..extractors.base import described
from ..extractors.lpips import load_lpips
from ..folders.images import resize_views
from ..folders.samples import SequenceFolder
from ..functional.cross_view_psnr import warp
from ..functional.depth_psnr import sample_shared, shared_pixels
from ..functional.ssim import masked_ssim
from . import depth_consistency, panorama_consistency
from .base import Inputs, Metric, Outcome, Step, details_of, per_sample, register
from .controls import PAIR_OPTIONS, needs_neighbors, size_note

Pair = tuple[np.ndarray, np.ndarray, np.ndarray]
"""A view and its neighbor warped into it [H, W, 3] in [0, 1], and the pixels to compare [H, W]."""
Compare = Callable[[np.ndarray, np.ndarray, np.ndarray], float]


def _run_ssim(inputs: Inputs, step: Step) -> Outcome:
    return _outcome(inputs, step, masked_ssim, True)


def _run_lpips(inputs: Inputs, step: Step) -> Outcome:
    lpips = load_lpips(step.options["network"])
    outcome = _outcome(inputs, step, lpips, False, str(lpips.identity))
    return dataclasses.replace(outcome, extractors={str(lpips.identity): described(lpips)})


def _outcome(
    inputs: Inputs, step: Step, compare: Compare, better: bool, by: str | None = None
) -> Outcome:
    rows, at = _compared(inputs, step, compare), size_note(inputs, step)
    values = {step.key: np.array([np.nanmean(row) for row in rows])}
    if inputs.generated.task != "depth":
        values[f"{step.key}_closing"] = np.array([row[-1] for row in rows])
    made = {name: per_sample(values[name], "", better, step, at) for name in values}
    measured = {n: dataclasses.replace(found, extractor=by) for n, found in made.items()}
    folder = inputs.generated
    if isinstance(folder, SequenceFolder):
        pairs = [folder.trajectories[sample_id].key_pairs for sample_id in folder.sample_ids]
    else:
        pairs = [folder.neighbors(sample_id) for sample_id in folder.sample_ids]
    names = [[f"{i}-{j}" for i, j in own] for own in pairs]
    return Outcome(measured, details=details_of(step.key, folder.sample_ids, names, rows))


def _compared(inputs: Inputs, step: Step, compare: Compare) -> list[np.ndarray]:
    """The comparison of every pair [pairs] of every sample."""
    pairs, rows = pairs_of(inputs, step), []
    for sample_id in inputs.samples(f"{step.key} of overlaps"):
        rows.append(np.array([compare(*pair) for pair in pairs(sample_id)]))
        if not np.isfinite(rows[-1]).any():
            raise InputError(
                f"{inputs.generated.root / sample_id}: no two key frames share a pixel; check "
                "cameras.json and the depth maps."
            )
    return rows


def pairs_of(inputs: Inputs, step: Step) -> Callable[[str], Iterator[Pair]]:
    """Lay the neighboring views of a sample, or its consecutive key frames, on one another.

    Args:
        inputs: the samples.
        step: with the options `resolution` of panoramas or `max_depth_difference` of sequences.
    """
    depth = inputs.generated.task == "depth"
    return _of_sequence(inputs, step) if depth else _of_panorama(inputs, step)


def _of_panorama(inputs: Inputs, step: Step) -> Callable[[str], Iterator[Pair]]:
    folder = panorama_consistency.as_panoramas(inputs.generated)
    size = panorama_consistency.comparison_size(inputs, step.options["resolution"])
    overlaps = panorama_consistency.overlaps_of(folder, *size)

    def pairs(sample_id: str) -> Iterator[Pair]:
        views = resize_views(folder.views(sample_id), *size)
        for overlap in overlaps:
            yield views[overlap.query], warp(views[overlap.target], overlap), overlap.mask

    return pairs


def _of_sequence(inputs: Inputs, step: Step) -> Callable[[str], Iterator[Pair]]:
    folder = depth_consistency.as_sequences(inputs.generated)

    def pairs(sample_id: str) -> Iterator[Pair]:
        views = folder.views(sample_id) / 255
        cameras = depth_consistency.cameras_of(folder, sample_id)
        for i, j in folder.trajectories[sample_id].key_pairs:
            shared = shared_pixels(cameras[i], cameras[j], step.options["max_depth_difference"])
            warped = np.zeros_like(views[i])
            if shared.mask.any():
                warped[shared.mask] = sample_shared(views[j], shared)
            yield views[i], warped, shared.mask

    return pairs


def _needs_network(inputs: Inputs) -> str:
    if not inputs.settings.lpips:
        return "a network for LPIPS (setting 'lpips')"
    return needs_neighbors(inputs)


register(
    Metric("cross_view_ssim", _run_ssim, PAIR_OPTIONS, missing=needs_neighbors, agreement=True)
)
register(
    Metric(
        "cross_view_lpips",
        _run_lpips,
        (*PAIR_OPTIONS, "network"),
        missing=_needs_network,
        agreement=True,
    )
)

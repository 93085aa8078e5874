"""Consistency beyond PSNR: SSIM and LPIPS over the same overlaps.

PSNR is pixel by pixel; SSIM asks for the same structure, LPIPS for the same look. The pairs, the
warp and the pixels compared are those of the paper's consistency protocols.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

import eval.depth
import eval.panorama
from eval.controls import PAIR_OPTIONS, needs_neighbours, size_note
from eval.images import resize_views
from eval.measurements import Inputs, Metric, Outcome, Step, per_sample, register
from eval.metrics.cross_view_psnr import warp
from eval.metrics.depth_psnr import sample_shared, shared_pixels
from eval.metrics.lpips import load_lpips
from eval.metrics.ssim import masked_ssim
from mvdiffusion.records import InputError

Pair = tuple[np.ndarray, np.ndarray, np.ndarray]
"""A view and its neighbour warped into it [H, W, 3] in [0, 1], and the pixels to compare [H, W]."""
Compare = Callable[[np.ndarray, np.ndarray, np.ndarray], float]


def _run_ssim(inputs: Inputs, step: Step) -> Outcome:
    return _outcome(inputs, step, masked_ssim, True)


def _run_lpips(inputs: Inputs, step: Step) -> Outcome:
    lpips = load_lpips(step.options["network"])
    return _outcome(inputs, step, lpips, False, str(lpips.identity))


def _outcome(
    inputs: Inputs, step: Step, compare: Compare, better: bool, by: str | None = None
) -> Outcome:
    rows, at = _compared(inputs, step, compare), size_note(inputs, step)
    values = {step.key: np.array([np.nanmean(row) for row in rows])}
    if inputs.generated.task != "depth":
        values[f"{step.key}_closing"] = np.array([row[-1] for row in rows])
    made = {name: per_sample(values[name], "", better, step, at) for name in values}
    return Outcome({n: dataclasses.replace(found, extractor=by) for n, found in made.items()})


def _compared(inputs: Inputs, step: Step, compare: Compare) -> list[np.ndarray]:
    """The comparison of every pair [pairs] of every sample."""
    depth = inputs.generated.task == "depth"
    pairs_of = _of_sequence(inputs, step) if depth else _of_panorama(inputs, step)
    rows = []
    for sample_id in inputs.samples(f"{step.key} of overlaps"):
        rows.append(np.array([compare(*pair) for pair in pairs_of(sample_id)]))
        if not np.isfinite(rows[-1]).any():
            raise InputError(
                f"{inputs.generated.root / sample_id}: no two key frames share a pixel; check "
                "cameras.json and depth."
            )
    return rows


def _of_panorama(inputs: Inputs, step: Step) -> Callable[[str], Iterator[Pair]]:
    folder = eval.panorama.as_panoramas(inputs.generated)
    size = eval.panorama.comparison_size(inputs, step.options["resolution"])
    overlaps = eval.panorama.overlaps_of(folder, *size)

    def pairs(sample_id: str) -> Iterator[Pair]:
        views = resize_views(folder.views(sample_id), *size)
        for overlap in overlaps:
            yield views[overlap.query], warp(views[overlap.target], overlap), overlap.mask

    return pairs


def _of_sequence(inputs: Inputs, step: Step) -> Callable[[str], Iterator[Pair]]:
    folder = eval.depth.as_sequences(inputs.generated)

    def pairs(sample_id: str) -> Iterator[Pair]:
        views = folder.views(sample_id) / 255
        cameras = eval.depth.cameras_of(folder, sample_id)
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
    return needs_neighbours(inputs)


register(Metric("cross_view_ssim", _run_ssim, PAIR_OPTIONS, missing=needs_neighbours))
register(Metric("cross_view_lpips", _run_lpips, (*PAIR_OPTIONS, "network"), missing=_needs_network))

"""Consistency beyond PSNR: SSIM and LPIPS over the same overlaps.

PSNR is pixel by pixel; SSIM asks for the same structure, LPIPS for the same look. The pairs, the
warp and the pixels compared are those of the paper's consistency protocols.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

import eval.depth
import eval.panorama
from eval.controls import needs_neighbours
from eval.metrics.cross_view_psnr import resize_views, warp
from eval.metrics.depth_psnr import sample_shared, shared_pixels
from eval.metrics.lpips import load_lpips
from eval.metrics.ssim import masked_ssim
from eval.protocols import Inputs, Outcome, Protocol, per_sample, register
from mvdiffusion.records import InputError

Pair = tuple[np.ndarray, np.ndarray, np.ndarray]
"""A view and its neighbour warped into it [H, W, 3] in [0, 1], and the pixels to compare [H, W]."""
Compare = Callable[[np.ndarray, np.ndarray, np.ndarray], float]


def _run(inputs: Inputs, protocol: Protocol) -> Outcome:
    comparisons: dict[str, tuple[Compare, str, bool, str | None]] = {
        "cross_view_ssim": (masked_ssim, "", True, None)
    }
    if inputs.settings.lpips:
        lpips = load_lpips(inputs.settings.lpips)
        comparisons["cross_view_lpips"] = (lpips, "", False, str(lpips.identity))
    rows = _compared(inputs, [comparison[0] for comparison in comparisons.values()])
    at, found = _note(inputs), {}
    for number, (name, (_, unit, better, by)) in enumerate(comparisons.items()):
        values = [row[number] for row in rows]
        means = np.array([np.nanmean(pairs) for pairs in values])
        found[name] = per_sample(means, unit, better, protocol, at, by)
        if inputs.generated.task != "depth":
            closing = np.array([pairs[-1] for pairs in values])
            found[f"{name}_closing"] = per_sample(closing, unit, better, protocol, at, by)
    return Outcome(found)


def _compared(inputs: Inputs, comparisons: list[Compare]) -> list[np.ndarray]:
    """Every comparison of every pair [comparisons, pairs] of every sample."""
    rows, pairs_of = [], _pairs(inputs)
    for sample_id in inputs.samples("structure of overlaps"):
        each = [[compare(*pair) for compare in comparisons] for pair in pairs_of(sample_id)]
        rows.append(np.array(each).T)
        if not np.isfinite(rows[-1]).any():
            raise InputError(
                f"{inputs.generated.root / sample_id}: no two key frames share a pixel; check "
                "cameras.json and depth."
            )
    return rows


def _pairs(inputs: Inputs) -> Callable[[str], Iterator[Pair]]:
    return _of_sequence(inputs) if inputs.generated.task == "depth" else _of_panorama(inputs)


def _of_panorama(inputs: Inputs) -> Callable[[str], Iterator[Pair]]:
    folder = eval.panorama.as_panoramas(inputs.generated)
    size = eval.panorama.comparison_size(inputs)
    overlaps = eval.panorama.overlaps_of(folder, *size)

    def pairs(sample_id: str) -> Iterator[Pair]:
        views = resize_views(folder.views(sample_id), *size)
        for overlap in overlaps:
            yield views[overlap.query], warp(views[overlap.target], overlap), overlap.mask

    return pairs


def _of_sequence(inputs: Inputs) -> Callable[[str], Iterator[Pair]]:
    folder = eval.depth.as_sequences(inputs.generated)

    def pairs(sample_id: str) -> Iterator[Pair]:
        views = folder.views(sample_id) / 255
        cameras = eval.depth.cameras_of(folder, sample_id)
        for i, j in folder.trajectories[sample_id].key_pairs:
            shared = shared_pixels(cameras[i], cameras[j], inputs.settings.max_depth_difference)
            warped = np.zeros_like(views[i])
            if shared.mask.any():
                warped[shared.mask] = sample_shared(views[j], shared)
            yield views[i], warped, shared.mask

    return pairs


def _note(inputs: Inputs) -> str:
    if inputs.generated.task == "depth":
        return eval.depth.size_note(inputs)
    return eval.panorama.resolution_note(inputs)


register(
    Protocol(
        "consistency-images",
        1,
        ("panorama", "outpaint", "depth"),
        "SSIM of neighbouring views or consecutive key frames over the pixels that both see, and "
        "LPIPS where the setting 'lpips' names a network",
        needs_neighbours,
        _run,
    )
)

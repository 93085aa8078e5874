"""Correspondence: do the same points of the scene lie where the cameras say? (this project)

The matches are those of `functional.keypoint_matches`; the pairs of views, and what of one view the
other sees, are those of the paper's consistency protocols.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from mvdiffusion.geometry.cameras import intrinsics
from mvdiffusion.records import InputError

from ..folders.samples import SampleFolder
from ..functional import cross_view_psnr, depth_psnr
from ..functional.keypoint_matches import agreement, find_keypoints, match_errors
from .base import Inputs, Metric, Outcome, Step, per_sample, ratio_to_real, register
from .controls import needs_neighbors
from .depth_consistency import as_sequences, cameras_of
from .panorama_consistency import as_panoramas, overlaps_of

SMALLEST = 192
"""Pixels; in smaller views there are too few keypoints, and they lie too far off: pairs of real
panoramas have 37 matches at 192 px (83 % of them in place), 14 (66 %) at 128 px, 3 (21 %) at 64 px
(docs/consistency.md)."""


@dataclass(frozen=True)
class Pair:
    """Two views whose matches are counted.

    Attributes:
        query, target: numbers of the views.
        seen_points: maps points of the query [N, 2] to the target's [N, 2], and says which of them
            the target sees [N].
        tolerance: distance in pixels from where a correct match may lie.
    """

    query: int
    target: int
    seen_points: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    tolerance: float


def _run(inputs: Inputs, step: Step) -> Outcome:
    folder, at = inputs.generated, f"@{inputs.generated.height}"
    rows = _agreements(inputs, step, folder)
    correct, share, error = (np.array([row[:, i].mean() for row in rows]) for i in range(3))
    measurements = {
        f"{step.key}_share": per_sample(share, "of matches", True, step, at),
        f"{step.key}_inliers": per_sample(correct, "per pair", True, step, at),
        f"{step.key}_error": per_sample(error, "px", False, step, at),
    }
    if folder.task != "depth":
        closing = np.array([row[-1, 1] for row in rows])
        key = f"{step.key}_share_closing"
        measurements[key] = per_sample(closing, "of matches", True, step, at)
    if inputs.reference is not None:
        real = correct
        if inputs.has_other_reference:
            found = _agreements(inputs, step, inputs.reference)
            real = np.array([row[:, 0].mean() for row in found])
        if real.any():  # else nothing real can be found again, as on smooth walls
            ratio = ratio_to_real(correct, real, True, step, at)
            measurements[f"{step.key}_ratio"] = ratio
    return Outcome(measurements)


def _agreements(inputs: Inputs, step: Step, folder: SampleFolder) -> list[np.ndarray]:
    """Correct matches, their share and the error of every pair [pairs, 3] of every sample."""
    pairs, rows = pairs_of(folder, step), []
    for sample_id in inputs.samples(f"keypoint matches of {folder.method}"):
        compared = list(pairs(sample_id))
        if not compared:
            raise InputError(
                f"{folder.root / sample_id}: no two key frames share a pixel; check cameras.json "
                "and the depth maps."
            )
        used = sorted({view for pair in compared for view in (pair.query, pair.target)})
        views = zip(used, folder.views(sample_id, used), strict=True)
        keypoints = {number: find_keypoints(view) for number, view in views}
        found = []
        for pair in compared:
            query, target = keypoints[pair.query], keypoints[pair.target]
            xy, seen = pair.seen_points(query.xy)
            errors = match_errors(query, target, np.where(seen[:, None], xy, np.nan))
            one = agreement(errors, pair.tolerance)
            found.append((one.correct, one.share, one.error))
        rows.append(np.array(found, np.float64))
    return rows


def pairs_of(folder: SampleFolder, step: Step) -> Callable[[str], Iterator[Pair]]:
    """Say which pairs of views of a sample are compared, and how, by the sample.

    Args:
        folder: the samples.
        step: with the options `tolerance_deg` and `max_depth_difference`.
    """
    return _of_sequence(folder, step) if folder.task == "depth" else _of_panorama(folder, step)


def _of_panorama(folder: SampleFolder, step: Step) -> Callable[[str], Iterator[Pair]]:
    panoramas = as_panoramas(folder)
    size = panoramas.height, panoramas.width
    tolerance = _pixels(intrinsics(panoramas.fov_deg, *size).numpy(), step)
    pairs = [
        Pair(o.query, o.target, partial(cross_view_psnr.seen_points, overlap=o), tolerance)
        for o in overlaps_of(panoramas, *size)
    ]
    return lambda sample_id: iter(pairs)


def _of_sequence(folder: SampleFolder, step: Step) -> Callable[[str], Iterator[Pair]]:
    sequences, limit = as_sequences(folder), step.options["max_depth_difference"]

    def pairs(sample_id: str) -> Iterator[Pair]:
        cameras = cameras_of(sequences, sample_id)
        for i, j in sequences.trajectories[sample_id].key_pairs:
            pair = {"query": cameras[i], "target": cameras[j], "max_difference": limit}
            if depth_psnr.shared_pixels(**pair).mask.any():
                seen_points = partial(depth_psnr.seen_points, **pair)
                yield Pair(i, j, seen_points, _pixels(cameras[i].K, step))

    return pairs


def _pixels(K: np.ndarray, step: Step) -> float:
    """Pixels, in the middle of a view, of the angle within which matches are correct."""
    return float(K[0, 0]) * math.tan(math.radians(step.options["tolerance_deg"]))


def _missing(inputs: Inputs) -> str:
    small = min(inputs.generated.height, inputs.generated.width) < SMALLEST
    sizes = f"views of at least {SMALLEST} px" if small else ""
    return " and ".join(filter(None, (needs_neighbors(inputs), sizes)))


register(
    Metric(
        "keypoint_matches",
        _run,
        ("tolerance_deg", "max_depth_difference"),
        missing=_missing,
        agreement=True,
    )
)

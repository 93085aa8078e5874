"""Whether depth and poses of a recording belong together, and whether its frames overlap."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from mvdiffusion.geometry.depth import depth_correspondences
from mvdiffusion.geometry.homography import inside
from mvdiffusion.preparation.custom.problems import Problem, note

SEQUENCE = 8  # key frames, the shortest that the project's configurations ask for
_PAIRS, _SHARE = 40, 0.3  # pairs judged at most; overlap that they must have
_TOLERANCE = 0.03  # relative difference of depth; sensors and their poses reach about 0.01


def motion_problems(
    depth: Tensor, K: Tensor, pose: Tensor, keys: int, where: Path
) -> Iterator[Problem]:
    """Report frames too far apart for key frames, and poses that contradict the depth.

    Args:
        depth: [F, H, W] in meters, 0 where there is none.
        K: intrinsics [F, 3, 3] in pixels.
        pose: camera-to-world [F, 4, 4].
        keys: how many of the frames become key frames.
    """
    if keys == len(depth):
        problem = "consecutive frames share too little: every frame becomes a key frame"
        fix = "Nothing to do, or keep more frames of the recording, or lower --overlap."
        yield note(where, problem, fix)
    if keys < SEQUENCE:
        problem = f"{keys} key frames; a sequence of {SEQUENCE} or more cannot be made"
        fix = "Record more of the scene, raise --overlap, or use a smaller num_views."
        yield note(where, problem, fix)
    disagreement = _depth_disagreement(depth, K, pose)
    if disagreement is not None and disagreement > _TOLERANCE:
        problem = f"depth and poses contradict each other by {disagreement:.0%} (median of pairs)"
        fix = (
            "Check that poses are camera-to-world with x right, y down, z forward, and in the "
            "unit of the depth (--scale)."
        )
        yield note(where, problem, fix)


def _depth_disagreement(depth: Tensor, K: Tensor, pose: Tensor) -> float | None:
    """Measure how far depth carried into another frame is from the depth there.

    Frames some way apart are compared, as neighbors agree under any pose.

    Returns:
        The relative difference, median over pixels and then pairs; None if no two frames overlap.
    """
    # Float32 keeps millimeters only near the origin.
    pose = pose.clone()
    pose[:, :3, 3] -= pose[0, :3, 3].clone()
    K, pose, count = K.to(depth), pose.to(depth), len(depth)
    step = max(1, count // 12)
    starts = torch.arange(count - step)
    starts = starts[:: max(1, len(starts) // _PAIRS)]
    found = []
    for start in starts.tolist():
        pair = torch.tensor([start, start + step])
        found += _pair_difference(depth[pair][None], K[pair][None], pose[pair][None])
    return float(torch.tensor(found).median()) if found else None


def _pair_difference(depth: Tensor, K: Tensor, pose: Tensor) -> list[float]:
    height, width = depth.shape[-2:]
    xy, z = depth_correspondences(depth, K, pose)
    xy, z = xy[0, 0, 1], z[0, 0, 1]
    seen = inside(xy, height, width) & (z > 0)
    if float(seen.float().mean()) < _SHARE:
        return []
    x, y = xy[seen].round().long().unbind(-1)
    there = depth[0, 1][y.clamp(0, height - 1), x.clamp(0, width - 1)]
    known = there > 0
    difference = (z[seen][known] - there[known]).abs() / there[known]
    return [float(difference.median())] if len(difference) else []

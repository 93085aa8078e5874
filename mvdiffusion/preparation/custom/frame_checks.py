"""Checks of a recording's frames against each other: sizes, units, cameras, motion."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mvdiffusion.geometry.depth import scale_intrinsics
from mvdiffusion.preparation.custom.image_checks import in_parallel
from mvdiffusion.preparation.custom.motion import TOLERANCE, advice, agreement, round_number
from mvdiffusion.preparation.custom.problems import Problem, note
from mvdiffusion.preparation.custom.recordings import (
    FrameLook,
    Recording,
    equal_proportions,
    look_at_frame,
    stacked,
    usual_camera,
)
from mvdiffusion.preparation.custom.settings import CheckSettings
from mvdiffusion.preparation.key_frames import choose_key_frames

_NEAR, _FAR = 0.1, 20.0  # meters, of a plausible frame's median depth
_FEWEST = 2  # frames
_SEQUENCE = 8  # key frames, the shortest that the project's configurations ask for


def check_frames(
    recording: Recording, settings: CheckSettings
) -> tuple[list[FrameLook], int, list[Problem]]:
    """Decode every frame of a recording and report what is wrong with them.

    Args:
        recording: with the units that the settings give.
        settings: of the check.

    Returns:
        What the frames hold, how many become key frames (0 if they cannot be used), problems.
    """
    look = partial(look_at_frame, unit=recording.depth_unit)
    looks = list(in_parallel(look, recording.frames, f"checking {recording.name}"))
    problems = [problem for found in looks for problem in found.problems]
    where = recording.folder
    problems += [*_sizes(looks, where), *_units(looks, where), *_cameras(looks)]
    keys, usable = 0, [found for found in looks if found.is_usable]
    if len(usable) < _FEWEST:
        problem = f"{len(usable)} of {len(looks)} frames have color, depth, K and a rigid pose"
        problems.append(Problem(where, problem, "Record at least two; a sequence needs 8 or 12."))
    elif not any(problem.stops for problem in problems):
        depth, K, pose = stacked(usable)
        keys = len(choose_key_frames(depth, K, pose, settings.overlap))
        problems += _few_key_frames(keys, len(usable), where)
        problems += _contradictions(recording, settings, usable, (depth, K, pose))
    return looks, keys, problems


def _few_key_frames(keys: int, frames: int, where: Path) -> Iterator[Problem]:
    if keys == frames:
        problem = "consecutive frames share too little: every frame becomes a key frame"
        fix = "Nothing to do, or keep more frames of the recording, or lower --overlap."
        yield note(where, problem, fix)
    if keys < _SEQUENCE:
        problem = f"{keys} key frames; a sequence of {_SEQUENCE} or more cannot be made"
        fix = "Record more of the scene, raise --overlap, or use a smaller num_views."
        yield note(where, problem, fix)


def _contradictions(
    recording: Recording,
    settings: CheckSettings,
    usable: list[FrameLook],
    geometry: tuple[Tensor, Tensor, Tensor],
) -> Iterator[Problem]:
    """Report poses that contradict the depth: correspondences would be wrong without a word."""
    found = agreement(*geometry)
    if not found.explained and (found.difference is None or found.difference <= TOLERANCE):
        return
    by = "" if found.difference is None else f" by {found.difference:.0%} (median of pairs)"
    problem = f"depth and poses contradict each other{by}"
    if found.scale is not None:
        problem += f"; the poses look like {round_number(1 / found.scale):g} of the depth's unit"
    fix = advice(found, recording.camera_axes, settings.scale, usable[0].unit)
    if settings.accept_poses:
        yield note(recording.folder, problem, f"Nothing to do, as --accept-poses is given. {fix}")
    else:
        fix += " To take the poses as they are, give --accept-poses."
        yield Problem(recording.folder, problem, fix)


def _sizes(looks: list[FrameLook], where: Path) -> Iterator[Problem]:
    """Report depth of several sizes, and that of other proportions, which is not resampled."""
    sizes = [found.depth_size for found in looks if found.depth_size[0]]
    usual = max(sizes, key=sizes.count, default=(0, 0))
    words = f"{usual[1]} x {usual[0]}"
    alike = {size for size in sizes if equal_proportions(size, usual)}
    if len(alike) > 1:
        fix = f"Nothing to do: all are resampled to the commonest camera, of {words} pixels."
        yield note(where, f"images of {len(alike)} sizes", fix)
    for found in looks:
        if found.depth_size[0] and found.depth_size not in alike:
            height, width = found.depth_size
            problem = f"depth of {width} x {height} pixels; other frames have {words}"
            fix = "Export all frames in equal proportions, or import them as two recordings."
            yield Problem(found.frame.depth, problem, fix)


def _units(looks: list[FrameLook], where: Path) -> Iterator[Problem]:
    known = [found for found in looks if found.depth_median]
    if not known:
        return
    median = float(np.median([found.depth_median for found in known]))
    if not _NEAR <= median <= _FAR:
        problem = f"the median depth is {median:.4g} m if a count of depth is {known[0].unit:g} m"
        fix = "State the true meters per count: --depth-unit 0.001 for millimeters, 1 for meters."
        yield Problem(where, f"{problem}; the unit may be wrong", fix)


def _cameras(looks: list[FrameLook]) -> Iterator[Problem]:
    """Report intrinsics that do not fit the image, or differ much between frames."""
    seen: set[str] = set()
    usual = usual_camera(looks)
    if usual is None or usual.K is None:
        return
    size = usual.depth_size
    for found in looks:
        if (K := found.K) is None or not equal_proportions(found.depth_size, size):
            continue
        name = found.frame.color
        for problem in _misfit(K, found.depth_size):
            if problem not in seen:
                seen.add(problem)
                yield Problem(name, problem, "Give fx, fy, cx, cy for this size of image.")
        if camera_shift(scale_intrinsics(K, found.depth_size, size), usual.K, size) > 0.1 * size[1]:
            problem = "another camera than that of other frames (zoom, or another lens)"
            yield Problem(name, problem, "Import each camera's frames as a recording of its own.")


def _misfit(K: Tensor, size: tuple[int, int]) -> Iterator[str]:
    height, width = size
    (fx, fy), (cx, cy) = K.diagonal()[:2].tolist(), K[:2, 2].tolist()
    words = f"intrinsics fx {fx:.0f}, fy {fy:.0f}, cx {cx:.0f}, cy {cy:.0f}"
    if not (0.7 < (2 * cx + 1) / width < 1.4 and 0.7 < (2 * cy + 1) / height < 1.4):
        yield f"{words} are not for {width} x {height} pixels"
    elif not (0.2 < fx / width < 5 and 0.7 < fx / fy < 1.4):
        yield f"{words} cannot be those of a camera of {width} x {height} pixels"


def camera_shift(K: Tensor, other: Tensor, size: tuple[int, int]) -> float:
    """Pixels by which a corner of the image moves from one camera [3, 3] to another."""
    height, width = size
    corners = torch.tensor([[0, 0, 1], [width - 1, height - 1, 1]], dtype=K.dtype).T
    moved = other @ torch.linalg.inv(K) @ corners
    return float((moved - corners)[:2].abs().max())

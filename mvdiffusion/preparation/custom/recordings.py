"""A user's RGB-D recordings: frames with color, depth, pose and intrinsics, and what files hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mvdiffusion.data.scannet import resize_depth
from mvdiffusion.geometry.cameras import is_rigid
from mvdiffusion.geometry.depth import scale_intrinsics
from mvdiffusion.preparation.custom.depth_files import (
    in_meters,
    is_saturated,
    read_counts,
    usual_unit,
)
from mvdiffusion.preparation.custom.image_checks import Look, look_at, scene_name
from mvdiffusion.preparation.custom.problems import Problem, note
from mvdiffusion.preparation.key_frames import small_depth

PROPORTIONS = 0.03
"""Relative difference that the proportions of a recording's images may have."""


@dataclass(frozen=True)
class Frame:
    """One frame of a recording.

    Attributes:
        number: its number in the layout.
        color: image file.
        depth: file of depth.
        pose: camera-to-world [4, 4] in meters; None if there is none that can be read.
        K: intrinsics [3, 3] in pixels (pixel centers at integers); None if unknown.
        size: (height, width) that K is for; None means the depth image's.
    """

    number: int
    color: Path
    depth: Path
    pose: NDArray[np.float64] | None
    K: NDArray[np.float64] | None
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Recording:
    """A sequence of frames that becomes one scene.

    Attributes:
        folder: where it lies.
        frames: in order of their numbers.
        depth_unit: meters per count of the depth images; None means meters where counts are
            floating point, else millimeters.
        camera_axes: of the poses in the files; those of `Frame.pose` always are x right, y down,
            z forward.
    """

    folder: Path
    frames: tuple[Frame, ...] = ()
    depth_unit: float | None = None
    camera_axes: str = "x right, y down, z forward"

    @property
    def name(self) -> str:
        """Name of the scene."""
        return scene_name(self.folder)

    def adjusted(self, scale: float, depth_unit: float | None) -> Recording:
        """Return the recording with other units.

        Args:
            scale: meters per unit of the poses.
            depth_unit: meters per count of the depth images; None keeps that of the recording.
        """
        frames = tuple(replace(frame, pose=_scaled(frame.pose, scale)) for frame in self.frames)
        return replace(self, frames=frames, depth_unit=depth_unit or self.depth_unit)


def _scaled(pose: NDArray[np.float64] | None, scale: float) -> NDArray[np.float64] | None:
    if pose is None or scale == 1:
        return pose
    scaled = pose.copy()
    scaled[:3, 3] *= scale
    return scaled


@dataclass(frozen=True)
class FrameLook:
    """What a frame's files hold.

    Attributes:
        frame: the frame.
        color: its color image.
        depth_size: (height, width) of its depth; zeros if it cannot be decoded.
        depth_median: in meters; 0 if there is no depth.
        small_depth: [h, w] in meters; None if there is no depth.
        unit: meters per count of the depth.
        saturated: the depth holds counts of 65535, which stand for no depth.
        problems: what is wrong with the files.
    """

    frame: Frame
    color: Look
    depth_size: tuple[int, int]
    depth_median: float
    small_depth: Tensor | None
    unit: float
    saturated: bool
    problems: tuple[Problem, ...]

    @property
    def K(self) -> Tensor | None:
        """Intrinsics [3, 3] in pixels of the depth image (float64)."""
        if self.frame.K is None or not self.depth_size[0]:
            return None
        K = torch.from_numpy(self.frame.K)
        size = self.frame.size
        return K if size is None else scale_intrinsics(K, size, self.depth_size)

    @property
    def is_usable(self) -> bool:
        """Whether the frame has color, depth, intrinsics and a rigid pose."""
        pose = self.frame.pose
        rigid = pose is not None and bool(is_rigid(torch.from_numpy(pose)))
        return (
            rigid and self.K is not None and self.small_depth is not None and self.color.width > 0
        )


def look_at_frame(frame: Frame, unit: float | None) -> FrameLook:
    """Decode a frame's files and report all that is wrong with them.

    Args:
        unit: meters per count of the depth; None as in `Recording`.
    """
    color = look_at(frame.color)
    problems = list(color.problems)
    counts = read_counts(frame.depth)
    if isinstance(counts, Problem):
        return FrameLook(frame, color, (0, 0), 0.0, None, 0.0, False, (*problems, counts))
    height, width = counts.shape
    if color.width and not equal_proportions((color.height, color.width), (height, width)):
        problem = f"{width} x {height} pixels, but the color image has {color.size}"
        fix = "Export color and depth of the same field of view, in equal proportions."
        problems.append(Problem(frame.depth, problem, fix))
    saturated = is_saturated(counts)
    if saturated:
        fix = "Nothing to do: such pixels have no depth."
        problems.append(note(frame.depth, "pixels of 65535, which is no depth", fix))
    unit = unit or usual_unit(counts)
    depth = torch.from_numpy(in_meters(counts, unit)).float()
    median, small = 0.0, None
    if depth.any():
        median = float(depth[depth > 0].median())
        small, _ = small_depth(depth, torch.eye(3))
    else:
        fix = "Nothing to do: it stays out of the valid frames."
        problems.append(note(frame.depth, "no depth at all (all zero)", fix))
    size = (height, width)
    return FrameLook(frame, color, size, median, small, unit, saturated, tuple(problems))


def equal_proportions(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Tell whether images of two sizes (height, width) can show the same field of view."""
    return abs(size[1] * other[0] / (size[0] * other[1]) - 1) <= PROPORTIONS


def usual_camera(looks: Sequence[FrameLook]) -> FrameLook | None:
    """Return the first frame of the commonest size of depth; a scene has this frame's camera."""
    known = [found for found in looks if found.K is not None]
    sizes = [found.depth_size for found in known]
    usual = max(sizes, key=sizes.count, default=None)
    return next((found for found in known if found.depth_size == usual), None)


def stacked(looks: Sequence[FrameLook]) -> tuple[Tensor, Tensor, Tensor]:
    """Stack usable frames: small depth [F, h, w], its K [F, 3, 3] and poses [F, 4, 4]."""
    depths = [found.small_depth for found in looks if found.small_depth is not None]
    usual = usual_camera(looks)
    assert usual is not None  # of usable frames
    assert usual.small_depth is not None
    size = (usual.small_depth.shape[0], usual.small_depth.shape[1])
    depth = torch.stack(
        [each if each.shape == size else resize_depth(each, *size) for each in depths]
    )
    cameras = [(found.K, found.depth_size) for found in looks]
    K = torch.stack([scale_intrinsics(K, old, size) for K, old in cameras if K is not None])
    poses = [found.frame.pose for found in looks if found.frame.pose is not None]
    return depth, K, torch.from_numpy(np.stack(poses))

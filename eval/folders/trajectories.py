"""Cameras of a sequence of frames: `cameras.json` of a depth sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mvdiffusion.geometry.cameras import is_pinhole, is_rigid
from mvdiffusion.geometry.matrix_files import read_intrinsics, read_pose
from mvdiffusion.records import InputError, read_json

CAMERA_KEYS = ("frames", "key_frames", "K", "pose")
_NOT_RIGID = (
    "is not rigid (expected rotation and shift, and 0 0 0 1 as last row); leave out frames without "
    "a valid pose"
)


@dataclass(frozen=True)
class Trajectory:
    """Frames of a sequence in order, with their cameras.

    Attributes:
        frames: frame numbers [V], rising.
        key_frames: positions in `frames` of the key frames, rising.
        K: intrinsics [V, 3, 3] in pixels of the views.
        pose: camera-to-world [V, 4, 4], meters.
    """

    frames: tuple[int, ...]
    key_frames: tuple[int, ...]
    K: np.ndarray
    pose: np.ndarray

    @property
    def key_pairs(self) -> list[tuple[int, int]]:
        """Consecutive key frames, as positions."""
        return list(zip(self.key_frames, self.key_frames[1:], strict=False))

    @property
    def consecutive_pairs(self) -> list[tuple[int, int]]:
        """Consecutive frames of any kind, as positions."""
        return [(view, view + 1) for view in range(len(self.frames) - 1)]

    @property
    def between_pairs(self) -> list[tuple[int, int]]:
        """Every in-between frame with its previous and with its next key frame, as positions."""
        return [
            (view, key)
            for first, last in self.key_pairs
            for view in range(first + 1, last)
            for key in (first, last)
        ]


def read_trajectory(path: Path) -> Trajectory:
    """Read and check `cameras.json`.

    Raises:
        InputError: the file is missing, incomplete, contradicts itself, or a camera is impossible.
    """
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; a depth sample needs its cameras: {list(CAMERA_KEYS)}."
        )
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: is no mapping; expected the keys {list(CAMERA_KEYS)}.")
    missing = [key for key in CAMERA_KEYS if key not in content]
    if missing:
        raise InputError(f"{path}: missing keys {missing}; expected {list(CAMERA_KEYS)}.")
    frames, key_frames = (_numbers(path, content, key) for key in ("frames", "key_frames"))
    _check_order(path, frames, key_frames)
    K = _matrices(path, content, "K", 3, len(frames))
    pose = _matrices(path, content, "pose", 4, len(frames))
    _check_intrinsics(path, K)
    _check_rigid(path, pose)
    return Trajectory(frames, key_frames, K, pose)


def _check_order(path: Path, frames: tuple[int, ...], key_frames: tuple[int, ...]) -> None:
    if not frames or list(frames) != sorted(set(frames)):
        raise InputError(f"{path}: frames must rise, each once; found {list(frames)[:6]}…")
    rising = list(key_frames) == sorted(set(key_frames))
    if not key_frames or not rising or not 0 <= key_frames[0] <= key_frames[-1] < len(frames):
        raise InputError(
            f"{path}: key_frames are positions in frames, rising from 0 to {len(frames) - 1}; "
            f"found {list(key_frames)[:6]}."
        )


def _numbers(path: Path, content: Mapping[str, Any], key: str) -> tuple[int, ...]:
    found = content[key]
    if not isinstance(found, list) or any(type(number) is not int for number in found):
        raise InputError(f"{path}: {key} is {str(found)[:40]}; expected a list of whole numbers.")
    return tuple(found)


def _matrices(
    path: Path, content: Mapping[str, Any], key: str, size: int, count: int
) -> np.ndarray:
    try:
        matrices = np.array(content[key], dtype=np.float64)
    except (TypeError, ValueError):
        matrices = np.empty(0)
    infinite = int((~np.isfinite(matrices)).sum())
    if matrices.shape != (count, size, size) or infinite:
        holes = f", {infinite} values not finite" if infinite else ""
        raise InputError(
            f"{path}: {key} has shape {list(matrices.shape)}{holes}; expected {count} finite "
            f"matrices of {size}×{size}, one per frame."
        )
    return matrices


def read_text_trajectory(folder: Path, frames: Sequence[int]) -> Trajectory:
    """Read the cameras that the authors' released code writes beside its frames.

    `K.txt` holds one intrinsic matrix for all frames, 3×3 or 4×4, in pixels of the views, and
    `<frame>_poses.txt` a camera-to-world matrix. Which frames are key frames it does not write:
    all are taken for such.

    Args:
        folder: the sample.
        frames: numbers of its frames, rising.

    Raises:
        InputError: a file is missing or no matrix, or a camera is impossible.
    """
    K = read_intrinsics(folder / "K.txt").numpy()
    pose = np.stack([_read_pose(folder / f"{frame}_poses.txt") for frame in frames])
    return Trajectory(tuple(frames), tuple(range(len(frames))), np.stack([K] * len(frames)), pose)


def _read_pose(path: Path) -> np.ndarray:
    pose = read_pose(path)
    if pose is None:
        raise InputError(f"{path}: the pose {_NOT_RIGID}.")
    return pose.numpy()


def _check_intrinsics(path: Path, K: np.ndarray) -> None:
    wrong = np.nonzero(~is_pinhole(torch.from_numpy(K)).numpy())[0]
    if len(wrong):
        raise InputError(
            f"{path}: K of view {wrong[0]} is not [fx 0 cx; 0 fy cy; 0 0 1] with focal lengths "
            "above 0, in pixels."
        )


def _check_rigid(path: Path, pose: np.ndarray) -> None:
    wrong = np.nonzero(~is_rigid(torch.from_numpy(pose)).numpy())[0]
    if len(wrong):
        raise InputError(f"{path}: the pose of view {wrong[0]} {_NOT_RIGID}.")

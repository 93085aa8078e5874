"""Key frames of a scene: consecutive ones overlap by about 65 % (paper, section 4.2)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from mvdiffusion.data.scannet import (
    INTRINSICS,
    KEY_FRAMES,
    VALID_FRAMES,
    read_key_frames,
    resize_depth,
)
from mvdiffusion.geometry.depth import Counted, overlaps, scale_intrinsics
from mvdiffusion.geometry.matrix_files import read_intrinsics, read_pose
from mvdiffusion.images import read_depth
from mvdiffusion.outputs import make_room
from mvdiffusion.records import InputError, atomic_output

_WIDTH, _AHEAD = 64, 8  # pixels of the depth compared; frames compared at once


def write_key_frames(scene: Path, overlap: float = 0.65, counted: Counted = "known") -> list[int]:
    """Choose a scene's key frames and write its `valid_frames.npy` and `key_frame_0.6.txt`.

    Those that are there move aside.

    Raises:
        InputError: a file is missing or broken, no frame is usable, or the disk refuses.
    """
    valid, keys = find_key_frames(scene, overlap, counted)
    write_lists(scene, valid, keys)
    return keys


def check_none(scene: Path) -> None:
    """Check that a scene has no key frames, which may be the authors'.

    Raises:
        InputError: it has.
    """
    if os.path.lexists(path := scene / KEY_FRAMES):
        raise InputError(
            f"{path}: exists already; pass --list to print these key frames, or --overwrite to "
            "choose others (this file then moves to *.old)."
        )


def existing_key_frames(scene: Path) -> list[int] | None:
    """Read the key frames of a scene; None if it has none.

    Raises:
        InputError: the file is broken.
    """
    there = os.path.lexists(scene / KEY_FRAMES)
    return read_key_frames(scene / KEY_FRAMES) if there else None


def find_key_frames(
    scene: Path, overlap: float = 0.65, counted: Counted = "known"
) -> tuple[list[int], list[int]]:
    """Choose a scene's key frames; nothing is written.

    Args:
        scene: folder in ScanNet's layout.
        overlap: least share of a key frame that the one before it sees.
        counted: over which pixels the share is counted.

    Returns:
        Numbers of the valid frames, and of the key frames among them.

    Raises:
        InputError: a file is missing or broken, or no frame is usable.
    """
    if not 0 < overlap < 1:
        raise InputError(f"--overlap is {overlap}; expected a number above 0 and below 1.")
    # Depth that was rendered has no photographs.
    kind = "color/*.jpg" if (scene / "color").is_dir() else "depth/*.png"
    numbers = sorted(_number(path) for path in scene.glob(kind))
    camera = read_intrinsics(scene / INTRINSICS)
    frames: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
    for number in tqdm(numbers, desc=f"{scene.name}: depth", disable=len(numbers) < 500):
        if (frame := _read(scene, number, camera)) is not None:
            frames[number] = frame
    if not frames:
        raise InputError(
            f"{scene}: none of {len(numbers)} frames has a rigid pose and depth; export the scene "
            "again."
        )
    depth, K, pose = (torch.stack(part) for part in zip(*frames.values(), strict=True))
    valid = list(frames)
    keys = choose_key_frames(depth, K, pose, overlap, counted)
    return valid, [valid[index] for index in keys]


def _number(path: Path) -> int:
    if not path.stem.isdecimal():
        raise InputError(
            f"{path}: not named by a whole number; expected 0.jpg, 1.jpg … in this layout. Bring "
            "other recordings into it with `mvdiffusion data import`."
        )
    return int(path.stem)


def key_frame_overlaps(scene: Path, keys: Sequence[int]) -> list[float]:
    """Measure the overlap of each of a scene's frames with the one before it.

    Returns:
        One share less than frames.

    Raises:
        InputError: a file is missing or broken, or a frame is not usable.
    """
    camera = read_intrinsics(scene / INTRINSICS)
    frames = [_read(scene, key, camera) for key in keys]
    if None in frames:
        raise InputError(
            f"{scene}: frame {keys[frames.index(None)]} has no rigid pose or no depth."
        )
    shares = []
    for pair in pairwise(frame for frame in frames if frame is not None):
        depth, K, pose = (torch.stack(part)[None] for part in zip(*pair, strict=True))
        shares.append(float(overlaps(depth.double(), K, pose, "known")[0, 0, 1]))
    return shares


def write_lists(scene: Path, valid: Sequence[int], keys: Sequence[int]) -> None:
    """Write the numbers of a scene's valid frames and key frames; earlier files move aside.

    Args:
        valid: numbers of the valid frames, in order.
        keys: numbers of the key frames among them.
    """
    for name in (VALID_FRAMES, KEY_FRAMES):
        make_room(scene / name)
    with atomic_output(scene / VALID_FRAMES) as temporary, open(temporary, "wb") as file:
        np.save(file, np.asarray(valid))
    with atomic_output(scene / KEY_FRAMES) as temporary:
        temporary.write_text("".join(f"{frame}\n" for frame in keys))


def small_depth(depth: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
    """Shrink depth [H, W] and its intrinsics [3, 3] to the size that frames are compared at.

    Args:
        depth: [H, W] in meters.
    """
    height, width = depth.shape
    across = min(width, _WIDTH)
    size = (max(1, round(height * across / width)), across)
    return resize_depth(depth, *size), scale_intrinsics(K, (height, width), size)


def choose_key_frames(
    depth: Tensor, K: Tensor, pose: Tensor, overlap: float, counted: Counted = "known"
) -> list[int]:
    """Choose key frames: each is the last one before the overlap with the one before it falls.

    Args:
        depth: small (see `small_depth`) [F, H, W] in meters, 0 where there is none.
        K: its intrinsics [F, 3, 3] (float64).
        pose: camera-to-world transforms [F, 4, 4] (float64).

    Returns:
        Their indices among the F frames, from 0 on.
    """
    keys, frame = [0], 1
    while frame < len(depth):
        ahead = torch.arange(frame, min(frame + _AHEAD, len(depth)))
        pairs = torch.stack([torch.full_like(ahead, keys[-1]), ahead], 1)  # [A, 2]
        # In float64: rounding must not decide.
        shares = overlaps(depth[pairs].double(), K[pairs], pose[pairs], counted)[:, 0, 1]
        below = shares < overlap
        if below.any():
            keys.append(max(frame + int(below.int().argmax()) - 1, keys[-1] + 1))
            frame = keys[-1] + 1
        else:
            frame += len(ahead)
    return keys


def _read(scene: Path, number: int, camera: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """A frame's small depth with its intrinsics, and its pose; None if it is not usable."""
    pose = read_pose(scene / "pose" / f"{number}.txt")
    depth = torch.from_numpy(read_depth(scene / "depth" / f"{number}.png")).float()
    return (*small_depth(depth, camera), pose) if pose is not None and depth.any() else None

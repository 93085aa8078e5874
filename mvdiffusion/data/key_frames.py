"""Key frames of a scene: consecutive ones overlap by about 65 % (paper, section 4.2)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from mvdiffusion.data.images import read_depth
from mvdiffusion.data.scannet import (
    KEY_FRAMES,
    VALID_FRAMES,
    read_intrinsics,
    read_pose,
    resize_depth,
)
from mvdiffusion.geometry.depth import overlap as overlap_of
from mvdiffusion.geometry.depth import scale_intrinsics
from mvdiffusion.records import InputError, atomic_output

_WIDTH, _AHEAD = 64, 8  # pixels of the depth compared; frames compared at once


def write_key_frames(scene: Path, overlap: float = 0.65) -> list[int]:
    """Write a scene's `valid_frames.npy` and `key_frame_0.6.txt`.

    Args:
        scene: an exported scene's folder.
        overlap: of consecutive key frames, 0 … 1.

    Returns:
        The numbers of the key frames.

    Raises:
        InputError: a file is missing or broken, no frame is usable, or the disk refuses.
    """
    valid, keys = _choose(scene, overlap)
    with atomic_output(scene / VALID_FRAMES) as temporary, open(temporary, "wb") as file:
        np.save(file, np.asarray(valid))
    with atomic_output(scene / KEY_FRAMES) as temporary:
        temporary.write_text("".join(f"{frame}\n" for frame in keys))
    return keys


def select_key_frames(scene: Path, overlap: float = 0.65) -> list[int]:
    """Choose key frames: each is the last one before the overlap with the one before it falls.

    Args:
        scene: an exported scene's folder.
        overlap: the share of pixels (see `geometry.depth.overlap`) of consecutive key frames.

    Returns:
        The numbers of the key frames, from the first usable frame on.

    Raises:
        InputError: a file is missing or broken, or no frame is usable.
    """
    return _choose(scene, overlap)[1]


def _choose(scene: Path, threshold: float) -> tuple[list[int], list[int]]:
    """Numbers of the valid frames and of the key frames among them."""
    if not 0 < threshold < 1:
        raise InputError(f"overlap: found {threshold}; expected a share between 0 and 1.")
    numbers = sorted(int(path.stem) for path in (scene / "color").glob("*.jpg"))
    camera = read_intrinsics(scene)
    frames: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
    for number in tqdm(numbers, desc=f"{scene.name}: depth", disable=len(numbers) < 500):
        pose = read_pose(scene / "pose" / f"{number}.txt")
        depth = read_depth(scene / "depth" / f"{number}.png").double()
        if pose is not None and depth.any():
            frames[number] = (*_small(depth, camera), pose)
    if not frames:
        raise InputError(
            f"{scene}: none of {len(numbers)} frames in color/ has a rigid pose and depth; export "
            "the scene again."
        )
    depths, cameras, poses = (torch.stack(part) for part in zip(*frames.values(), strict=True))
    valid = list(frames)
    return valid, [valid[i] for i in _greedy(depths, cameras, poses, threshold)]


def _small(depth: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
    """Shrink depth [H, W] and its intrinsics [3, 3] to at most `_WIDTH` pixels across."""
    height, width = depth.shape
    across = min(width, _WIDTH)
    size = (max(1, round(height * across / width)), across)
    return resize_depth(depth, *size), scale_intrinsics(K, (height, width), size)


def _greedy(depth: Tensor, K: Tensor, pose: Tensor, threshold: float) -> list[int]:
    """Indices of key frames among frames [F, ...], in float64: rounding must not decide."""
    keys, frame = [0], 1
    while frame < len(depth):
        ahead = torch.arange(frame, min(frame + _AHEAD, len(depth)))
        pairs = torch.stack([torch.full_like(ahead, keys[-1]), ahead], 1)  # [A, 2]
        below = overlap_of(depth[pairs], K[pairs], pose[pairs])[:, 0, 1] < threshold
        if below.any():
            keys.append(max(frame + int(below.int().argmax()) - 1, keys[-1] + 1))
            frame = keys[-1] + 1
        else:
            frame += len(ahead)
    return keys

"""A camera that walks along a wavy wall: depth and poses that fit each other."""

import torch
from torch import Tensor

from mvdiffusion.geometry.cameras import intrinsics, rotation

HEIGHT, WIDTH = 12, 16


def walk(
    frames: int, step: float = 0.1, height: int = HEIGHT, width: int = WIDTH
) -> dict[str, Tensor]:
    """Depth [V, H, W], poses [V, 4, 4] and intrinsics [V, 3, 3] of frames turning to the right."""
    pose = torch.eye(4).repeat(frames, 1, 1)
    for frame in range(frames):
        pose[frame, :3, :3] = rotation(3.0 * frame)
        pose[frame, 0, 3] = step * frame
    columns = torch.arange(width) + torch.arange(frames)[:, None]
    depth = 2 + 0.5 * torch.sin(columns / 5)[:, None].repeat(1, height, 1)
    depth[:, 0, :3] = 0  # nothing measured there
    K = intrinsics(60.0, height, width).repeat(frames, 1, 1)
    return {"depth": depth, "pose": pose, "K": K}

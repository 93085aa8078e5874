"""The one place where images are sampled at fractional pixels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def sample_pixels(image: Tensor, xy: Tensor, mode: str = "bilinear") -> Tensor:
    """Sample an image at pixels; beyond the border the border pixel repeats.

    Args:
        image: [B, C, H, W], any range.
        xy: pixels [B, h, w, 2] in (x, y), pixel centers at integers.
        mode: "bilinear", "bicubic" or "nearest".

    Returns:
        Samples [B, C, h, w].
    """
    height, width = image.shape[-2:]
    size = torch.tensor([width, height], dtype=xy.dtype, device=xy.device)
    grid = (2 * xy + 1) / size - 1
    return F.grid_sample(image, grid, mode=mode, padding_mode="border", align_corners=False)


def view_rays(K: Tensor, R: Tensor, height: int, width: int, top: int = 0) -> Tensor:
    """World directions [V, height, width, 3] of the pixels of views, with unit depth.

    Args:
        K: intrinsics [V, 3, 3] in pixels.
        R: camera-to-world rotations [V, 3, 3].
        height: rows of pixels.
        width: view width in pixels.
        top: first row, if not all rows of the views are wanted.
    """
    y, x = torch.meshgrid(torch.arange(top, top + height), torch.arange(width), indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)], -1).to(K)
    return torch.einsum("vij,hwj->vhwi", R @ torch.inverse(K), pixels)


def sphere_rays(latitude: Tensor, longitude: Tensor) -> Tensor:
    """World directions [H, W, 3] of unit length of a grid on the sphere.

    Args:
        latitude: of its rows [H], in radians, upwards.
        longitude: of its columns [W], in radians, to the right of straight ahead.
    """
    horizontal = torch.cos(latitude)[:, None]
    return torch.stack(
        [
            torch.sin(longitude) * horizontal,
            -torch.sin(latitude)[:, None].expand(-1, len(longitude)),
            torch.cos(longitude) * horizontal,
        ],
        -1,
    )

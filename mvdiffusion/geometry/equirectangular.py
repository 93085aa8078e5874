"""Equirectangular panoramas ⇄ perspective views.

Column centers run from longitude −180° (left) to +180°, row centers from latitude +90° (top) to
−90°; yaw 0 is the middle.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from mvdiffusion.geometry.resampling import sample_pixels, sphere_rays, view_rays

_BAND = 4_000_000  # pixels sampled at once, for memory


def equirectangular_to_views(
    panorama: Tensor, K: Tensor, R: Tensor, height: int, width: int
) -> Tensor:
    """Cut perspective views out of a panorama.

    Args:
        panorama: [C, H, W] with W = 2 H, any range.
        K: intrinsics [V, 3, 3] of the views, in pixels.
        R: camera-to-world rotations [V, 3, 3].
        height, width: of a view in pixels.

    Returns:
        Views [V, C, height, width].

    Raises:
        ValueError: the panorama is not twice as wide as high.
    """
    rows, columns = panorama.shape[-2:]
    if columns != 2 * rows:
        raise ValueError(f"Expected a panorama with W = 2 H, got {columns} x {rows} pixels.")
    pad = 2  # a wrapped border, so that interpolation crosses the seam
    wrapped = F.pad(panorama[None], (pad, pad, 0, 0), mode="circular").expand(len(K), -1, -1, -1)
    views = panorama.new_empty(len(K), len(panorama), height, width)
    band = max(1, _BAND // (len(K) * width))
    for top in range(0, height, band):
        x, y, z = view_rays(K, R, min(band, height - top), width, top).unbind(-1)
        longitude, latitude = torch.atan2(x, z), torch.atan2(-y, torch.hypot(x, z))
        column = (longitude / (2 * math.pi) + 0.5) * columns - 0.5 + pad
        row = (0.5 - latitude / math.pi) * rows - 0.5
        xy = torch.stack([column, row], -1)
        views[:, :, top : top + band] = sample_pixels(wrapped, xy, "bicubic")
    return views


def views_to_equirectangular(
    views: Tensor, K: Tensor, R: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """Blend views into a panorama; weights fall linearly to zero at each view's border.

    Args:
        views: [V, C, h, w], any range.
        K: intrinsics [V, 3, 3] in pixels.
        R: camera-to-world rotations [V, 3, 3].
        height, width: of the panorama in pixels (W = 2 H).

    Returns:
        The panorama [C, height, width], zero where no view looks, and the coverage mask
        [height, width].
    """
    longitude = ((torch.arange(width) + 0.5) / width - 0.5) * 2 * math.pi
    latitude = (0.5 - (torch.arange(height) + 0.5) / height) * math.pi
    rays = sphere_rays(latitude, longitude).to(views)  # [H, W, 3]
    total = views.new_zeros(views.shape[1], height, width)
    weights = views.new_zeros(height, width)
    for view, projection in zip(views, K.to(views) @ R.to(views).transpose(-1, -2), strict=True):
        points = torch.einsum("ij,hwj->hwi", projection, rays)
        xy = points[..., :2] / points[..., 2:].clamp(min=1e-6)
        weight = _border_weight(xy, *view.shape[-2:]) * (points[..., 2] > 1e-6)
        total += weight * sample_pixels(view[None], xy[None], "bicubic")[0]
        weights += weight
    covered = weights > 0
    return torch.where(covered, total / weights.clamp(min=1e-12), 0), covered


def _border_weight(xy: Tensor, height: int, width: int) -> Tensor:
    """1 in the middle column, falling to 0 half a pixel beyond the left and right edges."""
    x, y = xy.unbind(-1)
    horizontal = (1 - (2 * x - (width - 1)).abs() / width).clamp(min=0)
    return horizontal * ((y > -0.5) & (y < height - 0.5))

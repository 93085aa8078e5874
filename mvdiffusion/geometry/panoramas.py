"""Equirectangular panoramas and the views cut out of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from mvdiffusion.geometry.cameras import panorama_cameras
from mvdiffusion.geometry.equirectangular import equirectangular_to_views, views_to_equirectangular


def cut_views(panorama: Tensor, size: int, fov_deg: float, num_views: int) -> Tensor:
    """Cut evenly spaced views out of an equirectangular image, without aliasing.

    Args:
        panorama: [C, H, W] in −1 … 1, W = 2 H.
        size: height and width of a view in pixels.
        fov_deg: field of view in degrees.
        num_views: number of views.

    Returns:
        Views [V, C, size, size] in −1 … 1.
    """
    focal = 0.5 * size / math.tan(math.radians(fov_deg) / 2)
    factor = math.ceil(panorama.shape[-1] / (2 * math.pi) / focal)  # samples per pixel and axis
    K, R = panorama_cameras(size * factor, size * factor, num_views, fov_deg)
    views = []
    for view in range(num_views):  # one by one, for memory
        camera = K[view : view + 1], R[view : view + 1]
        fine = equirectangular_to_views(panorama, *camera, size * factor, size * factor)
        views.append(F.avg_pool2d(fine, factor)[0])
    return torch.stack(views).clamp(-1, 1)


def stitch(views: Tensor, fov_deg: float, height: int | None = None) -> tuple[Tensor, Tensor]:
    """Blend evenly spaced views into an equirectangular panorama.

    Args:
        views: [V, C, H, W] in −1 … 1.
        fov_deg: their horizontal field of view in degrees.
        height: of the panorama, in pixels (default: what keeps the views' resolution).

    Returns:
        The panorama [C, height, 2 height] in −1 … 1 and the coverage mask [height, 2 height];
        uncovered pixels are gray.
    """
    K, R = panorama_cameras(views.shape[-2], views.shape[-1], len(views), fov_deg)
    height = height or round(math.pi * float(K[0, 0, 0]))
    panorama, covered = views_to_equirectangular(views, K, R, height, 2 * height)
    return panorama.clamp(-1, 1), covered

"""Cutting views out of equirectangular images without aliasing, and stitching views to them."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from mvdiffusion.geometry.cameras import even_yaws, intrinsics, level_rotations
from mvdiffusion.geometry.equirectangular import equirectangular_to_views, views_to_equirectangular


def cut_views(panorama: Tensor, fov_deg: float, R: Tensor, height: int, width: int) -> Tensor:
    """Cut perspective views out of an equirectangular image, without aliasing.

    Each pixel is the mean of as many bicubic samples as the panorama has pixels there, at least
    one, as counted in the middle of a level view.

    Args:
        panorama: [C, H, 2 H], any range, which bicubic samples may leave a little.
        fov_deg: horizontal field of view in degrees.
        R: camera-to-world rotations [V, 3, 3]; yaw 0 is the panorama's middle.
        height, width: of the views in pixels.

    Returns:
        Views [V, C, height, width].

    Raises:
        ValueError: the panorama is not twice as wide as high.
    """
    focal = float(intrinsics(fov_deg, height, width)[0, 0])
    # A radian is W / 2π pixels of the panorama and `focal` pixels in the middle of a view.
    factor = math.ceil(panorama.shape[-1] / (2 * math.pi) / focal)
    size = (height * factor, width * factor)
    K = intrinsics(fov_deg, *size)[None]
    views = []
    for view in range(len(R)):  # one by one, for memory
        fine = equirectangular_to_views(panorama, K, R[view : view + 1], *size)
        views.append(F.avg_pool2d(fine, factor)[0])
    return torch.stack(views)


def stitch(
    views: Tensor, fov_deg: float, height: int | None = None, R: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Blend views into an equirectangular panorama.

    Args:
        views: [V, C, H, W], any range, which bicubic samples may leave a little.
        fov_deg: their horizontal field of view in degrees.
        height: of the panorama in pixels (default: what keeps the views' resolution).
        R: camera-to-world rotations [V, 3, 3] (default: evenly spaced level views).

    Returns:
        The panorama [C, height, 2 height], 0 where no view looks, and the coverage mask
        [height, 2 height].
    """
    R = level_rotations(even_yaws(len(views))) if R is None else R
    K = intrinsics(fov_deg, views.shape[-2], views.shape[-1])
    # Half a turn, π radians, at the focal length's pixels per radian.
    height = height or round(math.pi * float(K[0, 0]))
    return views_to_equirectangular(views, K.expand(len(R), 3, 3), R, height, 2 * height)

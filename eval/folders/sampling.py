"""How the pixels of crops are sampled from a panorama: without aliasing, or as other code does it.

Published numbers of crops hold for the code that cut them: the same field of view, cut and rounded
in another way, moves FID by several percent.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mvdiffusion.geometry.resampling import sample_pixels

from .equirectangular import cut

Sampling = Callable[[np.ndarray, float, Tensor, int], np.ndarray]
"""Cuts square crops uint8 [V, size, size, 3] out of a panorama uint8 [H, 2 H, 3], given the field
of view in degrees, camera-to-world rotations [V, 3, 3] and the size in pixels."""


def area(panorama: np.ndarray, fov_deg: float, R: Tensor, size: int) -> np.ndarray:
    """Each pixel is the mean of bicubic samples of its area, as views of panoramas are cut.

    Args:
        panorama: uint8 RGB [H, 2 H, 3].
        fov_deg: field of view in degrees.
        R: camera-to-world rotations [V, 3, 3].
        size: height and width of a crop in pixels.
    """
    return cut(panorama, fov_deg, R, size, size)


def panfusion(panorama: np.ndarray, fov_deg: float, R: Tensor, size: int) -> np.ndarray:
    """One bilinear sample per pixel, as in PanFusion's evaluation (its `e2p` in `EvalPanoGen`).

    Pixels stand for points: the outer ones of a crop lie on the edges of the field of view, and the
    first and last column of a panorama both on the seam, the first and last row on the poles. The
    result is cut off to 8 bits, not rounded, as torchmetrics does with images in 0 … 1.

    Args:
        panorama: uint8 RGB [H, 2 H, 3].
        fov_deg: field of view in degrees.
        R: camera-to-world rotations [V, 3, 3].
        size: height and width of a crop in pixels.
    """
    rows, columns = panorama.shape[:2]
    longitude, latitude = _angles(fov_deg, R, size)
    column = (longitude / math.pi + 1) * (columns - 1) / 2
    row = (1 - latitude * 2 / math.pi) * (rows - 1) / 2
    samples = _sampled(_channels(panorama) / 255, column, row)
    return _pixels((samples * 255).floor())


def py360convert(panorama: np.ndarray, fov_deg: float, R: Tensor, size: int) -> np.ndarray:
    """One bilinear sample per pixel, as by `py360convert.e2c` for cube faces.

    The outer pixels of a crop lie on the edges of the field of view. Pixels of the panorama stand
    for areas; its left and right edges meet, and beyond a pole lies the opposite meridian.

    Args:
        panorama: uint8 RGB [H, 2 H, 3].
        fov_deg: field of view in degrees.
        R: camera-to-world rotations [V, 3, 3].
        size: height and width of a crop in pixels.
    """
    rows, columns = panorama.shape[:2]
    beyond = np.roll(panorama, columns // 2, 1)
    tall = np.concatenate([beyond[:1], panorama, beyond[-1:]])
    bordered = _channels(np.concatenate([tall[:, -1:], tall, tall[:, :1]], 1))
    longitude, latitude = _angles(fov_deg, R, size)
    column = (longitude / (2 * math.pi) + 0.5) * columns + 0.5  # one is for the border
    row = (0.5 - latitude / math.pi) * rows + 0.5
    return _pixels(_sampled(bordered, column, row).round())


SAMPLINGS: dict[str, Sampling] = {f.__name__: f for f in (area, panfusion, py360convert)}
"""Ways to sample crops, by name."""


def enlarged(crops: np.ndarray, size: int) -> np.ndarray:
    """Resize 8-bit crops as torchvision resizes tensors: bilinear, antialiased, rounded.

    Args:
        crops: uint8 [V, H, W, 3].
        size: height and width of the result in pixels.
    """
    pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).float()
    return _pixels(F.interpolate(pixels, (size, size), mode="bilinear", antialias=True).round())


def _angles(fov_deg: float, R: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Longitude and latitude [V, size, size] of pixels whose outer ones see the edges."""
    # The middle is zero exactly: straight back, it then lies right of the seam as in other code.
    places = (2 * torch.arange(size, dtype=torch.float64) - (size - 1)) / (size - 1)
    edge = math.tan(math.radians(fov_deg) / 2)
    down, right = torch.meshgrid(edge * places, edge * places, indexing="ij")
    rays = torch.stack([right, down, torch.ones_like(down)], -1)
    x, y, z = torch.einsum("vij,hwj->vhwi", R.double(), rays).unbind(-1)
    return torch.atan2(x, z), torch.atan2(-y, torch.hypot(x, z))


def _sampled(panorama: Tensor, column: Tensor, row: Tensor) -> Tensor:
    """Bilinear samples [V, C, h, w] of a panorama [C, H, W]."""
    xy = torch.stack([column, row], -1).to(panorama)
    return sample_pixels(panorama.expand(len(xy), -1, -1, -1), xy)


def _channels(panorama: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(panorama)).permute(2, 0, 1).float()


def _pixels(images: Tensor) -> np.ndarray:
    return images.clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()

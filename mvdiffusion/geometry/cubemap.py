"""Cube faces in Matterport3D's order and orientation → perspective views and panoramas."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from mvdiffusion.geometry.resampling import sample_pixels, sphere_rays, view_rays

# Camera-to-world axes (right, down, forward as columns) of up, left, front, right, back, down.
# The up and down faces carry an extra yaw of −90°, as Matterport3D stores them.
_AXES = (
    ((0, 0, 1), (-1, 0, 0), (0, -1, 0)),
    ((0, 0, 1), (0, 1, 0), (-1, 0, 0)),
    ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    ((0, 0, -1), (0, 1, 0), (1, 0, 0)),
    ((-1, 0, 0), (0, 1, 0), (0, 0, -1)),
    ((0, 0, 1), (1, 0, 0), (0, 1, 0)),
)


def face_rotations() -> Tensor:
    """Camera-to-world rotations [6, 3, 3] of the cube faces, in file order."""
    return torch.tensor(_AXES, dtype=torch.float32).transpose(-1, -2)


def cube_to_views(faces: Tensor, K: Tensor, R: Tensor, height: int, width: int) -> Tensor:
    """Cut perspective views out of cube faces, without seams.

    Args:
        faces: [6, C, S, S] in the order up, left, front, right, back, down; any range.
        K: intrinsics [V, 3, 3] of the views, in pixels.
        R: camera-to-world rotations [V, 3, 3].
        height, width: of a view in pixels.

    Returns:
        Views [V, C, height, width].

    Raises:
        ValueError: the faces are not six squares.
    """
    strip, size = face_strip(faces), faces.shape[-1]
    face, xy = _locate(view_rays(K, R, height, width), size)
    xy[..., 0] += face * (size + 2)
    return sample_pixels(strip[None].expand(len(xy), -1, -1, -1), xy + 1)


def face_strip(faces: Tensor) -> Tensor:
    """Lay cube faces side by side, each within one pixel of its neighbors.

    Args:
        faces: [6, C, S, S] in the order up, left, front, right, back, down; any type.

    Returns:
        A strip [C, S + 2, 6 * (S + 2)] that can be sampled without seams, as often as wanted.

    Raises:
        ValueError: the faces are not six squares.
    """
    if faces.ndim != 4 or faces.shape[0] != 6 or faces.shape[2] != faces.shape[3]:
        raise ValueError(f"Expected `faces` of shape (6, C, S, S), got {tuple(faces.shape)}.")
    _, channels, size, _ = faces.shape
    strip = faces.new_empty(channels, size + 2, 6, size + 2)
    strip[:, 1:-1, :, 1:-1] = faces.permute(1, 2, 0, 3)
    (side, y, x), (face, row, column) = border_pixels(size)
    strip[:, y + 1, side, x + 1] = faces[face, :, row, column].T
    return strip.flatten(2)


def cube_to_equirectangular(faces: Tensor, height: int) -> Tensor:
    """Stitch cube faces to an equirectangular panorama, without seams.

    Where the faces are finer than the panorama, a pixel is the mean of several samples, weighted by
    the area of the sphere that each stands for.

    Args:
        faces: floating point [6, C, S, S] in the order up, left, front, right, back, down.
        height: of the panorama in pixels.

    Returns:
        The panorama [C, height, 2 * height], with the front face in the middle.

    Raises:
        ValueError: the faces are not six squares.
    """
    strip = face_strip(faces)
    size = faces.shape[-1]
    factor = max(1, math.ceil(size / 2 * math.pi / height))  # samples per pixel and axis
    rows, columns = height * factor, 2 * height * factor
    latitude = (0.5 - (torch.arange(rows).to(strip) + 0.5) / rows) * math.pi
    longitude = ((torch.arange(columns).to(strip) + 0.5) / columns - 0.5) * 2 * math.pi
    bands = []
    for band in latitude.split(factor * max(1, 2**20 // (factor * columns))):  # for memory
        face, xy = _locate(sphere_rays(band, longitude), size)
        xy[..., 0] += face * (size + 2)
        weight = torch.cos(band)[:, None]
        weighted = sample_pixels(strip[None], xy[None] + 1) * weight
        area = F.avg_pool2d(weight[None], (factor, 1))
        bands.append(F.avg_pool2d(weighted, factor)[0] / area)
    return torch.cat(bands, 1)


def _locate(rays: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Find the face [...] that each ray [..., 3] hits and the pixel [..., 2] in it."""
    axes = face_rotations().to(rays)
    depths = rays @ axes[:, :, 2].T  # [..., 6]
    face = depths.argmax(-1)
    local = torch.einsum("...i,...ij->...j", rays, axes[face])
    return face, (local[..., :2] / local[..., 2:] + 1) * (size / 2) - 0.5


@lru_cache(maxsize=4)
def border_pixels(size: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Find what stands around cube faces of a size.

    Returns:
        The pixels that border the faces, and those of other faces that they repeat; both as
        (face, row, column) of [N] each. Rows and columns of a border are −1 or `size` on one side.
    """
    step = torch.arange(-1, size + 1)
    y, face, x = torch.meshgrid(step, torch.arange(6), step, indexing="ij")
    outside = (x < 0) | (x == size) | (y < 0) | (y == size)
    x, y, face = x[outside], y[outside], face[outside]
    local = torch.stack([(2 * x + 1) / size - 1, (2 * y + 1) / size - 1, torch.ones(len(x))], -1)
    rays = torch.einsum("nij,nj->ni", face_rotations()[face], local)
    source, xy = _locate(rays, size)
    column, row = xy.round().long().clamp(0, size - 1).unbind(-1)
    return (face, y, x), (source, row, column)

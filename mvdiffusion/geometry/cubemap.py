"""Cube faces in Matterport3D's order and orientation → perspective views."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from mvdiffusion.geometry.resampling import sample_pixels, view_rays

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


def cube_to_views(
    faces: Tensor, K: Tensor, R: Tensor, height: int, width: int, mode: str = "bilinear"
) -> Tensor:
    """Cut perspective views out of cube faces, without seams.

    Args:
        faces: [6, C, S, S] in the order up, left, front, right, back, down; any range.
        K: intrinsics [V, 3, 3] of the views, in pixels.
        R: camera-to-world rotations [V, 3, 3].
        height: view height in pixels.
        width: view width in pixels.
        mode: interpolation, "bilinear" or "bicubic".

    Returns:
        Views [V, C, height, width].

    Raises:
        ValueError: the faces are not six squares.
    """
    return strip_to_views(face_strip(faces), K, R, height, width, mode)


def face_strip(faces: Tensor) -> Tensor:
    """Lay cube faces side by side, each within one pixel of its neighbours.

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
    border, (face, row, column) = _borders(size)
    strip.view(channels, -1)[:, border] = faces[face, :, row, column].T
    return strip.flatten(2)


def strip_to_views(
    strip: Tensor, K: Tensor, R: Tensor, height: int, width: int, mode: str = "bilinear"
) -> Tensor:
    """Cut perspective views [V, C, height, width] out of a floating-point `face_strip`.

    The other arguments are those of `cube_to_views`.
    """
    size = strip.shape[-2] - 2
    face, xy = _locate(view_rays(K, R, height, width), size)
    xy[..., 0] += face * (size + 2)
    return sample_pixels(strip[None].expand(len(xy), -1, -1, -1), xy + 1, mode)


def _locate(rays: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Find the face [...] that each ray [..., 3] hits and the pixel [..., 2] in it."""
    axes = face_rotations().to(rays)
    depths = rays @ axes[:, :, 2].T  # [..., 6]
    face = depths.argmax(-1)
    local = torch.einsum("...i,...ij->...j", rays, axes[face])
    return face, (local[..., :2] / local[..., 2:] + 1) * (size / 2) - 0.5


@lru_cache(maxsize=4)
def _borders(size: int) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Flat places of the border pixels in a strip, and the (face, row, column) they repeat."""
    step = torch.arange(-1, size + 1)
    y, face, x = torch.meshgrid(step, torch.arange(6), step, indexing="ij")
    outside = (x < 0) | (x == size) | (y < 0) | (y == size)
    x, y, face = x[outside], y[outside], face[outside]
    local = torch.stack([(2 * x + 1) / size - 1, (2 * y + 1) / size - 1, torch.ones(len(x))], -1)
    rays = torch.einsum("nij,nj->ni", face_rotations()[face], local)
    source, xy = _locate(rays, size)
    column, row = xy.round().long().clamp(0, size - 1).unbind(-1)
    return outside.flatten().nonzero()[:, 0], (source, row, column)

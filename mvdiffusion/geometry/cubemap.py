"""Cube faces in Matterport3D's order and orientation → perspective views."""

from __future__ import annotations

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
    if faces.ndim != 4 or faces.shape[0] != 6 or faces.shape[2] != faces.shape[3]:
        raise ValueError(f"Expected `faces` of shape (6, C, S, S), got {tuple(faces.shape)}.")
    bordered = _with_borders(faces)
    rays = view_rays(K, R, height, width)  # [V, h, w, 3]
    face, xy = _locate(rays, faces.shape[-1])
    # The six faces side by side are one image, so that each pixel is sampled once.
    strip = bordered.permute(1, 2, 0, 3).flatten(2)
    x = xy[..., 0] + 1 + face * bordered.shape[-1]
    grid = torch.stack([x, xy[..., 1] + 1], -1)
    return sample_pixels(strip[None].expand(len(rays), -1, -1, -1), grid, mode)


def _locate(rays: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Find the face [...] that each ray [..., 3] hits and the pixel [..., 2] in it."""
    axes = face_rotations().to(rays)
    depths = rays @ axes[:, :, 2].T  # [..., 6]
    face = depths.argmax(-1)
    local = torch.einsum("...i,...ij->...j", rays, axes[face])
    return face, (local[..., :2] / local[..., 2:] + 1) * (size / 2) - 0.5


def _with_borders(faces: Tensor) -> Tensor:
    """Surround each face [6, C, S, S] by one pixel of its neighbours, for seamless sampling."""
    size = faces.shape[-1]
    step = torch.arange(-1, size + 1) + 0.5
    y, x = torch.meshgrid(step, step, indexing="ij")
    local = torch.stack([x * 2 / size - 1, y * 2 / size - 1, torch.ones_like(x)], -1).to(faces)
    rays = torch.einsum("fij,hwj->fhwi", face_rotations().to(faces), local)
    face, xy = _locate(rays, size)
    column, row = xy.round().long().clamp(0, size - 1).unbind(-1)
    return faces[face, :, row, column].permute(0, 3, 1, 2)

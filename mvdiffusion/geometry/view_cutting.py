"""Cube faces → perspective views, of bytes and fast.

`cubemap.cube_to_views` is the exact geometry. Here OpenCV warps, for each view, only the faces that
the view sees, each only into the box where it is seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mvdiffusion.geometry.cubemap import border_pixels, face_rotations

_Point = tuple[float, float]
_FLAGS = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
_UP, *_SIDES, _DOWN = range(6)
_UNIT_RANGE = np.arange(256, dtype=np.float32) / np.float32(127.5) - 1
_TIE = 1e-6  # pixels as close as this to an edge of the cube are painted from either face


def pad_faces(faces: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Prepare cube faces for `fast_cube_to_views`.

    Args:
        faces: six RGB faces [S, S, 3] in the order up, left, front, right, back, down.

    Returns:
        RGBA faces [6, S + 2, S + 2, 4], each within one pixel of its neighbors; A is 255, and 0 in
        that border. OpenCV also warps four channels twice as fast as three.

    Raises:
        ValueError: the faces are not six squares of one size.
    """
    size = len(faces[0])
    if [face.shape for face in faces] != [(size, size, 3)] * 6:
        raise ValueError(f"Expected six faces (S, S, 3), got {[face.shape for face in faces]}.")
    padded = np.empty((6, size + 2, size + 2, 4), np.uint8)
    for face, place in zip(faces, padded, strict=True):
        cv2.cvtColor(face, cv2.COLOR_RGB2RGBA, dst=place[1:-1, 1:-1])
    (face, row, column), source = (
        [index.numpy() for index in places] for places in border_pixels(size)
    )
    padded[face, row + 1, column + 1] = padded[source[0], source[1] + 1, source[2] + 1]
    padded[:, [0, -1], :, 3] = padded[:, :, [0, -1], 3] = 0
    return padded


def samples_per_pixel(face_size: int, fov_deg: float, size: int) -> int:
    """Number of samples per pixel and axis of views that use all of the faces' resolution.

    Args:
        face_size: edge of a cube face in pixels.
        fov_deg: field of view of the views in degrees.
        size: their height and width in pixels.
    """
    return max(1, round(face_size * math.tan(math.radians(fov_deg / 2)) / size))


def fast_cube_to_views(
    faces: NDArray[np.uint8], K: Tensor, R: Tensor, size: int, supersampling: int
) -> Tensor:
    """Cut square perspective views of level cameras out of cube faces, without seams.

    Args:
        faces: what `pad_faces` returned.
        K: intrinsics [V, 3, 3] of the views in pixels, without skew.
        R: camera-to-world rotations [V, 3, 3] about the vertical.
        size: height and width of the views in pixels.
        supersampling: bilinear samples per pixel and axis, of which a pixel is the mean.

    Returns:
        Views [V, 3, size, size] in −1 … 1, in steps of a byte.

    Raises:
        ValueError: a camera is not level.
    """
    if not torch.allclose(R[:, 1], R.new_tensor([0.0, 1.0, 0.0]), atol=1e-6):
        raise ValueError(f"Expected level cameras, got rotations R with rows {R[:, 1].tolist()}.")
    views = np.empty((len(K), 3, size, size), np.float32)
    fine = np.empty((size * supersampling, size * supersampling, 4), np.uint8)
    scale = 1 / supersampling
    shift = (scale - 1) / 2  # pixel centers are at integers
    to_pixel = np.asarray([[scale, 0, shift], [0, scale, shift], [0, 0, 1]])
    rays = R.double().numpy() @ np.linalg.inv(K.double().numpy()) @ to_pixel
    for view, view_rays in zip(views, rays, strict=True):
        _paint(fine, faces, view_rays)
        pixels = cv2.resize(fine, (size, size), interpolation=cv2.INTER_AREA)
        for channel, values in enumerate(view):
            cv2.LUT(cv2.extractChannel(pixels, channel), _UNIT_RANGE, dst=values)
    return torch.from_numpy(views)


def _paint(view: NDArray[np.uint8], faces: NDArray[np.uint8], rays: NDArray) -> None:
    """Fill a view [H, W, 4]; `rays` [3, 3] takes its pixels (u, v, 1) to world directions.

    A level camera sees the sides between columns. What is up or down is painted over them.
    """
    half = faces.shape[1] / 2 - 1  # of a face without its border
    to_face = np.asarray([[half, 0, half + 0.5], [0, half, half + 0.5], [0, 0, 1]])
    axes = face_rotations().double().numpy()
    for index in (*_SIDES, _UP, _DOWN):
        local = axes[index].T @ rays
        box = _box_of_face(local.tobytes(), *view.shape[:2])
        if box is None:
            continue
        left, top, right, bottom = box
        if index in _SIDES:  # all rows: A is low in corners of the faces up and down, too
            top, bottom = 0, len(view)
        place, extent = view[top:bottom, left:right], (right - left, bottom - top)
        matrix = to_face @ local @ np.asarray([[1, 0, left], [0, 1, top], [0, 0, 1]])
        if index in _SIDES:
            cv2.warpPerspective(
                faces[index], matrix, extent, place, _FLAGS, borderMode=cv2.BORDER_TRANSPARENT
            )
        else:
            warped = cv2.warpPerspective(faces[index], matrix, extent, flags=_FLAGS)
            inside = cv2.extractChannel(warped, 3) > 127  # as A falls to 0 across the face's edge
            cv2.copyTo(warped, inside.view(np.uint8), place)


@lru_cache(maxsize=2**15)  # six faces of eight views at each of 360 yaws, and more
def _box_of_face(local: bytes, height: int, width: int) -> tuple[int, int, int, int] | None:
    """Bound the pixels (left, top, right, bottom; the last two excluded) that show a face.

    `local`, of a float64 matrix [3, 3], takes pixels (u, v, 1) to directions in the face's axes,
    where the face is the part with |x| ≤ z and |y| ≤ z: a polygon in the view.
    """
    x, y, z = np.frombuffer(local).reshape(3, 3)
    corners = [(0.0, 0.0), (width - 1.0, 0.0), (width - 1.0, height - 1.0), (0.0, height - 1.0)]
    for line in (z - x, z + x, z - y, z + y):
        corners = _clip(corners, line.tolist())
    if not corners:
        return None
    columns, rows = np.asarray(corners).T
    left, right = math.ceil(columns.min() - _TIE), math.floor(columns.max() + _TIE)
    top, bottom = math.ceil(rows.min() - _TIE), math.floor(rows.max() + _TIE)
    if left > right or top > bottom:  # between pixels
        return None
    return left, top, right + 1, bottom + 1


def _clip(corners: list[_Point], line: Sequence[float]) -> list[_Point]:
    """Keep the part of a convex polygon where line · (u, v, 1) ≥ 0 (Sutherland and Hodgman)."""
    signed = [line[0] * u + line[1] * v + line[2] for u, v in corners]
    kept = []
    for i, ((u, v), side) in enumerate(zip(corners, signed, strict=True)):
        (last_u, last_v), last_side = corners[i - 1], signed[i - 1]
        if (side >= 0) != (last_side >= 0):
            part = side / (side - last_side)
            kept.append((u + part * (last_u - u), v + part * (last_v - v)))
        if side >= 0:
            kept.append((u, v))
    return kept

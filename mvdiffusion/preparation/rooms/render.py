"""Pictures of a room: six cube faces all around, or a camera's frame with depth.

Array arithmetic is float32 and IEEE-exact (see `paint`), so that bytes do not depend on a machine.
A room's frame has x, up, z from one corner of the floor; the world of camera poses is (x, −up, z),
so that y points down there, as in a camera (x right, y down, z forward).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from mvdiffusion.geometry.cubemap import face_rotations, face_strip
from mvdiffusion.preparation.rooms.design import Room
from mvdiffusion.preparation.rooms.paint import Array
from mvdiffusion.preparation.rooms.raycast import Canvas, Rays, from_tiles, to_tiles


def render_faces(room: Room, size: int) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Look from the room's eye in all directions.

    Args:
        size: edge of a face in pixels, a multiple of 16.

    Returns:
        RGB faces [6, size, size, 3] in Matterport3D's order, and what each pixel shows
        [6, size, size]: surfaces 0 … 5, or FIRST_OBJECT + index into `room.names`.
    """
    canvas = Canvas(room, _all_around(room, size))
    faces = _soften(_border_faces(from_tiles(canvas.colors, size, size)))
    return _to_bytes(faces), from_tiles(canvas.shown, size, size)


def render_frame(
    room: Room, K: NDArray, pose: NDArray, height: int, width: int
) -> tuple[NDArray[np.uint8], Array, NDArray[np.int32]]:
    """Look through a camera.

    Args:
        K: intrinsics [3, 3] in pixels, without skew; pixel centers at integers.
        pose: camera-to-world [4, 4] in meters (the world is described above).
        height: of the frame in pixels, a multiple of 16.
        width: of the frame in pixels, a multiple of 16.

    Returns:
        RGB [height, width, 3], depth in meters along the optical axis [height, width], and what
        each pixel shows [height, width] (see `render_faces`).
    """
    focal, center = (float(K[0, 0]), float(K[1, 1])), (float(K[0, 2]), float(K[1, 2]))
    base, axes, radii = _frame_tiles(focal, center, height, width)
    turn = (pose[:3, :3] * [[1], [-1], [1]]).astype(np.float32)
    # Written out, because products of matrices may round differently on another machine.
    directions = np.stack([row[0] * base[0] + row[1] * base[1] + row[2] * base[2] for row in turn])
    eye = (pose[:3, 3] * [1, -1, 1]).astype(np.float32)
    canvas = Canvas(room, Rays(eye, directions, axes @ turn.T, radii))
    frame = from_tiles(canvas.colors, height, width)
    frame = np.pad(frame, ((0, 0), (1, 1), (1, 1), (0, 0)), "edge")
    depth, shown = (from_tiles(values, height, width) for values in (canvas.depth, canvas.shown))
    return _to_bytes(_soften(frame))[0], depth[0], shown[0]


@lru_cache(maxsize=2)
def _frame_tiles(
    focal: tuple[float, float], center: tuple[float, float], height: int, width: int
) -> tuple[Array, Array, Array]:
    """Camera directions [3, N] of unit depth tile by tile, axes [T, 3] and radii [T] of tiles."""
    x = ((np.arange(width) - center[0]) / focal[0]).astype(np.float32)
    y = ((np.arange(height) - center[1]) / focal[1]).astype(np.float32)
    directions = np.stack([*np.meshgrid(x, y), np.ones((height, width), np.float32)], -1)
    return to_tiles(directions[None])


def _to_bytes(colors: Array) -> NDArray[np.uint8]:
    return np.floor(colors * 255 + np.float32(0.5)).astype(np.uint8)


def _border_faces(faces: Array) -> Array:
    """Border faces [6, S, S, 3] with the pixels of their neighbors: [6, S + 2, S + 2, 3]."""
    size = faces.shape[1]
    strip = face_strip(torch.from_numpy(faces).permute(0, 3, 1, 2)).numpy()
    return strip.reshape(3, size + 2, 6, size + 2).transpose(2, 1, 3, 0)


def _soften(images: Array) -> Array:
    """Filter bordered images by (1, 2, 1) / 4 both ways, against jagged edges; cut the border."""
    quarter, half = np.float32(0.25), np.float32(0.5)
    rows = (images[:, :-2] + images[:, 2:]) * quarter + images[:, 1:-1] * half
    return (rows[:, :, :-2] + rows[:, :, 2:]) * quarter + rows[:, :, 1:-1] * half


@lru_cache(maxsize=2)
def face_directions(size: int) -> Array:
    """Directions [6, size, size, 3] (right, up, forward; unnormalized) of the faces' pixels."""
    axis = ((np.arange(size) + 0.5) * 2 / size - 1).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    local = np.stack([x, y, np.ones_like(x)], -1)
    # Rotations hold only 0 and ±1, so that this product is exact.
    world = np.stack([local @ rotation.numpy().T for rotation in face_rotations()])
    return world * np.asarray([1, -1, 1], np.float32)


def face_pixel(directions: NDArray, size: int) -> NDArray[np.int64]:
    """Find the pixels that directions hit, as flat indices into faces [6, size, size].

    Args:
        directions: [3, ...] in camera axes (right, down, forward) of the front face.
    """
    rotations = face_rotations().numpy().astype(np.float64)
    local = np.einsum("fij,i...->fj...", rotations, directions)
    face = local[:, 2].argmax(0)
    x, y, z = np.take_along_axis(local, face[None, None], 0)[0]
    column, row = (np.clip(np.floor((side / z + 1) * size / 2), 0, size - 1) for side in (x, y))
    return (face * size + row.astype(np.int64)) * size + column.astype(np.int64)


@lru_cache(maxsize=2)
def _face_tiles(size: int) -> tuple[Array, Array, Array]:
    return to_tiles(face_directions(size))


def _all_around(room: Room, size: int) -> Rays:
    base, axes, radii = _face_tiles(size)
    cosine, sine = (np.float32(value) for value in room.heading)
    directions = [cosine * base[0] + sine * base[2], base[1], cosine * base[2] - sine * base[0]]
    turn = np.asarray([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]], np.float32)
    return Rays(np.asarray(room.eye, np.float32), np.stack(directions), axes @ turn.T, radii)

"""Pictures of a room by ray casting: six cube faces all around, or a camera's frame with depth.

Array arithmetic is float32 and IEEE-exact (see `paint`), so that bytes do not depend on a machine.
A room's frame has x, up, z from one corner of the floor; the world of camera poses is (x, −up, z),
so that y points down there, as in a camera (x right, y down, z forward).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mvdiffusion.geometry.cubemap import face_rotations, face_strip
from mvdiffusion.preparation.rooms.design import CEILING, FIRST_OBJECT, FLOOR, Box, Room, Solid
from mvdiffusion.preparation.rooms.paint import Array

_Hits = tuple[Array, Callable[[NDArray], Array]]  # depths [N]; normals [3, M] of some of them

TILE = 16  # pixels; rays are kept tile by tile, so that solids touch few of them


@dataclass(frozen=True)
class Rays:
    """Rays from a point of a room, in its frame (x, up, z), TILE² of each tile in a row.

    Attributes:
        eye: where they start [3].
        directions: [3, N], of any length.
        tile_axes: unit vectors [T, 3] amid the directions of a tile.
        tile_radii: largest distance [T] of a tile's unit directions from its axis.
    """

    eye: Array
    directions: Array
    tile_axes: Array
    tile_radii: Array


def to_tiles(directions: Array) -> tuple[Array, Array, Array]:
    """Directions [F, H, W, 3] as [3, N] tile by tile; axes [T, 3] and radii [T] (see `Rays`)."""
    count, height, width, channels = directions.shape
    shape = (count, height // TILE, TILE, width // TILE, TILE, channels)
    tiles = directions.reshape(shape).swapaxes(2, 3).reshape(-1, TILE * TILE, channels)
    unit = tiles / np.sqrt((tiles**2).sum(-1, keepdims=True))
    axes = unit.mean(1)
    axes /= np.sqrt((axes**2).sum(-1, keepdims=True))
    radii = np.sqrt(((unit - axes[:, None]) ** 2).sum(-1)).max(1)
    return np.ascontiguousarray(tiles.reshape(-1, 3).T), axes, radii


def from_tiles(values: NDArray, height: int, width: int) -> NDArray:
    """Put values [N, ...] of rays back into images [F, height, width, ...]."""
    shape = (-1, height // TILE, width // TILE, TILE, TILE, *values.shape[1:])
    tiles = values.reshape(shape).swapaxes(2, 3)
    return np.ascontiguousarray(tiles.reshape(-1, height, width, *values.shape[1:]))


def _fade(distance: Array, reach: float, strength: float) -> Array:
    """Darkening factor: 1 - strength at distance 0, rising smoothly to 1 at `reach` meters."""
    near = np.clip(1 - distance / np.float32(reach), 0, 1)
    return 1 - np.float32(strength) * near * near


def _off_rectangle(s: Array, v: Array, box: Box) -> Array:
    """Distance in meters to a rectangle (s0, s1, v0, v1), 0 inside."""
    ds = np.maximum(np.maximum(box[0] - s, s - box[1]), 0)
    dv = np.maximum(np.maximum(box[2] - v, v - box[3]), 0)
    return np.sqrt(ds * ds + dv * dv)


class Canvas:
    """Colors [N, 3], depths [N] (in lengths of the directions) and owners [N] of a room's rays.

    What a ray meets first is found first, so that nothing is painted that something else hides.
    """

    def __init__(self, room: Room, rays: Rays) -> None:
        """Find what the rays meet: `depth`, and `shown` but for the panels on surfaces."""
        self.room, self.rays = room, rays
        self.eye, self.directions = rays.eye, rays.directions
        with np.errstate(divide="ignore"):
            self.inverse = 1 / self.directions
        self.depth, self.shown = self._meet_surfaces()
        self._solid = np.full(self.depth.size, -1, np.int32)  # index of what is met
        self._normals = np.empty((3, self.depth.size), np.float32)
        parts = [solid.part for solid in room.solids]
        low, high = (
            np.asarray([getattr(part, side) for part in parts], np.float32).reshape(-1, 3)
            for side in ("low", "high")
        )
        for index, tiles in enumerate(self._candidates(low, high)):
            self._meet_solid(index, tiles, low[index], high[index])

    def paint(self) -> Array:
        """Paint what the rays meet, [N, 3] in 0 … 1; `shown` then knows the panels, too."""
        self.colors = np.empty((self.depth.size, 3), np.float32)
        for surface in range(6):
            self._draw_surface(surface, np.nonzero(self.shown == surface)[0])
        self._draw_solids()
        return np.clip(self.colors, 0, 1, out=self.colors)

    def _meet_surfaces(self) -> tuple[Array, NDArray[np.int32]]:
        """Where rays leave the box of the room: depths and surfaces."""
        limits = np.asarray(self.room.size, np.float32)[:, None]
        exits = np.where(self.directions > 0, limits - self.eye[:, None], -self.eye[:, None])
        with np.errstate(invalid="ignore"):
            reach = np.where(self.directions == 0, np.float32(np.inf), exits * self.inverse)
        axis = reach.argmin(0)
        upward = np.take_along_axis(self.directions, axis[None], 0)[0] > 0
        lookup = np.asarray([[3, FLOOR, 2], [1, CEILING, 0]], np.int32)
        return _of_three(np.minimum, reach), lookup[upward.astype(np.int64), axis]

    def _draw_surface(self, surface: int, rays: NDArray) -> None:
        room, (x, y, z) = self.room, self._points(rays)
        width, height, depth = room.size
        if surface >= FLOOR:
            s, v, extent = x, z, (width, depth)
        else:
            s = (x, depth - z, width - x, z)[surface]
            v, extent = y, (room.wall_length(surface), height)
        normal = ((0, 0, -1), (-1, 0, 0), (0, 0, 1), (1, 0, 0), (0, 1, 0), (0, -1, 0))[surface]
        light = self._light((x, y, z), [np.float32(value) for value in normal])
        for edge in (s, extent[0] - s, v, extent[1] - v):
            light = light * _fade(edge, 0.6, 0.16)
        light = light * self._contact_shadow(surface, s, v)
        self.colors[rays] = room.surfaces[surface](s, v) * light[:, None]
        for panel, owner in room.panels:
            if panel.surface == surface:
                s0, s1, v0, v1 = panel.box
                on = np.nonzero((s >= s0) & (s < s1) & (v >= v0) & (v < v1))[0]
                colors = panel.paint(s[on] - np.float32(s0), v[on] - np.float32(v0))
                self.colors[rays[on]] = colors if panel.glows else colors * light[on, None]
                self.shown[rays[on]] = FIRST_OBJECT + owner

    def _contact_shadow(self, surface: int, s: Array, v: Array) -> Array:
        shadow = np.ones_like(s)
        if surface == FLOOR:
            for box in self.room.standing:
                shadow *= _fade(_off_rectangle(s, v, box), 0.3, 0.3)
        else:
            for wall, box in self.room.leaning:
                if wall == surface:
                    shadow *= _fade(_off_rectangle(s, v, box), 0.25, 0.2)
        return shadow

    def _points(self, rays: NDArray) -> Array:
        return self.eye[:, None] + self.directions[:, rays] * self.depth[rays]

    def _light(
        self, point: Array | tuple[Array, ...], normal: list[Array] | list[np.float32]
    ) -> Array:
        """Ambient light, the ceiling lamp and the windows on points with normals."""
        width, height, depth = self.room.size
        lights = [((width / 2, height - 0.4, depth / 2), 0.34, 0.10)]
        lights += [(place, 0.26 / len(self.room.windows), 0.06) for place in self.room.windows]
        total = np.full(len(point[0]), 0.66, np.float32)
        for place, power, falloff in lights:
            toward = [np.float32(place[i]) - point[i] for i in range(3)]
            square = _dot(toward, toward)
            cosine = np.clip(_dot(toward, normal) / np.sqrt(square + np.float32(0.01)), 0, 1)
            total += np.float32(power) * (0.3 + 0.7 * cosine) / (1 + np.float32(falloff) * square)
        return total

    def _draw_solids(self) -> None:
        """Draw the parts of pieces of furniture where they are met."""
        rays = np.nonzero(self._solid >= 0)[0]
        point, normal, solid = self._points(rays), self._normals[:, rays], self._solid[rays]
        light = self._light(point, list(normal)) * _fade(point[1], 0.35, 0.25)
        for index in np.unique(solid):
            met, own = np.nonzero(solid == index)[0], self.room.solids[index]
            low = np.asarray(own.part.low, np.float32)[:, None]
            colors = _paint_solid(own, point[:, met] - low, normal[:, met])
            self.colors[rays[met]] = colors if own.part.glows else colors * light[met, None]

    def _meet_solid(self, index: int, tiles: NDArray, low: Array, high: Array) -> None:
        """Find where a part of a piece of furniture is nearer than all before it."""
        solid = self.room.solids[index]
        trace = {"box": self._hit_box, "ball": self._hit_ball, "post": self._hit_post}
        depth, normals = trace[solid.part.shape](tiles, low, high)
        hit = np.nonzero(depth < _of_tiles(self.depth, tiles))[0]
        if hit.size:
            rays = _rays_of(tiles, hit)
            self.depth[rays], self._normals[:, rays] = depth[hit], normals(hit)
            self.shown[rays], self._solid[rays] = FIRST_OBJECT + solid.owner, index

    def _candidates(self, low: Array, high: Array) -> list[NDArray]:
        """Tiles that may see each of S boxes [S, 3]: whose cone meets its bounding ball."""
        center = (low + high) / 2 - self.eye
        distance = np.sqrt((center**2).sum(-1, keepdims=True))  # [S, 1]
        radius = np.sqrt(((high - low) ** 2).sum(-1, keepdims=True)) / 2
        toward, axes = (center / distance).T[:, :, None], self.rays.tile_axes.T[:, None]
        chord = np.sqrt(_dot(axes - toward, axes - toward))  # [S, T]
        spread = 2 * radius / distance  # at least the chord of asin(radius / distance)
        near = (chord <= self.rays.tile_radii + spread + 1e-3) | (radius >= distance)
        return [np.nonzero(row)[0] for row in near]

    def _hit_box(self, tiles: NDArray, low: Array, high: Array) -> _Hits:
        inverse = _of_tiles(self.inverse, tiles)
        with np.errstate(invalid="ignore"):
            first = (low - self.eye)[:, None] * inverse
            second = (high - self.eye)[:, None] * inverse
        entry = np.minimum(first, second)
        exits = np.maximum(first, second)
        depth, leave = _of_three(np.maximum, entry), _of_three(np.minimum, exits)

        def normals(hit: NDArray) -> Array:
            side = np.arange(3)[:, None] == entry[:, hit].argmax(0)
            return np.where(side, -np.sign(self.directions[:, _rays_of(tiles, hit)]), 0).astype(
                np.float32
            )

        return np.where((depth <= leave) & (depth > 0), depth, np.float32(np.inf)), normals

    def _hit_ball(self, tiles: NDArray, low: Array, high: Array) -> _Hits:
        center, radii = (low + high) / 2, (high - low) / 2
        direction = _of_tiles(self.directions, tiles) / radii[:, None]
        origin = (self.eye - center) / radii
        along, away = _dot(direction, origin), _dot(origin, origin) - 1
        depth = _nearest_root(_dot(direction, direction), along, away)

        def normals(hit: NDArray) -> Array:
            surface = origin[:, None] + direction[:, hit] * depth[hit]
            return _unit(surface / radii[:, None])

        return depth, normals

    def _hit_post(self, tiles: NDArray, low: Array, high: Array) -> _Hits:
        center, radius = (low + high) / 2, (high[0] - low[0]) / 2
        dx, dy, dz = _of_tiles(self.directions, tiles) / radius
        ox, oy, oz = (self.eye - center) / radius
        half = (high[1] - low[1]) / 2 / radius
        depth = _nearest_root(dx * dx + dz * dz, dx * ox + dz * oz, ox * ox + oz * oz - 1)
        with np.errstate(invalid="ignore"):
            outside = ~(np.abs(oy + dy * depth) <= half)
            depth = np.where(outside, np.float32(np.inf), depth)
            cap = (np.sign(oy) * half - oy) / dy
            across_x, across_z = ox + dx * cap, oz + dz * cap
            on_cap = (across_x * across_x + across_z * across_z <= 1) & (cap > 0) & (abs(oy) > half)
        nearer = on_cap & (cap < depth)

        def normals(hit: NDArray) -> Array:
            lid, side = np.asarray([0, np.sign(oy), 0], np.float32)[:, None], depth[hit]
            with np.errstate(invalid="ignore"):  # the side is infinitely far where only the lid is
                around = np.stack([ox + dx[hit] * side, 0 * side, oz + dz[hit] * side])
            return np.where(nearer[hit], lid, _unit(around))

        return np.where(nearer, cap, depth), normals


def _of_tiles(values: NDArray, tiles: NDArray) -> NDArray:
    """Values [..., M] of the rays of some tiles, out of those of all [..., N]."""
    shape = values.shape[:-1]
    return values.reshape(*shape, -1, TILE * TILE)[..., tiles, :].reshape(*shape, -1)


def _rays_of(tiles: NDArray, places: NDArray) -> NDArray:
    """Numbers of rays by their places in what `_of_tiles` returns."""
    return tiles[places // TILE**2] * TILE**2 + places % TILE**2


def _nearest_root(a: Array, b: Array, c: np.float32) -> Array:
    """Smallest positive t with a t² + 2 b t + c = 0; infinite if there is none."""
    square = b * b - a * c
    with np.errstate(invalid="ignore", divide="ignore"):
        root = (-b - np.sqrt(np.maximum(square, 0))) / a
    return np.where((square > 0) & (root > 0), root, np.float32(np.inf))


def _unit(normal: Array) -> Array:
    with np.errstate(invalid="ignore"):
        return normal / np.sqrt(_dot(normal, normal))


def _of_three(choose: np.ufunc, values: Array) -> Array:
    """Reduce [3, N] to [N]; `values.max(0)` would be many times slower."""
    return choose(choose(values[0], values[1]), values[2])


def _dot(first: Sequence[Any] | Array, second: Sequence[Any] | Array) -> Any:
    """Product of vectors [3, ...], added in this order on every machine."""
    return first[0] * second[0] + first[1] * second[1] + first[2] * second[2]


def _paint_solid(solid: Solid, local: Array, normal: Array) -> Array:
    """Colors of hit points `local` [3, N], measured from the solid's low corner."""
    part, front = solid.part, solid.front_axis
    along = local[2 - front] if part.shape == "box" else local[0]
    colors = part.paint(along, local[1])
    if part.rest is None:
        return colors
    return np.where((normal[front] != 0)[:, None], colors, part.rest(along, local[1]))


def render_faces(room: Room, size: int) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Look from the room's eye in all directions.

    Args:
        size: edge of a face in pixels, a multiple of 16.

    Returns:
        RGB faces [6, size, size, 3] in Matterport3D's order, and what each pixel shows
        [6, size, size]: surfaces 0 … 5, or FIRST_OBJECT + index into `room.names`.
    """
    canvas = Canvas(room, _all_around(room, size))
    faces = _soften(_border_faces(from_tiles(canvas.paint(), size, size)))
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
    canvas = Canvas(room, _through_camera(K, pose, height, width))
    frame = from_tiles(canvas.paint(), height, width)
    frame = np.pad(frame, ((0, 0), (1, 1), (1, 1), (0, 0)), "edge")
    depth, shown = (from_tiles(values, height, width) for values in (canvas.depth, canvas.shown))
    return _to_bytes(_soften(frame))[0], depth[0], shown[0]


def render_depth(room: Room, K: NDArray, pose: NDArray, height: int, width: int) -> Array:
    """Measure depth alone, which is several times as fast as `render_frame`.

    Args:
        K, pose: see `render_frame`.
        height, width: see `render_frame`.

    Returns:
        Depth in meters along the optical axis [height, width].
    """
    canvas = Canvas(room, _through_camera(K, pose, height, width))
    depth: Array = from_tiles(canvas.depth, height, width)[0]
    return depth


def _through_camera(K: NDArray, pose: NDArray, height: int, width: int) -> Rays:
    focal, center = (float(K[0, 0]), float(K[1, 1])), (float(K[0, 2]), float(K[1, 2]))
    base, axes, radii = _frame_tiles(focal, center, height, width)
    turn = (pose[:3, :3] * [[1], [-1], [1]]).astype(np.float32)
    # Written out, because products of matrices may round differently on another machine.
    directions = np.stack([row[0] * base[0] + row[1] * base[1] + row[2] * base[2] for row in turn])
    eye = (pose[:3, 3] * [1, -1, 1]).astype(np.float32)
    return Rays(eye, directions, axes @ turn.T, radii)


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

"""Ray casting of a room onto the six cube faces, with soft light and shadows.

Array arithmetic is float32 and IEEE-exact (see `paint`), so that bytes do not depend on a machine.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from mvdiffusion.data.rooms.design import CEILING, FIRST_OBJECT, FLOOR, Room, Solid
from mvdiffusion.data.rooms.paint import Array
from mvdiffusion.geometry.cubemap import face_rotations, face_strip

_TILE = 16  # pixels; rays are kept tile by tile, so that solids touch few of them


def render_faces(room: Room, size: int) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Look from the room's eye in all directions.

    Args:
        room: the furnished room.
        size: edge of a face in pixels, a multiple of 16.

    Returns:
        RGB faces [6, size, size, 3] in Matterport3D's order, and what each pixel shows
        [6, size, size]: surfaces 0 … 5, or FIRST_OBJECT + index into `room.names`.
    """
    canvas = _Canvas(room, size)
    canvas.draw_surfaces()
    for solid in room.solids:
        canvas.draw_solid(solid)
    faces = _soften(_from_tiles(np.clip(canvas.colours, 0, 1), size))
    pixels = np.floor(faces * 255 + np.float32(0.5)).astype(np.uint8)
    return pixels, _from_tiles(canvas.shown, size)


def _soften(faces: Array) -> Array:
    """Filter faces [6, S, S, 3] by (1, 2, 1) / 4 both ways, across borders: no jagged edges."""
    size = faces.shape[1]
    strip = face_strip(torch.from_numpy(faces).permute(0, 3, 1, 2)).numpy()
    bordered = strip.reshape(3, size + 2, 6, size + 2)
    rows = (bordered[:, :-2] + bordered[:, 2:]) * np.float32(0.25) + bordered[:, 1:-1] * np.float32(
        0.5
    )
    both = (rows[..., :-2] + rows[..., 2:]) * np.float32(0.25) + rows[..., 1:-1] * np.float32(0.5)
    return both.transpose(2, 1, 3, 0)


@lru_cache(maxsize=2)
def face_directions(size: int) -> Array:
    """Directions [6, size, size, 3] (right, up, forward; unnormalised) of the faces' pixels."""
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
        size: edge of a face in pixels.
    """
    rotations = face_rotations().numpy().astype(np.float64)
    local = np.einsum("fij,i...->fj...", rotations, directions)
    face = local[:, 2].argmax(0)
    x, y, z = np.take_along_axis(local, face[None, None], 0)[0]
    column, row = (np.clip(np.floor((side / z + 1) * size / 2), 0, size - 1) for side in (x, y))
    return (face * size + row.astype(np.int64)) * size + column.astype(np.int64)


@lru_cache(maxsize=2)
def _tile_directions(size: int) -> tuple[Array, Array, Array]:
    """Directions [3, N] tile by tile; unit axes [T, 3] and radii (chords) [T] of the tiles."""
    count = size // _TILE
    tiles = face_directions(size).reshape(6, count, _TILE, count, _TILE, 3).swapaxes(2, 3)
    tiles = tiles.reshape(-1, _TILE * _TILE, 3)
    unit = tiles / np.sqrt((tiles**2).sum(-1, keepdims=True))
    axes = unit.mean(1)
    axes /= np.sqrt((axes**2).sum(-1, keepdims=True))
    radii = np.sqrt(((unit - axes[:, None]) ** 2).sum(-1)).max(1)
    return np.ascontiguousarray(tiles.reshape(-1, 3).T), axes, radii


def _from_tiles(values: NDArray, size: int) -> NDArray:
    count = size // _TILE
    tiles = values.reshape(6, count, count, _TILE, _TILE, *values.shape[1:]).swapaxes(2, 3)
    return np.ascontiguousarray(tiles.reshape(6, size, size, *values.shape[1:]))


def _fade(distance: Array, reach: float, strength: float) -> Array:
    """Darkening factor: 1 - strength at distance 0, rising smoothly to 1 at `reach` metres."""
    near = np.clip(1 - distance / np.float32(reach), 0, 1)
    return 1 - np.float32(strength) * near * near


def _off_rectangle(s: Array, v: Array, box: tuple[float, float, float, float]) -> Array:
    """Distance in metres to a rectangle (s0, s1, v0, v1), 0 inside."""
    ds = np.maximum(np.maximum(box[0] - s, s - box[1]), 0)
    dv = np.maximum(np.maximum(box[2] - v, v - box[3]), 0)
    return np.sqrt(ds * ds + dv * dv)


class _Canvas:
    """Colours, depths and owners of all rays of one room."""

    def __init__(self, room: Room, size: int) -> None:
        base, axes, radii = _tile_directions(size)
        cosine, sine = (np.float32(value) for value in room.heading)
        self.room, self.eye = room, np.asarray(room.eye, np.float32)
        self.directions = np.stack(
            [cosine * base[0] + sine * base[2], base[1], cosine * base[2] - sine * base[0]]
        )
        with np.errstate(divide="ignore"):
            self.inverse = 1 / self.directions
        turn = np.asarray([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]], np.float32)
        self.tile_axes, self.tile_radii = axes @ turn.T, radii
        rays = base.shape[1]
        self.depth = np.full(rays, np.inf, np.float32)
        self.colours = np.empty((rays, 3), np.float32)
        self.shown = np.empty(rays, np.int32)

    def draw_surfaces(self) -> None:
        """Draw walls, floor and ceiling with what hangs or lies on them."""
        limits = np.asarray(self.room.size, np.float32)[:, None]
        exits = np.where(self.directions > 0, limits - self.eye[:, None], -self.eye[:, None])
        with np.errstate(invalid="ignore"):
            reach = np.where(self.directions == 0, np.float32(np.inf), exits * self.inverse)
        axis = reach.argmin(0)
        self.depth = np.minimum(np.minimum(reach[0], reach[1]), reach[2])
        upward = np.take_along_axis(self.directions, axis[None], 0)[0] > 0
        lookup = np.asarray([[3, FLOOR, 2], [1, CEILING, 0]])
        self.shown = lookup[upward.astype(np.int64), axis].astype(np.int32)
        for surface in range(6):
            self._draw_surface(surface, np.nonzero(self.shown == surface)[0])

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
        self.colours[rays] = room.surfaces[surface](s, v) * light[:, None]
        for panel, owner in room.panels:
            if panel.surface == surface:
                s0, s1, v0, v1 = panel.box
                on = np.nonzero((s >= s0) & (s < s1) & (v >= v0) & (v < v1))[0]
                colours = panel.paint(s[on] - np.float32(s0), v[on] - np.float32(v0))
                self.colours[rays[on]] = colours if panel.glows else colours * light[on, None]
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
            square = toward[0] * toward[0] + toward[1] * toward[1] + toward[2] * toward[2]
            facing = toward[0] * normal[0] + toward[1] * normal[1] + toward[2] * normal[2]
            cosine = np.clip(facing / np.sqrt(square + np.float32(0.01)), 0, 1)
            total += np.float32(power) * (0.3 + 0.7 * cosine) / (1 + np.float32(falloff) * square)
        return total

    def draw_solid(self, solid: Solid) -> None:
        """Draw a part of a piece of furniture where it is nearest."""
        low, high = np.asarray(solid.part.low, np.float32), np.asarray(solid.part.high, np.float32)
        rays = self._candidates(low, high)
        trace = {"box": self._hit_box, "ball": self._hit_ball, "post": self._hit_post}
        depth, normal = trace[solid.part.shape](rays, low, high)
        hit = np.nonzero(depth < self.depth[rays])[0]
        if len(hit) == 0:
            return
        rays, normal = rays[hit], normal[:, hit]
        self.depth[rays] = depth[hit]
        self.shown[rays] = FIRST_OBJECT + solid.owner
        point = self._points(rays)
        colours = _paint_solid(solid, point - low[:, None], normal)
        if not solid.part.glows:
            light = self._light(point, list(normal)) * _fade(point[1], 0.35, 0.25)
            colours = colours * light[:, None]
        self.colours[rays] = colours

    def _candidates(self, low: Array, high: Array) -> NDArray:
        """Rays of the tiles that may see the box: those whose cone meets its bounding ball."""
        centre = (low + high) / 2 - self.eye
        distance = float(np.sqrt((centre**2).sum()))
        radius = float(np.sqrt(((high - low) ** 2).sum())) / 2
        if radius >= distance:
            return np.arange(self.depth.size)
        chord = np.sqrt(((self.tile_axes - centre / distance) ** 2).sum(-1))
        spread = 2 * radius / distance  # at least the chord of asin(radius / distance)
        tiles = np.nonzero(chord <= self.tile_radii + spread + 1e-3)[0]
        return (tiles[:, None] * _TILE * _TILE + np.arange(_TILE * _TILE)).ravel()

    def _hit_box(self, rays: NDArray, low: Array, high: Array) -> tuple[Array, Array]:
        inverse, directions = self.inverse[:, rays], self.directions[:, rays]
        with np.errstate(invalid="ignore"):
            first = (low - self.eye)[:, None] * inverse
            second = (high - self.eye)[:, None] * inverse
        entry = np.minimum(first, second)
        exits = np.maximum(first, second)
        depth = np.maximum(np.maximum(entry[0], entry[1]), entry[2])
        leave = np.minimum(np.minimum(exits[0], exits[1]), exits[2])
        axis = entry.argmax(0)
        side = np.arange(3)[:, None] == axis
        normal = np.where(side, -np.sign(directions), 0).astype(np.float32)
        return np.where((depth <= leave) & (depth > 0), depth, np.float32(np.inf)), normal

    def _hit_ball(self, rays: NDArray, low: Array, high: Array) -> tuple[Array, Array]:
        centre, radii = (low + high) / 2, (high - low) / 2
        direction = self.directions[:, rays] / radii[:, None]
        origin = (self.eye - centre) / radii
        a = direction[0] * direction[0] + direction[1] * direction[1] + direction[2] * direction[2]
        b = direction[0] * origin[0] + direction[1] * origin[1] + direction[2] * origin[2]
        c = origin[0] * origin[0] + origin[1] * origin[1] + origin[2] * origin[2] - 1
        depth = _nearest_root(a, b, c)
        with np.errstate(invalid="ignore"):
            normal = (origin[:, None] + direction * depth) / radii[:, None]
        return depth, _unit(normal)

    def _hit_post(self, rays: NDArray, low: Array, high: Array) -> tuple[Array, Array]:
        centre, radius = (low + high) / 2, (high[0] - low[0]) / 2
        directions = self.directions[:, rays]
        dx, dy, dz = directions / radius
        ox, oy, oz = (self.eye - centre) / radius
        half = (high[1] - low[1]) / 2 / radius
        depth = _nearest_root(dx * dx + dz * dz, dx * ox + dz * oz, ox * ox + oz * oz - 1)
        with np.errstate(invalid="ignore"):
            outside = ~(np.abs(oy + dy * depth) <= half)
            depth = np.where(outside, np.float32(np.inf), depth)
            normal = np.stack([ox + dx * depth, np.zeros_like(dx), oz + dz * depth])
            cap = (np.sign(oy) * half - oy) / dy
            across_x, across_z = ox + dx * cap, oz + dz * cap
            on_cap = (across_x * across_x + across_z * across_z <= 1) & (cap > 0) & (abs(oy) > half)
        lid = np.asarray([0, np.sign(oy), 0], np.float32)[:, None]
        nearer = on_cap & (cap < depth)
        return np.where(nearer, cap, depth), np.where(nearer, lid, _unit(normal))


def _nearest_root(a: Array, b: Array, c: np.float32) -> Array:
    """Smallest positive t with a t² + 2 b t + c = 0; infinite if there is none."""
    square = b * b - a * c
    with np.errstate(invalid="ignore", divide="ignore"):
        root = (-b - np.sqrt(np.maximum(square, 0))) / a
    return np.where((square > 0) & (root > 0), root, np.float32(np.inf))


def _unit(normal: Array) -> Array:
    with np.errstate(invalid="ignore"):
        square = normal[0] * normal[0] + normal[1] * normal[1] + normal[2] * normal[2]
        return normal / np.sqrt(square)


def _paint_solid(solid: Solid, local: Array, normal: Array) -> Array:
    """Colours of hit points `local` [3, N], measured from the solid's low corner."""
    part, front = solid.part, solid.front_axis
    if part.shape != "box":
        return part.paint(local[0], local[1])
    along = local[2 - front]
    if part.rest is None:
        return part.paint(along, local[1])
    facing = normal[front] != 0
    return np.where(facing[:, None], part.paint(along, local[1]), part.rest(along, local[1]))

"""Procedural surfaces: functions from meters on a surface to colors.

Only IEEE-exact operations (+ - * / sqrt, comparisons, table look-ups) are used on arrays, so that
the same seed gives the same bytes on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]  # float32
Color = Sequence[float] | Array  # red, green, blue in 0 … 1
Paint = Callable[[Array, Array], Array]  # (s [N], v [N]) in meters, v upwards -> colors [N, 3]


def plain(color: Color) -> Paint:
    """One color everywhere."""
    value = np.asarray(color, np.float32)
    return lambda s, v: np.broadcast_to(value, (len(s), 3))


def mixed(first: Color, second: Color, amount: float) -> Array:
    """`first` moved toward `second` by `amount` in 0 … 1."""
    low, high = np.asarray(first, np.float32), np.asarray(second, np.float32)
    return low + (high - low) * np.float32(amount)


def wave(x: Array, period: float) -> Array:
    """Triangle wave between 0 and 1."""
    phase = x / np.float32(period)
    phase = phase - np.floor(phase)
    return 1 - np.abs(2 * phase - 1)


def _blend(base: Color, color: Color, mask: Array) -> Array:
    start = np.asarray(base, np.float32)
    return start + (np.asarray(color, np.float32) - start) * mask[:, None]


def _to_edge(s: Array, v: Array, size: tuple[float, float]) -> Array:
    """Distance from inside a rectangle to its edge."""
    return np.minimum(np.minimum(s, size[0] - s), np.minimum(v, size[1] - v))


def _step(x: Array, edge: float, softness: float = 0.02) -> Array:
    """Soft step from 0 to 1 around `edge`, `softness` meters wide."""
    return np.clip((x - np.float32(edge)) / np.float32(softness) + 0.5, 0, 1)


def _inside(s: Array, v: Array, box: Sequence[float]) -> Array:
    """Soft indicator of the rectangle (s0, s1, v0, v1)."""
    s0, s1, v0, v1 = box
    return _step(s, s0) * (1 - _step(s, s1)) * _step(v, v0) * (1 - _step(v, v1))


def stripes(color: Color, other: Color, period: float) -> Paint:
    """Soft upright stripes of two colors."""
    return lambda s, v: _blend(color, other, np.clip(wave(s, period) * 4 - 1.5, 0, 1))


def wainscot(upper: Color, lower: Color, height: float, panel: float) -> Paint:
    """A wall with panelling (panels `panel` meters wide) up to `height`."""

    def paint(s: Array, v: Array) -> Array:
        colors = _blend(lower, upper, _step(v, height))
        groove = np.clip(wave(s, panel) * 8 - 7.2, 0, 1) * (1 - _step(v, height - 0.15))
        rail = _inside(s, v, (-9, 99, height - 0.09, height))
        colors = colors * (1 - 0.12 * groove[:, None])
        return _blend(colors, mixed(lower, (1, 1, 1), 0.35), rail)

    return paint


def half_tiled(upper: Color, tile: Color, height: float, pitch: float) -> Paint:
    """A wall with square tiles up to `height` and a darker border on top of them."""
    tiles = tiled(tile, mixed(tile, (1, 1, 1), 0.35), pitch)

    def paint(s: Array, v: Array) -> Array:
        colors = _blend(tiles(s, v), upper, _step(v, height))
        border = _inside(s, v, (-9, 99, height - 0.1, height))
        return _blend(colors, mixed(tile, (0.2, 0.3, 0.4), 0.4), border)

    return paint


def tiled(color: Color, other: Color, pitch: float) -> Paint:
    """A soft-edged checker of square tiles."""

    def paint(s: Array, v: Array) -> Array:
        across = np.clip((wave(s, 2 * pitch) - 0.5) * 8, -1, 1)
        along = np.clip((wave(v, 2 * pitch) - 0.5) * 8, -1, 1)
        return _blend(color, other, 0.5 + 0.5 * across * along)

    return paint


def planks(color: Color, width: float, tones: Array) -> Paint:
    """Floor boards along s whose tone varies by the table `tones`."""
    base = np.asarray(color, np.float32)

    def paint(s: Array, v: Array) -> Array:
        row = np.floor(v / np.float32(width)).astype(np.int64)
        column = np.floor((s + tones[row % len(tones)] * 20) / np.float32(1.4)).astype(np.int64)
        tone = tones[(row * 7 + column * 13) % len(tones)]
        joint = np.clip(1 - wave(v, width) * 12, 0, 1)
        return base * (1 + tone - 0.1 * joint)[:, None]

    return paint


def bordered(color: Color, border: Color, size: tuple[float, float], inset: float) -> Paint:
    """A rug: a border line `inset` meters inside a rectangle of `size` meters."""

    def paint(s: Array, v: Array) -> Array:
        edge = _to_edge(s, v, size)
        return _blend(color, border, _step(edge, inset, 0.05) * (1 - _step(edge, 2 * inset, 0.05)))

    return paint


def doors(color: Color, width: float, height: float, columns: int, rows: int = 1) -> Paint:
    """Cabinet fronts: `columns` x `rows` leaves with dark joints and a knob each."""
    pitch_s, pitch_v = width / columns, height / rows

    def paint(s: Array, v: Array) -> Array:
        s = s - np.floor(s / np.float32(pitch_s)) * np.float32(pitch_s)  # inside a leaf
        v = v - np.floor(v / np.float32(pitch_v)) * np.float32(pitch_v)
        joint = 1 - _step(_to_edge(s, v, (pitch_s, pitch_v)), 0.03, 0.03)
        box = (pitch_s - 0.14, pitch_s - 0.07, pitch_v * 0.42, pitch_v * 0.58)
        colors = np.asarray(color, np.float32) * (1 - 0.3 * joint[:, None])
        return _blend(colors, (0.25, 0.22, 0.2), 0.8 * _inside(s, v, box))

    return paint


def books(wood: Color, size: tuple[float, float], covers: Array, heights: Array) -> Paint:
    """A full bookcase front; `covers` [R, C, 3] and `heights` [R, C] (0 … 1) are its books."""
    rows, columns = heights.shape
    frame = 0.06

    def paint(s: Array, v: Array) -> Array:
        pitch = np.float32(size[1] / rows)
        row = np.clip(np.floor(v / pitch).astype(np.int64), 0, rows - 1)
        local = (v - row * pitch) / pitch
        position = (s - frame) / np.float32(size[0] - 2 * frame) * columns
        column = np.clip(np.floor(position).astype(np.int64), 0, columns - 1)
        colors = covers[row, column]
        crease = np.clip(1 - wave(position, 1) * 5, 0, 1)
        colors = colors * (1 - 0.2 * crease[:, None])
        above = _step(local, 0.0, 0.06) * (local > heights[row, column])
        colors = _blend(colors, mixed(wood, (0, 0, 0), 0.55), above)
        board = (local < 0.14) | (s < frame) | (s > size[0] - frame) | (v > size[1] - frame)
        return np.where(board[:, None], np.asarray(wood, np.float32), colors)

    return paint


def window(
    size: tuple[float, float], frame: Color, sky: Color, land: Color, skyline: Array, city: bool
) -> Paint:
    """A window with mullions; outside are sky and, by the table `skyline`, hills or houses."""
    width, height = size

    def paint(s: Array, v: Array) -> Array:
        fraction = v / np.float32(height)
        colors = _blend(sky, (0.97, 0.97, 0.97), np.clip(1.25 - fraction, 0, 1))
        position = np.clip(s / np.float32(width), 0, 0.999) * (len(skyline) - 1)
        cell = np.floor(position).astype(np.int64)
        blend = 0 if city else position - cell
        top = skyline[cell] + (skyline[cell + 1] - skyline[cell]) * blend
        colors = _blend(colors, land, np.clip((top - fraction) * 25 + 0.5, 0, 1))
        near = np.clip((top * 0.55 - fraction) * 25 + 0.5, 0, 1)
        colors = _blend(colors, mixed(land, (0.25, 0.4, 0.2), 0.5), near)
        bars = (np.abs(s - width / 2) < 0.045) | (np.abs(v - height * 0.62) < 0.04)
        rim = _to_edge(s, v, size) < 0.1
        return np.where((bars | rim)[:, None], np.asarray(frame, np.float32), colors)

    return paint


def door(size: tuple[float, float], color: Color, frame: Color) -> Paint:
    """A panelled door with frame and handle."""
    width, height = size

    def paint(s: Array, v: Array) -> Array:
        colors = color
        for low, high in ((0.12, 0.42), (0.52, 0.92)):
            box = (0.24, width - 0.24, low * height, high * height)
            colors = _blend(colors, mixed(color, (0, 0, 0), 0.25), _inside(s, v, box))
            inner = (0.3, width - 0.3, low * height + 0.06, high * height - 0.06)
            colors = _blend(colors, mixed(color, (1, 1, 1), 0.12), _inside(s, v, inner))
        handle = _inside(s, v, (width - 0.22, width - 0.12, 0.94, 1.06))
        colors = _blend(colors, (0.93, 0.8, 0.4), handle)
        rim = (s < 0.08) | (s > width - 0.08) | (v > height - 0.08)
        return np.where(rim[:, None], np.asarray(frame, np.float32), colors)

    return paint


def picture(size: tuple[float, float], frame: Color, colors: Array, kind: int) -> Paint:
    """A framed simple painting: landscape (0), blocks (1) or portrait (2) in three `colors`."""
    width, height = size

    def paint(s: Array, v: Array) -> Array:
        x, y = s / np.float32(width), v / np.float32(height)
        if kind == 0:
            base = _blend(colors[0], colors[2], _disc(x, y, (0.7, 0.72, 0.14)))
            base = _blend(base, colors[1], np.clip((0.3 + x * (1 - x) - y) * 12, 0, 1))
        elif kind == 1:
            base = _blend(colors[0], colors[1], np.clip((x - y) * 10 + 0.5, 0, 1))
            base = _blend(base, colors[2], _disc(x, y, (0.5, 0.5, 0.24)))
        else:
            base = _blend(colors[0], colors[1], _disc(x, y, (0.5, 0.12, 0.33)))
            base = _blend(base, colors[2], _disc(x, y, (0.5, 0.6, 0.19)))
        rim = _to_edge(s, v, size) < 0.07
        return np.where(rim[:, None], np.asarray(frame, np.float32), base)

    return paint


def _disc(x: Array, y: Array, disc: tuple[float, float, float]) -> Array:
    distance = (x - disc[0]) * (x - disc[0]) + (y - disc[1]) * (y - disc[1])
    return np.clip((disc[2] * disc[2] - distance) * 30 + 0.5, 0, 1)


def screen(size: tuple[float, float], rim: Color, glass: Color, margin: float) -> Paint:
    """A mirror, television or board: a rim around glass that brightens to one corner."""
    width, height = size

    def paint(s: Array, v: Array) -> Array:
        glow = np.clip((s / np.float32(width) + v / np.float32(height)) * 0.5, 0, 1)
        base = np.asarray(glass, np.float32) * (0.85 + 0.3 * glow)[:, None]
        edge = _to_edge(s, v, size) < margin
        return np.where(edge[:, None], np.asarray(rim, np.float32), base)

    return paint

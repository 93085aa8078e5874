"""Furniture, built from boxes, balls and posts.

A piece stands in its own frame: u along the wall, v up, w away from the wall, in meters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mvdiffusion.preparation.rooms.paint import (
    Array,
    Color,
    Paint,
    books,
    doors,
    mixed,
    plain,
    screen,
    stripes,
)

COLORS: dict[str, Color] = {
    "red": (0.74, 0.24, 0.21),
    "blue": (0.24, 0.40, 0.68),
    "green": (0.30, 0.54, 0.34),
    "yellow": (0.90, 0.76, 0.32),
    "white": (0.93, 0.92, 0.89),
    "grey": (0.52, 0.53, 0.55),
    "wooden": (0.58, 0.40, 0.25),
    "black": (0.20, 0.20, 0.22),
    "purple": (0.50, 0.34, 0.60),
    "orange": (0.87, 0.53, 0.24),
}
TEXTILES = ("red", "blue", "green", "yellow", "grey", "purple", "orange")
WOODS = ("wooden", "white", "black")
_METAL, _DARK, _CREAM = (0.66, 0.67, 0.69), (0.17, 0.17, 0.19), (0.95, 0.93, 0.87)


class Dice:
    """Random numbers that are the same on every machine (no fused multiply-add inside)."""

    def __init__(self, *seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def between(self, low: float, high: float) -> float:
        """Draw uniformly from [low, high)."""
        return low + (high - low) * float(self._rng.random())

    def index(self, count: int) -> int:
        """Draw from 0 … count - 1."""
        return int(self._rng.integers(count))

    def chance(self, probability: float) -> bool:
        """Be true with `probability`."""
        return float(self._rng.random()) < probability

    def pick(self, options: tuple[str, ...]) -> str:
        """Draw one of `options`."""
        return options[self.index(len(options))]

    def table(self, *shape: int) -> Array:
        """Draw an array of uniform numbers in [0, 1)."""
        return self._rng.random(shape).astype(np.float32)

    def shade(self, color: Color) -> Array:
        """Vary `color` a little."""
        jitter = (self.table(3) - 0.5) * 0.05 + np.float32(self.between(-0.03, 0.03))
        return np.clip(np.asarray(color, np.float32) + jitter, 0, 1)


@dataclass(frozen=True)
class Part:
    """A solid between two corners: a box, a ball (ellipsoid) or a post (upright cylinder)."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    paint: Paint
    rest: Paint | None = None  # of a box's sides that do not face the room; `paint` if None
    shape: Literal["box", "ball", "post"] = "box"
    glows: bool = False


@dataclass(frozen=True)
class Piece:
    """A piece of furniture; `name` is how captions call it ("red bed")."""

    name: str
    size: tuple[float, float, float]  # extent in u, v, w
    parts: tuple[Part, ...]


def _block(u0: float, u1: float, v0: float, v1: float, w0: float, w1: float, color: Color) -> Part:
    return Part((u0, v0, w0), (u1, v1, w1), plain(color))


def _ball(u: float, v: float, w: float, radii: tuple[float, float, float], color: Color) -> Part:
    low = (u - radii[0], v - radii[1], w - radii[2])
    high = (u + radii[0], v + radii[1], w + radii[2])
    return Part(low, high, plain(color), shape="ball")


def _post(
    u: float, w: float, radius: float, v0: float, v1: float, color: Color, glows: bool = False
) -> Part:
    low, high = (u - radius, v0, w - radius), (u + radius, v1, w + radius)
    return Part(low, high, plain(color), shape="post", glows=glows)


def _legs(u0: float, u1: float, w0: float, w1: float, height: float, color: Color) -> list[Part]:
    thick = 0.08
    return [
        _block(u, u + thick, 0, height, w, w + thick, color)
        for u in (u0, u1 - thick)
        for w in (w0, w1 - thick)
    ]


def _bed(dice: Dice) -> Piece:
    word, width, length = dice.pick(TEXTILES), dice.between(1.4, 1.8), 2.05
    blanket, wood = dice.shade(COLORS[word]), dice.shade(COLORS[dice.pick(WOODS)])
    hem = mixed(blanket, (1, 1, 1), 0.45)
    half = width / 2
    parts = (
        _block(0, width, 0.1, 0.3, 0, length, wood),
        _block(0.03, width - 0.03, 0.3, 0.5, 0.06, length - 0.03, _CREAM),
        _block(0, width, 0.24, 0.56, 0.75, length + 0.02, blanket),
        _block(-0.01, width + 0.01, 0.25, 0.58, 0.68, 0.95, hem),
        _ball(half * 0.52, 0.57, 0.36, (half * 0.42, 0.13, 0.25), (0.97, 0.96, 0.93)),
        _ball(half * 1.48, 0.57, 0.36, (half * 0.42, 0.13, 0.25), (0.97, 0.96, 0.93)),
        _block(0, width, 0, dice.between(0.95, 1.2), 0, 0.08, wood),
    )
    return Piece(f"{word} bed", (width, 1.2, length), parts)


def _seat(word: str, width: float, dice: Dice) -> tuple[Part, ...]:
    color = dice.shade(COLORS[word])
    light, dark = mixed(color, (1, 1, 1), 0.14), mixed(color, (0, 0, 0), 0.12)
    count = 1 if width < 1.2 else 2
    step = (width - 0.4) / count
    cushions = [
        _block(0.2 + i * step + 0.015, 0.2 + (i + 1) * step - 0.015, 0.4, 0.53, 0.26, 0.92, light)
        for i in range(count)
    ]
    pillow = _ball(0.42, 0.68, 0.36, (0.2, 0.17, 0.1), COLORS[dice.pick(TEXTILES)])
    return (
        _block(0.1, width - 0.1, 0.08, 0.41, 0.1, 0.9, dark),
        _block(0.05, width - 0.05, 0.1, 0.88, 0.02, 0.28, color),
        _block(0, 0.2, 0.05, 0.64, 0.05, 0.9, color),
        _block(width - 0.2, width, 0.05, 0.64, 0.05, 0.9, color),
        *cushions,
        *((pillow,) if count == 2 else ()),
    )


def _sofa(dice: Dice) -> Piece:
    word, width = dice.pick(TEXTILES), dice.between(1.7, 2.2)
    return Piece(f"{word} sofa", (width, 0.9, 0.95), _seat(word, width, dice))


def _armchair(dice: Dice) -> Piece:
    word = dice.pick(TEXTILES)
    return Piece(f"{word} armchair", (0.95, 0.9, 0.95), _seat(word, 0.95, dice))


def _chair(u: float, w: float, back: float, color: Color) -> list[Part]:
    """A chair whose seat center is (u, w) and whose back is at w + back."""
    spread = 0.22
    slab = sorted((w + back * spread, w + back * (spread - 0.06)))
    return [
        *_legs(u - spread, u + spread, w - spread, w + spread, 0.42, color),
        _block(u - spread, u + spread, 0.42, 0.48, w - spread, w + spread, color),
        _block(u - spread, u + spread, 0.48, 0.95, slab[0], slab[1], color),
    ]


def _table(dice: Dice) -> Piece:
    word = dice.pick((*WOODS, "green"))
    width, depth = dice.between(1.3, 1.7), 1.75
    color, seats = dice.shade(COLORS[word]), dice.shade(COLORS[dice.pick(TEXTILES)])
    chairs = [
        part
        for u in (width * 0.28, width * 0.72)
        for part in (*_chair(u, 0.25, -1, seats), *_chair(u, depth - 0.25, 1, seats))
    ]
    bowl = _ball(width / 2, 0.83, depth / 2, (0.18, 0.1, 0.18), COLORS[dice.pick(TEXTILES)])
    parts = (
        *chairs,
        _block(0, width, 0.71, 0.78, 0.45, depth - 0.45, color),
        *_legs(0.05, width - 0.05, 0.5, depth - 0.5, 0.71, color),
        bowl,
    )
    return Piece(f"{word} table with chairs", (width, 0.95, depth), parts)


def _coffee_table(dice: Dice) -> Piece:
    color, width = dice.shade(COLORS["wooden"]), dice.between(0.8, 1.1)
    parts = (
        _block(0, width, 0.36, 0.43, 0, 0.6, color),
        *_legs(0.03, width - 0.03, 0.03, 0.57, 0.36, color),
        _block(0.15, 0.4, 0.43, 0.48, 0.15, 0.4, COLORS[dice.pick(TEXTILES)]),
    )
    return Piece("low table", (width, 0.48, 0.6), parts)


def _desk(dice: Dice) -> Piece:
    word, width = dice.pick(WOODS), dice.between(1.3, 1.6)
    color, middle = dice.shade(COLORS[word]), width * dice.between(0.4, 0.55)
    glass = screen((0.7, 0.42), _DARK, (0.45, 0.66, 0.86), 0.05)
    drawers = doors(color, 0.45, 0.7, 1, 3)
    parts = (
        _block(0, width, 0.7, 0.76, 0, 0.7, color),
        *_legs(0, width * 0.6, 0.02, 0.68, 0.7, color),
        Part((width - 0.45, 0, 0.03), (width, 0.7, 0.68), drawers, plain(color)),
        Part((middle - 0.35, 0.84, 0.12), (middle + 0.35, 1.26, 0.17), glass),
        _block(middle - 0.06, middle + 0.06, 0.76, 0.86, 0.1, 0.16, _DARK),
        *_chair(middle, 0.95, 1, dice.shade(COLORS[dice.pick(TEXTILES)])),
    )
    return Piece(f"{word} desk with a computer", (width, 1.26, 1.2), parts)


def _bookcase(dice: Dice) -> Piece:
    word, width = dice.pick(WOODS), dice.between(1.1, 1.7)
    height, wood = dice.between(1.9, 2.2), dice.shade(COLORS[word])
    rows, columns = 4 + dice.index(2), int(width / 0.16)
    palette = np.asarray([COLORS[name] for name in (*TEXTILES, "white", "wooden")], np.float32)
    chosen = (dice.table(rows, columns) * len(palette)).astype(np.int64)
    covers = palette[chosen] * (0.9 + 0.15 * dice.table(rows, columns, 1))
    heights = 0.7 + 0.25 * dice.table(rows, columns)
    front = books(wood, (width, height), covers, heights)
    part = Part((0, 0, 0), (width, height, 0.35), front, plain(wood))
    name = "bookcase" if word == "wooden" else f"{word} bookcase"
    return Piece(name, (width, height, 0.35), (part,))


def _cupboard(
    name: str, size: tuple[float, float, float], columns: int, rows: int, dice: Dice
) -> Piece:
    word = dice.pick((*WOODS, "green", "blue"))
    color = dice.shade(COLORS[word])
    part = Part((0, 0, 0), size, doors(color, size[0], size[1], columns, rows), plain(color))
    return Piece(f"{word} {name}", size, (part,))


def _wardrobe(dice: Dice) -> Piece:
    columns = 2 + dice.index(2)
    return _cupboard("wardrobe", (0.55 * columns, dice.between(1.9, 2.15), 0.6), columns, 1, dice)


def _cabinet(dice: Dice) -> Piece:
    columns = 2 + dice.index(2)
    return _cupboard("cabinet", (0.5 * columns, dice.between(0.8, 0.95), 0.45), columns, 2, dice)


def _lamp(dice: Dice) -> Piece:
    height, warm = dice.between(1.5, 1.75), (1.0, 0.9, 0.62)
    parts = (
        _post(0.25, 0.25, 0.16, 0, 0.04, _DARK),
        _post(0.25, 0.25, 0.035, 0, height - 0.2, _DARK),
        _post(0.25, 0.25, 0.24, height - 0.38, height, warm, glows=True),
    )
    return Piece("lamp", (0.5, height, 0.5), parts)


def _plant(dice: Dice) -> Piece:
    leaf, height = dice.shade((0.30, 0.52, 0.26)), dice.between(0.9, 1.3)
    light = mixed(leaf, (0.6, 0.8, 0.3), 0.35)
    pot = dice.shade(COLORS[dice.pick(("orange", "white", "blue"))])
    parts = (
        _post(0.3, 0.3, 0.18, 0, 0.38, pot),
        _ball(0.3, height * 0.62, 0.3, (0.28, height * 0.28, 0.28), leaf),
        _ball(0.17, height * 0.72, 0.36, (0.17, height * 0.2, 0.17), light),
        _ball(0.42, height * 0.8, 0.26, (0.16, height * 0.2, 0.17), light),
    )
    return Piece("plant", (0.6, height, 0.6), parts)


def _television(dice: Dice) -> Piece:
    width, color = dice.between(1.5, 1.8), dice.shade(COLORS[dice.pick(WOODS)])
    wide, low = width - 0.3, 0.62
    glass = screen((wide, 0.72), _DARK, (0.27, 0.31, 0.38), 0.05)
    parts = (
        Part((0, 0, 0), (width, 0.48, 0.42), doors(color, width, 0.48, 3), plain(color)),
        _block(width / 2 - 0.1, width / 2 + 0.1, 0.48, 0.65, 0.15, 0.22, _DARK),
        Part((0.15, low, 0.14), (0.15 + wide, low + 0.72, 0.2), glass),
    )
    return Piece("television", (width, 1.34, 0.45), parts)


def _counter(dice: Dice) -> Piece:
    word = dice.pick(("white", "wooden", "green", "blue", "red", "grey"))
    color, columns = dice.shade(COLORS[word]), 3 + dice.index(2)
    width, front = 0.55 * columns, plain(color)
    shelf_low, shelf_high = 1.5, 2.15
    upper = doors(color, width, shelf_high - shelf_low, columns)
    parts = (
        Part((0, 0, 0), (width, 0.88, 0.6), doors(color, width, 0.88, columns), front),
        _block(-0.01, width + 0.01, 0.88, 0.94, 0, 0.63, (0.8, 0.78, 0.74)),
        Part((0, shelf_low, 0), (width, shelf_high, 0.34), upper, front),
        _post(width * 0.4, 0.18, 0.03, 0.94, 1.2, _METAL),
        _ball(width * 0.75, 1.03, 0.3, (0.14, 0.11, 0.14), COLORS[dice.pick(TEXTILES)]),
    )
    return Piece(f"{word} kitchen counter", (width, shelf_high, 0.63), parts)


def _fridge(dice: Dice) -> Piece:
    word = dice.pick(("white", "grey", "red"))
    color = dice.shade(COLORS[word])
    part = Part((0, 0, 0), (0.75, 1.85, 0.65), doors(color, 0.75, 1.85, 1, 2), plain(color))
    return Piece(f"{word} fridge", (0.75, 1.85, 0.65), (part,))


def _stove(dice: Dice) -> Piece:
    oven = screen((0.65, 0.85), _METAL, (0.2, 0.19, 0.2), 0.13)
    parts = (
        Part((0, 0, 0), (0.65, 0.85, 0.6), oven, plain(_METAL)),
        _block(0, 0.65, 0.85, 0.9, 0, 0.6, _DARK),
        _block(0.02, 0.63, 1.55, 1.72, 0, 0.45, _METAL),
        _block(0.2, 0.45, 1.72, 2.3, 0, 0.25, _METAL),
        _post(0.4, 0.3, 0.13, 0.9, 1.06, dice.shade(COLORS[dice.pick(TEXTILES)])),
    )
    return Piece("stove", (0.65, 2.3, 0.6), parts)


def _bathtub(dice: Dice) -> Piece:
    width, white = dice.between(1.6, 1.8), dice.shade((0.93, 0.93, 0.93))
    parts = (
        _block(0, width, 0, 0.56, 0, 0.78, white),
        _block(0.1, width - 0.1, 0.5, 0.565, 0.1, 0.68, (0.55, 0.76, 0.84)),
        _post(0.2, 0.1, 0.03, 0.56, 0.8, _METAL),
    )
    return Piece("bathtub", (width, 0.8, 0.78), parts)


def _toilet(dice: Dice) -> Piece:
    white = dice.shade((0.94, 0.94, 0.93))
    parts = (
        _block(0.04, 0.46, 0.4, 0.85, 0, 0.2, white),
        _block(0.12, 0.38, 0, 0.3, 0.1, 0.5, white),
        _ball(0.25, 0.36, 0.42, (0.22, 0.12, 0.28), white),
    )
    return Piece("toilet", (0.5, 0.85, 0.72), parts)


def _washbasin(dice: Dice) -> Piece:
    color, width = dice.shade(COLORS[dice.pick(WOODS)]), dice.between(0.75, 1.0)
    glass = screen((width - 0.1, 0.8), _METAL, (0.74, 0.83, 0.87), 0.05)
    parts = (
        Part((0.03, 0.15, 0), (width - 0.03, 0.72, 0.45), doors(color, width - 0.06, 0.57, 2)),
        _block(0, width, 0.72, 0.86, 0, 0.5, (0.95, 0.95, 0.94)),
        _post(width / 2, 0.1, 0.03, 0.86, 1.06, _METAL),
        Part((0.05, 1.15, 0), (width - 0.05, 1.95, 0.04), glass),
    )
    return Piece("washbasin with a mirror", (width, 1.95, 0.5), parts)


def _bench(dice: Dice) -> Piece:
    word, width = dice.pick(TEXTILES), dice.between(1.0, 1.4)
    wood = dice.shade(COLORS["wooden"])
    parts = (
        *_legs(0, width, 0, 0.4, 0.36, wood),
        _block(0, width, 0.36, 0.41, 0, 0.4, wood),
        _block(0.02, width - 0.02, 0.41, 0.49, 0.02, 0.38, dice.shade(COLORS[word])),
    )
    return Piece(f"{word} bench", (width, 0.49, 0.42), parts)


def _coats(dice: Dice) -> Piece:
    count = 3 + dice.index(2)
    width = 0.32 * count
    hanging = [
        _block(0.32 * i + 0.03, 0.32 * i + 0.29, dice.between(0.7, 0.95), 1.6, 0.02, 0.14, color)
        for i, color in enumerate(dice.shade(COLORS[dice.pick(TEXTILES)]) for _ in range(count))
    ]
    board = _block(0, width, 1.62, 1.76, 0, 0.05, COLORS["wooden"])
    return Piece("coat rack", (width, 1.76, 0.18), (board, *hanging))


def curtain(word: str, width: float, height: float) -> Part:
    """One hanging curtain with soft folds."""
    color = COLORS[word]
    folds = stripes(color, mixed(color, (0, 0, 0), 0.22), 0.2)
    return Part((0, 0, 0), (width, height, 0.07), folds, plain(color))


FURNITURE: dict[str, Callable[[Dice], Piece]] = {
    builder.__name__[1:]: builder
    for builder in (
        _armchair, _bathtub, _bed, _bench, _bookcase, _cabinet, _coats, _coffee_table, _counter,
        _desk, _fridge, _lamp, _plant, _sofa, _stove, _table, _television, _toilet, _wardrobe,
        _washbasin,
    )
}  # fmt: skip

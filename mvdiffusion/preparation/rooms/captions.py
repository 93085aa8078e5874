"""Captions of views, from what the ray caster says is visible.

A caption names the kind of room, the color of the walls faced and the largest objects; floor,
ceiling and positions stay unsaid, as in captions people write.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvdiffusion.data.splits import CAPTION_DEGREES
from mvdiffusion.preparation.rooms.design import FIRST_OBJECT, FLOOR, Room
from mvdiffusion.preparation.rooms.render import face_pixel

_GRID = 48  # rays per edge of a 90° view
_OBJECT_SHARE, _WALL_SHARE, _MOST_OBJECTS = 0.012, 0.12, 4
_NUMBERS = {2: "two", 3: "three"}


def caption_views(room: Room, shown: NDArray[np.int32]) -> dict[int, str]:
    """Describe the 90° views at 0°, 45°, … 315°.

    Args:
        shown: what the pixels of the faces show [6, S, S] (see `render_faces`).
    """
    looked_at = shown.reshape(-1)[_view_pixels(shown.shape[-1])]  # [8, 48 * 48]
    views = zip(CAPTION_DEGREES, looked_at, strict=True)
    return {degrees: caption_view(room, view) for degrees, view in views}


@lru_cache(maxsize=2)
def _view_pixels(size: int) -> NDArray[np.int64]:
    """Flat indices [8, 48 * 48] of the face pixels that the eight views look at."""
    axis = (np.arange(_GRID) + 0.5) * 2 / _GRID - 1
    x, y = (value.ravel() for value in np.meshgrid(axis, axis))
    views, diagonal = [], math.sqrt(0.5)
    cosines = (1.0, diagonal, 0.0, -diagonal, -1.0, -diagonal, 0.0, diagonal)
    for cosine, sine in zip(cosines, cosines[6:] + cosines[:6], strict=True):
        views.append(face_pixel(np.stack([cosine * x + sine, y, cosine - sine * x]), size))
    return np.stack(views)


def caption_view(room: Room, shown: NDArray[np.integer[Any]]) -> str:
    """Describe one view by what its pixels show, an array of any shape (see `render_faces`).

    Args:
        shown: what the pixels show, an array of any shape (see `render_faces`).
    """
    pixels = np.bincount(shown.ravel(), minlength=FIRST_OBJECT + len(room.names))
    total = int(pixels.sum())
    walls = _largest(pixels[:FLOOR], 1)[:2]
    large = [wall for wall in walls if wall == walls[0] or pixels[wall] >= _WALL_SHARE * total]
    faced = [room.wall_words[wall] for wall in large]
    seen = _largest(pixels[FIRST_OBJECT:], _OBJECT_SHARE * total)
    objects = Counter(room.names[i] for i in seen if room.names[i])
    phrases = [f"{' and '.join(faced)} walls"] if faced else []  # a shelf may hide the wall
    phrases += [_count(name, objects[name]) for name in list(objects)[:_MOST_OBJECTS]]
    if not phrases:
        return f"{_article(room.kind)} {room.kind}"
    listed = phrases[0] if len(phrases) == 1 else ", ".join(phrases[:-1]) + " and " + phrases[-1]
    return f"{_article(room.kind)} {room.kind} with {listed}"


def _largest(pixels: NDArray[np.integer[Any]], least: float) -> list[int]:
    """What fills at least so many pixels, the largest first."""
    return [int(i) for i in np.argsort(-pixels, kind="stable") if pixels[i] >= least]


def _count(name: str, count: int) -> str:
    if name.endswith("curtains"):
        return name
    if count == 1:
        return f"{_article(name)} {name}"
    head, _, tail = name.partition(" with ")
    return f"{_NUMBERS.get(count, 'many')} {head}s" + (f" with {tail}" if tail else "")


def _article(name: str) -> str:
    return "an" if name[0] in "aeiou" else "a"

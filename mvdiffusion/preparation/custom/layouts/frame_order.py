"""The order and the numbers of frames, from the names of their files.

All numbers in a name order the frames, the first one first; the last one may have a fraction, as
times have it (1305031453.359684). If the last numbers alone are whole and give the same order, they
are the numbers of the frames. Otherwise frames are numbered by their places: 0, 1, 2, …
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

Key = tuple[Decimal, ...]
"""All numbers in a file's name."""

_WITH_FRACTION = re.compile(r"(?:^|[^\w.]|_)(\d+\.\d+)\D*$")


def name_key(path: Path) -> Key:
    """Return the numbers in a file's name; the last one with its fraction, if it has one."""
    match = _WITH_FRACTION.search(path.stem)
    whole = path.stem[: match.start(1)] if match else path.stem
    numbers = [Decimal(digits) for digits in re.findall(r"\d+", whole)]
    return (*numbers, Decimal(match[1])) if match else tuple(numbers)


def last_number(path: Path) -> Decimal | None:
    """Return the last number in a file's name, or None."""
    key = name_key(path)
    return key[-1] if key else None


def numbered(paths: Sequence[Path]) -> list[tuple[int, int]]:
    """Number frames in the order of their names.

    Args:
        paths: a file of each frame; if two names have the same numbers, or one has none, the frames
            are in the order of this list.

    Returns:
        Per frame its number and its place in `paths`, in order.
    """
    keys = [name_key(path) for path in paths]
    if not all(keys) or len(set(keys)) < len(keys):
        return list(enumerate(range(len(paths))))
    order = sorted(range(len(paths)), key=keys.__getitem__)
    numbers = [keys[place][-1] for place in order]
    if all(whole(number) for number in numbers) and all(a < b for a, b in pairwise(numbers)):
        return [(int(number), place) for number, place in zip(numbers, order, strict=True)]
    return list(enumerate(order))


def whole(number: Decimal) -> bool:
    """Tell whether a number is written without a fraction."""
    return number.as_tuple().exponent == 0

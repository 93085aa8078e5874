"""How long the steps of a run took, as Snakemake's benchmark files have it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mvdiffusion.records import InputError


@dataclass(frozen=True)
class StepTime:
    """A step that ran.

    Attributes:
        name: of its benchmark file, in words; the first one says what kind of step it is.
        seconds: from the start of its last job to the end.
        ended: when its file was written, in seconds since 1970.
        gibibytes: the most memory that it held; None if that was not measured.
    """

    name: str
    seconds: float
    ended: float
    gibibytes: float | None

    @property
    def kind(self) -> str:
        """What kind of step it is, such as "train"."""
        return self.name.partition(" ")[0]


def read_times(benchmarks: Mapping[str, Path]) -> list[StepTime]:
    """Read the benchmark files of steps, one TSV per step, by the names of the steps.

    A step without a file has not run on this machine (results may be fetched) and is left out.

    Raises:
        InputError: a file is no table with a column `s` of seconds.
    """
    return [_read(name, path) for name, path in benchmarks.items() if path.is_file()]


def _read(name: str, path: Path) -> StepTime:
    try:
        row = pd.read_csv(path, sep="\t").iloc[0]
        seconds = _not_negative(float(row["s"]))
        mebibytes = pd.to_numeric(str(row.get("max_rss")), errors="coerce")
        gibibytes = None if pd.isna(mebibytes) else _not_negative(float(mebibytes)) / 1024
    except (OSError, KeyError, IndexError, ValueError) as error:
        raise InputError(
            f"{path}: not a benchmark file of Snakemake ({error!r}); expected a table with the "
            "column 's', seconds from 0."
        ) from None
    return StepTime(re.sub(r"[_/]", " ", name), seconds, path.stat().st_mtime, gibibytes)


def _not_negative(number: float) -> float:
    if not 0 <= number < math.inf:
        raise ValueError(f"found {number}")
    return number


def seconds_by_kind(steps: Iterable[StepTime]) -> dict[str, tuple[int, float]]:
    """Number of steps of each kind and the sum of their seconds, the longest first."""
    found: dict[str, tuple[int, float]] = {}
    for step in steps:
        count, seconds = found.get(step.kind, (0, 0.0))
        found[step.kind] = count + 1, seconds + step.seconds
    return dict(sorted(found.items(), key=lambda kind: -kind[1][1]))


def busy_seconds(steps: Iterable[StepTime]) -> float:
    """Seconds during which at least one step ran: those of steps side by side count once.

    >>> side_by_side = [StepTime("a", 10, 10, None), StepTime("b", 10, 15, None)]
    >>> busy_seconds([*side_by_side, StepTime("c", 5, 100, None)])
    20.0
    """
    busy, until = 0.0, float("-inf")
    for start, end in sorted((step.ended - step.seconds, step.ended) for step in steps):
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    return busy


def in_words(seconds: float) -> str:
    """Print a time, to the second below a minute and to the minute above an hour.

    >>> in_words(42.4), in_words(150), in_words(7980)
    ('42 s', '2 min 30 s', '2 h 13 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"

"""Formatting of tables: numbers with errors, counts, and notes on the columns."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..folders.methods import display_name
from ..scoring.few_images import few_images, limited_note
from ..scoring.score_files import Score, identical_images, package_notes

FEW_FOR_FID = 10_000
"""Below this many images a note says that FID is biased. Heusel et al., who introduced it, ask for
10,000: with fewer it comes out too large by about a constant over N. (Below 2,049, the covariance
of Inception's 2,048 features is singular besides.)"""
MOST_DIGITS = 7
"""Behind the point: distances of the miniature's extractors may be of the order of 1e-4."""


def decimals(errors: Sequence[float | None]) -> int:
    """Digits worth printing: two of the middle standard error, 2 to `MOST_DIGITS` in all.

    Args:
        errors: standard errors of a column; None where there is none.
    """
    known = sorted(error for error in errors if error)
    if not known:
        return 2
    return min(MOST_DIGITS, max(2, 1 - math.floor(math.log10(known[len(known) // 2]))))


def number(value: float | None, se: float | None = None, digits: int = 2) -> str:
    """Print a number and its standard error; a dash for none.

    Args:
        value: the number; None prints a dash.
        se: its standard error, printed behind ±.
        digits: behind the point.
    """
    if value is None:
        return "–"
    error = "" if se is None else f" ± {se:.{digits}f}"
    return f"{value:.{digits}f}{error}"


def with_interval(row: Mapping[str, Any] | None, key: str, digits: int) -> str:
    """Print a number of a row and its interval; a dash for no row.

    Args:
        row: with the bounds under `low` and `high`, None if they are not known.
        key: of the number.
        digits: behind the point.
    """
    if row is None:
        return "–"
    if row["low"] is None:
        return number(row[key], None, digits)
    return f"{row[key]:.{digits}f} [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"


def count_samples(images: Mapping[str, Any], num_samples: int) -> str:
    """Describe the number of samples behind a table, and the number and size of their views.

    Args:
        images: what a score file says of the images.
        num_samples: of the table.
    """
    size = f"{images['width']}×{images['height']} px"
    if "num_views" in images:
        return f"N = {num_samples} samples of {images['num_views']} views, {size}"
    key_frames, between = images["num_key_frames"], images["num_between"]
    if num_samples == images["num_samples"]:
        frames = f" with {key_frames} key frames and {between} frames in between"
    else:
        frames = ""
    return f"N = {num_samples} sequences{frames}, {size}"


def column_notes(columns: Mapping[str, str], scores: Sequence[Score]) -> tuple[str, ...]:
    """Name protocol and extractor of every column, and warn of other packages and a small N."""
    notes = []
    for metric, title in columns.items():
        measured = next((s.metrics[metric] for s in scores if metric in s.metrics), None)
        if measured is not None:
            notes.append(f"{title}: protocol {measured.made_by}.")
    return (*notes, *notes_on_images(columns, scores))


def notes_on_images(metrics: Collection[str], scores: Sequence[Score]) -> tuple[str, ...]:
    """Say where packages differ, which images are wrong, and for which metrics they are too few.

    Args:
        metrics: of the table.
        scores: of all its methods.
    """
    num_images = scores[0].content["images"]["num_evaluated"]
    left_out = [_left_out(score) for score in scores if score.faults.undefined]
    left_out += [note for score in scores if (note := _without_value(score, metrics))]
    few = few_images(scores[0].content.get("protocols", {}), metrics)
    limited = [
        f"{display_name(score.method)}: {limited_note(score.content['limited'])}"
        for score in scores
        if score.limited
    ]
    of_all = (*limited, *identical_images(scores), *package_notes(scores))
    return (*of_all, *left_out, *few, *fid_notes(metrics, num_images))


def _left_out(score: Score) -> str:
    count, samples = len(score.faults.undefined), len(score.samples)
    return (
        f"{display_name(score.method)} is incomplete: in {count} of {samples} samples neighboring "
        "views are constant and have no consistency. Its consistency, and its differences from "
        "others in consistency, are those of the other samples; it is never called better in it."
    )


def _without_value(score: Score, metrics: Collection[str]) -> str:
    """Say which scores of single images a method lacks for some samples; empty if none."""
    lacking = {metric: score.left_out(metric) for metric in metrics if score.left_out(metric)}
    counts = [
        f"{metric} (in {count} of {len(score.samples)} samples)"
        for metric, count in lacking.items()
        if score.metrics[metric].extractor
    ]
    if not counts:
        return ""
    return (
        f"{display_name(score.method)} is incomplete in {', '.join(counts)}: an image of these "
        "samples has too little content for a value. Its numbers are those of the other samples; "
        "it is never called better in them."
    )


def fid_notes(metrics: Collection[str], num_images: int) -> tuple[str, ...]:
    """Warn of the bias of Fréchet distances if there are any, of fewer than `FEW_FOR_FID` images.

    Args:
        metrics: their names.
        num_images: that were evaluated.

    >>> fid_notes(["clip_score"], 12)
    ()
    """
    if num_images >= FEW_FOR_FID or not any(map(_is_frechet_distance, metrics)):
        return ()
    return (
        f"FID of {num_images} images is biased upwards (recommended: {FEW_FOR_FID}); it ranks the "
        "methods of one table and must not be compared with FID of another number of images.",
    )


def _is_frechet_distance(metric: str) -> bool:
    return "fid" in metric or "faed" in metric or metric.startswith("fd_")

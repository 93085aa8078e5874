"""What makes a score file worth believing: nothing in it was changed, and its numbers agree.

A score file ends in a hash of its own content, which any edit breaks. Beside that, each number must
follow from the values behind it. That of a whole set (FID) does not: its pseudo-values and
curvatures give its error alone, so length and error are what is checked.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from mvdiffusion.records import InputError, settings_sha256

from ..folders.faults import Faults
from ..metrics.measurement import Measurement
from ..statistics import mean_and_se, set_error

NEEDED = ("task", "method", "settings_sha256", "images", "metrics", "pairs", "extractors")
SEAL = "sha256"
ROUNDING = 1e-9
"""Relative difference of a number computed again, perhaps on another machine."""

AGAIN = "score the images again"


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Add the hash of a score file's content to it, in place of an earlier one.

    Raises:
        ValueError: a number is not finite.
    """
    rest = {key: value for key, value in content.items() if key != SEAL}
    return {**rest, SEAL: settings_sha256(rest)}


def check_content(path: Path, content: Any) -> None:
    """Refuse what is no score file, was changed, or contradicts itself.

    Raises:
        InputError: it is none, of another version or edited, or a number does not follow from the
            values behind it.
    """
    there = content if isinstance(content, Mapping) else {}
    if missing := [key for key in NEEDED if key not in there]:
        raise InputError(
            f"{path}: is not a score file (missing keys: {missing}); make one with "
            "`mvdiffusion-eval score`."
        )
    if SEAL not in content:
        raise InputError(f"{path}: is a score file of another version (no '{SEAL}'); {AGAIN}.")
    try:
        found = sealed(content)[SEAL]
    except ValueError:
        raise InputError(
            f"{path}: contains a number that is not finite; expected a file as `mvdiffusion-eval "
            f"score` wrote it; {AGAIN}."
        ) from None
    if found != content[SEAL]:
        raise InputError(
            f"{path}: was changed after it was written (its content has the sha256 "
            f"{found[:12]}…, expected {str(content[SEAL])[:12]!r}); {AGAIN}."
        )
    try:
        problems = list(_contradictions(content))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        problems = [f"has parts that `mvdiffusion-eval score` does not write ({error})"]
    for problem in problems:
        raise InputError(f"{path}: {problem}; {AGAIN}.")


def _contradictions(content: Mapping[str, Any]) -> Iterator[str]:
    images, keys = content["images"], {field.name for field in fields(Measurement)}
    Faults(**content.get("faults", {}))
    if len(images["samples"]) != images["num_samples"]:
        yield f"lists {len(images['samples'])} samples, but counts {images['num_samples']}"
    samples, groups = images["num_samples"], content["settings"]["jackknife_groups"]
    for metric, one in content["metrics"].items():
        if differ := sorted(keys ^ set(one)):
            yield f"is of another version ('{metric}' differs in the keys {', '.join(differ)})"
        measured = Measurement(**one)
        used = samples - measured.left_out  # which groups are made of
        counts = {"sample": samples, "group": min(groups, used), None: 0}
        if problem := _contradiction(measured, counts):
            yield f"'{metric}' {problem}"


def _contradiction(one: Measurement, counts: Mapping[str | None, int]) -> str:
    """What is wrong with a measurement, after its name; empty if nothing."""
    values = tuple(one.values or ())
    curvatures = one.curvatures or ()
    numbers = [one.value, *([] if one.se is None else [one.se]), *values, *curvatures]
    if not all(_is_number(number) for number in numbers if number is not None):
        return "has a value that is not a finite number"
    if one.values_per not in counts:
        return f"has values per '{one.values_per}', which is neither sample nor group"
    if len(values) != counts[one.values_per]:
        return f"has {len(values)} values; expected {counts[one.values_per]}"
    if len(curvatures) != (len(values) if one.values_per == "group" else 0):
        return f"has {len(curvatures)} curvatures, but {len(values)} values"
    without = one.left_out if one.values_per == "sample" else 0
    if values.count(None) != without:
        return f"lacks {values.count(None)} values; expected {without}"
    return _disagreement(one, [value for value in values if value is not None])


def _disagreement(one: Measurement, values: Sequence[float]) -> str:
    if not values:
        return ""
    mean, se = mean_and_se(np.array(values, dtype=np.float64))
    if one.values_per == "sample" and not _agree(one.value, mean, values):
        return f"is {one.value:g}, but the mean of its values is {mean:g}"
    if one.curvatures:
        se = set_error(np.array(values), np.array(one.curvatures))
    if (one.se is None) != (se is None) or not _agree(one.se or 0.0, se or 0.0, values):
        return f"has the standard error {one.se}, but its values have {se}"
    return ""


def _agree(stated: float, computed: float, values: Sequence[float]) -> bool:
    """Whether two numbers are equal up to the rounding of sums of these values."""
    return abs(stated - computed) <= ROUNDING * max(map(abs, values))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

"""Medals: how well an external method is known here, by its scores beside its paper's numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mvdiffusion.methods.specification import PaperResult, Specification

Medal = Literal["reproduced", "runs", "numbers on record"]


@dataclass(frozen=True)
class Comparison:
    """A number of a paper beside ours.

    Attributes:
        result: the paper's number.
        found: ours; None if it was not measured.
        why_not: why they cannot be compared; empty if they can.
    """

    result: PaperResult
    found: float | None = None
    why_not: str = ""

    @property
    def agrees(self) -> bool | None:
        """Whether ours is within the tolerance; None if they cannot be compared."""
        if self.why_not or self.found is None or self.result.tolerance is None:
            return None
        return abs(self.found - self.result.value) <= self.result.tolerance

    @property
    def words(self) -> str:
        """One line for a person."""
        result = self.result
        line = f"{result.metric} ({result.task}): {result.value:g} in {result.source}"
        if self.found is not None:
            line += f"; here {self.found:.4g}"
        if self.agrees is None:
            return f"{line}; not compared: {self.why_not}"
        verdict = "within" if self.agrees else "not within"
        return f"{line}; {verdict} {result.tolerance:g}"


def compare(specification: Specification, score: Mapping[str, Any] | None) -> list[Comparison]:
    """Put the numbers of a method's paper beside those of a score file.

    Args:
        specification: the method.
        score: content of the file; None if nothing was scored.
    """
    return [_compare(result, score) for result in specification.results]


def medal(score: Mapping[str, Any] | None, comparisons: Sequence[Comparison]) -> Medal:
    """Say how well a method is known here.

    Args:
        score: content of a score file; None if nothing was scored.
        comparisons: of its numbers with the paper's.

    Returns:
        "reproduced" if at least one number could be compared and all that could are within their
        tolerance; else "runs" if its images were scored; else "numbers on record".
    """
    if score is None:
        return "numbers on record"
    verdicts = [each.agrees for each in comparisons if each.agrees is not None]
    return "reproduced" if verdicts and all(verdicts) else "runs"


def _compare(result: PaperResult, score: Mapping[str, Any] | None) -> Comparison:
    if score is None or score["task"] != result.task:
        return Comparison(result, None, "no images of this task were scored")
    measured = score["metrics"].get(result.metric)
    found = measured and measured["value"]
    if result.protocol is None:
        return Comparison(result, found, "no protocol of the suite is known to be the paper's")
    if measured is None:
        return Comparison(result, None, f"'{result.metric}' was not measured")
    if measured["protocol"] != result.protocol:
        why = f"measured by the protocol {measured['protocol']}, not by {result.protocol}"
        return Comparison(result, found, why)
    count = score["images"]["num_samples"]
    if result.num_samples not in (None, count):
        return Comparison(result, found, f"of {count} samples, not of {result.num_samples}")
    return Comparison(result, found)

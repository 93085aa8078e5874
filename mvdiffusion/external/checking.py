"""Checking an external method: its scores beside the numbers of its paper, and a medal."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mvdiffusion.methods.specification import PaperResult, Specification
from mvdiffusion.records import InputError, read_json

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


def score_folder(generated: Path, output: Path, options: Sequence[str]) -> None:
    """Score a folder with the suite, in a process of its own.

    Args:
        generated: the folder.
        output: score file to write.
        options: further words of `mvdiffusion-eval score`.

    Raises:
        InputError: the suite refused.
    """
    words = ["--generated", str(generated), "--output", str(output), *options]
    command = [sys.executable, "-m", "mvdiffusion_eval", "score", *words]
    if subprocess.run(command, check=False).returncode:
        raise InputError(f"{generated}: could not be scored; the suite's reason stands above.")


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


def read_score(path: Path, specification: Specification) -> dict[str, Any]:
    """Read a score file of a method.

    Args:
        path: the file.
        specification: the method.

    Raises:
        InputError: it is missing, no score file, or of another method.
    """
    found = read_json(path)
    if not isinstance(found, dict) or not {"metrics", "method", "task"} <= set(found):
        raise InputError(f"{path}: no score file; expected what `mvdiffusion-eval score` writes.")
    if found["method"] != specification.method:
        raise InputError(
            f"{path}: its method is '{found['method']}'; expected '{specification.method}'."
        )
    return found


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

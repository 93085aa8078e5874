"""Score files: reading them, refusing those that must not share a table, and pairing them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mvdiffusion.records import InputError, read_json

from ..folders.methods import is_control, rank
from ..folders.samples import TASKS
from ..metrics.measurement import Measurement
from ..statistics import mean_and_se, student_interval

CONTROL_KEYS = ("num_views", "height", "width", "fov_deg", "yaw_deg", "given_views")
SAMPLE_KEYS = ("num_samples", "samples", "num_images", "geometry_sha256")
"""Properties that all methods of a table share; controls may cover fewer samples."""

NUMERIC_SETTINGS = ("jackknife_groups", "seed")
"""Settings that decide numbers and must be equal; other settings are in the protocols' names."""


@dataclass(frozen=True)
class Score:
    """One method's score file."""

    path: Path
    content: Mapping[str, Any]

    @property
    def task(self) -> str:
        """The task of the method."""
        return self.content["task"]

    @property
    def method(self) -> str:
        """Name of the method."""
        return self.content["method"]

    @property
    def is_control(self) -> bool:
        """Whether the method is only a control."""
        return is_control(self.method)

    @property
    def samples(self) -> list[str]:
        """Ids of the samples scored."""
        return self.content["images"]["samples"]

    @cached_property
    def metrics(self) -> Mapping[str, Measurement]:
        """Measurements by name."""
        return {name: Measurement(**one) for name, one in self.content["metrics"].items()}

    def interval(self, metric: str) -> tuple[float, float] | None:
        """Confidence interval of a measurement; None if a single sample is behind it.

        Raises:
            KeyError: it was not measured.
        """
        one = self.metrics[metric]
        # Quotients keep no values, but an error over the samples.
        return student_interval(one.value, one.se, len(one.values or self.samples))

    def row(self, metric: str) -> dict[str, Any]:
        """A measurement with its interval as a line of a table, without the values behind it."""
        one = self.metrics[metric]
        low, high = self.interval(metric) or (None, None)
        head = {"metric": metric, "method": self.method, "value": one.value, "se": one.se}
        about = ("unit", "higher_is_better", "protocol", "version", "extractor")
        return head | {"low": low, "high": high} | {key: getattr(one, key) for key in about}

    def values(self, metric: str, samples: Sequence[str]) -> np.ndarray:
        """The values behind a metric, for these samples (or per jackknife group of all).

        Raises:
            KeyError: the metric was not measured, or is not stored by sample.
        """
        measurement = self.metrics[metric]
        if measurement.values is None:
            raise KeyError(metric)
        values = np.array(measurement.values)
        if measurement.values_per == "sample":
            position = {sample: i for i, sample in enumerate(self.samples)}
            return values[[position[sample] for sample in samples]]
        if list(samples) != self.samples:
            raise KeyError(metric)
        return values


TaskScores = dict[str, dict[str, Score]]
"""Scores by task, then by method."""


def read_scores(
    paths: Sequence[str | Path], settings_sha256: Mapping[str, str] | None = None
) -> TaskScores:
    """Read score files and refuse those that do not belong together.

    Args:
        paths: score files, one per task and method.
        settings_sha256: hash that every file of a task must have; without one, the files of a
            task need only agree.

    Returns:
        Scores by task, in the order of `TASKS`, then by method, in the order of `methods`.

    Raises:
        InputError: outdated settings, other samples, another protocol or another extractor.
    """
    scores = [read_score(path) for path in paths]
    by_task = {task: [score for score in scores if score.task == task] for task in TASKS}
    expected = settings_sha256 or {}
    if unused := [task for task in expected if not by_task.get(task)]:
        raise InputError(f"--settings-sha256: there are no scores of the task '{unused[0]}'.")
    return {
        task: _comparable(of_task, expected.get(task))
        for task, of_task in by_task.items()
        if of_task
    }


def _comparable(scores: Sequence[Score], settings_sha256: str | None) -> dict[str, Score]:
    """Check that the scores of a task can be compared, and order them by method."""
    _check_settings(scores, settings_sha256)
    check_comparable(scores)
    ranked = sorted(scores, key=lambda score: (rank(score.method), score.method))
    return {score.method: score for score in ranked}


def check_comparable(scores: Sequence[Score]) -> None:
    """Refuse scores of one task that do not belong in one table, however their images were made.

    Raises:
        InputError: two of one method, other samples or real views, another protocol or extractor.
    """
    _check_methods(scores)
    first = next((score for score in scores if not score.is_control), scores[0])
    for score in scores:
        _check_images(score, first)
        _check_reference(score, first)
        _check_numeric_settings(score, first)
        for metric in sorted(score.metrics.keys() & first.metrics.keys()):
            _check_same_protocol(score, first, metric)


def read_score(path: str | Path) -> Score:
    """Read one score file.

    Raises:
        InputError: it is missing, or is not a score file.
    """
    score = Score(Path(path), read_json(path))
    _check_complete(score)
    return score


def _check_complete(score: Score) -> None:
    if not isinstance(score.content, Mapping):
        raise InputError(
            f"{score.path}: is not a score file (it contains no mapping); make one with "
            "`mvdiffusion-eval score`."
        )
    needed = ("task", "method", "settings_sha256", "images", "metrics", "pairs", "extractors")
    missing = [key for key in needed if key not in score.content]
    if missing:
        raise InputError(
            f"{score.path}: is not a score file (missing keys: {missing}); make one with "
            "`mvdiffusion-eval score`."
        )
    try:
        _ = score.metrics
    except TypeError as error:
        raise InputError(
            f"{score.path}: measurements of another version ({error}); score the images again."
        ) from None
    if score.task not in TASKS:
        raise InputError(f"{score.path}: unknown task '{score.task}'; known: {', '.join(TASKS)}.")


def _check_settings(scores: Sequence[Score], expected: str | None) -> None:
    expected = expected or scores[0].content["settings_sha256"]
    for score in scores:
        actual = score.content["settings_sha256"]
        if actual != expected:
            raise InputError(
                f"{score.path}: its images were generated with settings {str(actual)[:12]}…, "
                f"expected {str(expected)[:12]}…; the scores are outdated: generate and score "
                f"'{score.method}' again."
            )


def _check_methods(scores: Sequence[Score]) -> None:
    seen: dict[str, Path] = {}
    for score in scores:
        if score.method in seen:
            raise InputError(
                f"{score.path}: scores '{score.method}', and so does {seen[score.method]}; give "
                "one score file per task and method."
            )
        seen[score.method] = score.path


def _check_images(score: Score, first: Score) -> None:
    ours, theirs = score.content["images"], first.content["images"]
    for key in CONTROL_KEYS if score.is_control else (*CONTROL_KEYS, *SAMPLE_KEYS):
        if ours.get(key) != theirs.get(key):
            raise InputError(
                f"{score.path}: {key} is {_short(ours.get(key))}, but {_short(theirs.get(key))} in "
                f"{first.path}; score the same samples for every method of a table."
            )
    if score.is_control and not set(score.samples) <= set(first.samples):
        raise InputError(
            f"{score.path}: has samples that {first.path} lacks; score the same samples."
        )


def _check_reference(score: Score, first: Score) -> None:
    ours, theirs = ((s.content.get("reference") or {}).get("sha256") for s in (score, first))
    if not score.is_control and ours and theirs and ours != theirs:
        raise InputError(
            f"{score.path}: was compared with other real views (sha256 {ours[:12]}…) than "
            f"{first.path} ({theirs[:12]}…); give both the same --reference."
        )


def _check_numeric_settings(score: Score, first: Score) -> None:
    ours, theirs = (s.content.get("settings", {}) for s in (score, first))
    for key in NUMERIC_SETTINGS:
        if ours.get(key) != theirs.get(key):
            raise InputError(
                f"{score.path}: was scored with {key} {ours.get(key)}, but {first.path} with "
                f"{theirs.get(key)}; score both again with the same settings."
            )


def _check_same_protocol(score: Score, first: Score, metric: str) -> None:
    for key in ("protocol", "version", "extractor"):
        ours, theirs = (getattr(one.metrics[metric], key) for one in (score, first))
        if ours != theirs:
            raise InputError(
                f"{score.path}: {metric} has {key} {ours}, but {theirs} in {first.path}; numbers "
                "of different protocols or extractors are never put in one table: score both in "
                "the same way."
            )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "…"


@dataclass(frozen=True)
class Pairs:
    """Values of one metric by two methods, on the same samples [N] or jackknife groups [G].

    Attributes:
        difference: of the two metrics; where values are per sample, the mean of their differences.
        differences: first minus second, one by one.
        of_sets: whether they are pseudo-values of a whole set, by group, instead of by sample.
    """

    difference: float
    differences: np.ndarray
    of_sets: bool

    @property
    def se(self) -> float | None:
        """Standard error of the difference."""
        return mean_and_se(self.differences)[1]


def pairs_of(first: Score, second: Score, metric: str) -> Pairs:
    """Pair a metric of two methods over their common samples.

    Raises:
        KeyError: the metric is not measured for both, or cannot be paired.
    """
    common = common_samples([first, second])
    ours, theirs = first.values(metric, common), second.values(metric, common)
    one, other = first.metrics[metric], second.metrics[metric]
    if ours.shape != theirs.shape or one.values_per != other.values_per:
        raise KeyError(metric)
    # Pseudo-values carry the error; the difference itself is that of the two statistics.
    of_sets = one.values_per == "group"
    difference = one.value - other.value if of_sets else float((ours - theirs).mean())
    return Pairs(difference, ours - theirs, of_sets)


def paired_difference(first: Score, second: Score, metric: str) -> tuple[float, float | None]:
    """Mean of `first - second` over the common samples, with its standard error.

    Raises:
        KeyError: the metric is not measured for both, or cannot be paired.
    """
    pairs = pairs_of(first, second, metric)
    return pairs.difference, pairs.se


def common_samples(scores: Sequence[Score]) -> list[str]:
    """Samples that all of the scores have, in order.

    Raises:
        InputError: there are none.
    """
    common = set.intersection(*(set(score.samples) for score in scores))
    if not common:
        raise InputError(f"{scores[0].path} and {scores[-1].path} have no sample in common.")
    return sorted(common)

"""Score files: reading them, refusing those that must not share a table, and pairing them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mvdiffusion.records import InputError, read_json

from ..folders.faults import Faults
from ..folders.methods import REAL, rank, shown_as
from ..folders.samples import TASKS
from ..functional.psnr import MAX_PSNR_DB
from ..metrics.measurement import Measurement
from ..statistics import mean_and_se, set_error, student_interval
from .verification import check_content

VIEW_KEYS = ("num_views", "height", "width", "fov_deg", "yaw_deg", "given_views", "cut_from")
SAMPLE_KEYS = ("num_samples", "samples", "num_images", "geometry_sha256")
"""Properties that all methods of a table share; controls may cover fewer samples. Views cut from a
smaller panorama (`cut_from`) are smoother, and agree better with one another for that alone."""

SAME_PANORAMAS = (
    "compare panoramas of one size (--panorama-height), or views that were not cut from any"
)

NUMERIC_PACKAGES = (
    *("clean-fid", "numpy", "open-clip-torch", "opencv-python-headless", "pillow", "scipy"),
    *("timm", "torch", "torch-fidelity", "torchmetrics", "torchvision", "transformers"),
)
"""Packages that compute something of a score. A table says where they differ; an extractor's own,
which decide what it computes, must be equal."""

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
        return shown_as(self.method).role == "control"

    @property
    def is_ablation(self) -> bool:
        """Whether the method is another one with one thing changed."""
        return shown_as(self.method).role == "ablation"

    @property
    def is_real(self) -> bool:
        """Whether the images are the real ones that they were compared with, or named so."""
        reference = self.content.get("reference") or {}
        same = reference.get("sha256") == self.content["images"].get("sha256", "")
        return same or self.method == REAL.name

    @property
    def limited(self) -> str:
        """How many of its samples were scored, in words; empty if all were."""
        limited = self.content.get("limited")
        return f"{limited['to']} of {limited['of']} samples" if limited else ""

    @property
    def samples(self) -> list[str]:
        """Ids of the samples scored."""
        return self.content["images"]["samples"]

    @property
    def faults(self) -> Faults:
        """Degenerate images among those that were scored."""
        return Faults(**self.content.get("faults", {}))

    def left_out(self, metric: str) -> int:
        """Number of samples that a metric leaves out; the method is incomplete if there are any."""
        return self.metrics[metric].left_out if metric in self.metrics else 0

    @cached_property
    def metrics(self) -> Mapping[str, Measurement]:
        """Measurements by name."""
        return {name: Measurement(**one) for name, one in self.content["metrics"].items()}

    def row(self, metric: str) -> dict[str, Any]:
        """A measurement with its interval as a line of a table, without the values behind it."""
        one = self.metrics[metric]
        low, high = self.interval(metric) or (None, None)
        head = {"metric": metric, "method": self.method, "value": one.value, "se": one.se}
        about = ("unit", "higher_is_better", "protocol", "version", "extractor")
        return head | {"low": low, "high": high} | {key: getattr(one, key) for key in about}

    def interval(self, metric: str) -> tuple[float, float] | None:
        """Confidence interval of a measurement, cut off at what PSNR can be; None if unknown."""
        one = self.metrics[metric]
        # Quotients keep no values, but an error over the samples; groups are of those not left out.
        count = len(one.values or self.samples)
        count -= one.left_out if one.values_per != "group" else 0
        most = MAX_PSNR_DB if one.unit == "dB" else math.inf
        return student_interval(one.value, one.se, count, most)

    def values(self, metric: str, samples: Sequence[str]) -> np.ndarray:
        """The values behind a metric, for these samples (or per group of all).

        Those of samples that are left out are NaN.

        Raises:
            KeyError: the metric was not measured, or is not stored by sample, or by groups of
                other samples.
        """
        measurement = self.metrics[metric]
        if measurement.values is None:
            raise KeyError(metric)
        values = np.array(measurement.values, dtype=np.float64)
        if measurement.values_per == "sample":
            position = {sample: i for i, sample in enumerate(self.samples)}
            return values[[position[sample] for sample in samples]]
        if list(samples) != self.samples or measurement.left_out:
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
    by_task = {task: of_task for task, of_task in by_task.items() if of_task}
    for task, of_task in by_task.items():
        _check_settings(of_task, expected.get(task))
        check_comparable(of_task)
        of_task.sort(key=lambda score: (rank(score.method), score.method))
    return {task: {score.method: score for score in of_task} for task, of_task in by_task.items()}


def compared_scores(scores: Iterable[Score]) -> list[Score]:
    """Pick the scores that main tables and figures compare; of controls alone, all of them."""
    known = list(scores)
    return [one for one in known if not (one.is_control or one.is_ablation)] or known


def check_comparable(scores: Sequence[Score]) -> None:
    """Refuse scores of one task that do not belong in one table, however their images were made.

    Raises:
        InputError: two of one method, other samples or real views, another protocol or extractor.
    """
    first = next((score for score in scores if not score.is_control), scores[0])
    seen: dict[str, Path] = {}
    for score in scores:
        if (other := seen.setdefault(score.method, score.path)) is not score.path:
            raise InputError(
                f"{score.path}: scores '{score.method}', and so does {other}; give one score file "
                "per task and method."
            )
        for found, fix in _disagreements(score, first):
            raise InputError(f"{score.path}: {found}; {fix}.")


def identical_images(scores: Sequence[Score]) -> list[str]:
    """Say which methods have the same images, pixel for pixel; one name of them is wrong."""
    named: dict[str, list[str]] = {}
    for score in scores:
        if digest := score.faults.pixels_sha256:
            named.setdefault(digest, []).append(f"'{score.method}'")
    return [
        f"{' and '.join(names)} have identical images (their pixels have the sha256 "
        f"{digest[:12]}…): their numbers are of one method; check that every folder holds what its "
        "name says."
        for digest, names in named.items()
        if len(names) > 1
    ]


def read_score(path: str | Path) -> Score:
    """Read one score file.

    Raises:
        InputError: it is missing, or is not a score file, or one of another version, or it was
            changed after it was written.
    """
    return checked_score(Path(path), read_json(path))


def checked_score(path: Path, content: Any) -> Score:
    """Check what was read of a score file, wherever it was read from.

    Args:
        path: names it in messages.
        content: as JSON has it.

    Raises:
        InputError: as `read_score` does.
    """
    score = Score(path, content)
    check_content(score.path, score.content)
    if score.task not in TASKS:
        raise InputError(f"{path}: unknown task {score.task!r}; known: {', '.join(TASKS)}.")
    return score


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


def _disagreements(score: Score, first: Score) -> Iterator[tuple[str, str]]:
    """What keeps two scores out of one table: each time what was found, and how to fix it."""
    yield from image_disagreements(score, first, may_cover_fewer=score.is_control)
    for metric in sorted(score.metrics.keys() & first.metrics.keys()):
        yield from metric_disagreements(metric, score, first)


def image_disagreements(
    score: Score, first: Score, may_cover_fewer: bool = False
) -> Iterator[tuple[str, str]]:
    """How the images of two scores of one task differ, so that no numbers of theirs compare.

    Args:
        score: one of them.
        first: the other one, which messages name by its path.
        may_cover_fewer: whether the samples of `score` may be some of the other's, whose metrics
            then compare only sample by sample.

    Yields:
        What was found, and how to fix it.
    """
    ours, theirs = (each.content["images"] for each in (score, first))
    for key in VIEW_KEYS if may_cover_fewer else (*VIEW_KEYS, *SAMPLE_KEYS):
        if ours.get(key) != theirs.get(key):
            found = f"{key} is {_short(ours.get(key))}, but {_short(theirs.get(key))}"
            same = "score the same samples for every method of a table"
            yield f"{found} in {first.path}", SAME_PANORAMAS if key == "cut_from" else same
    if may_cover_fewer and not set(score.samples) <= set(first.samples):
        yield f"has samples that {first.path} lacks", "score the same samples"
    one, other = ((s.content.get("reference") or {}).get("sha256") for s in (score, first))
    if not may_cover_fewer and one and other and one != other:
        found = f"was compared with other real views (sha256 {one[:12]}…) than"
        yield f"{found} {first.path} ({other[:12]}…)", "give both the same --reference"
    ours, theirs = (each.content.get("settings", {}) for each in (score, first))
    for key in NUMERIC_SETTINGS:
        if ours.get(key) != theirs.get(key):
            found = f"was scored with {key} {ours.get(key)}, but {first.path} with"
            yield f"{found} {theirs.get(key)}", "score both again with the same settings"


def metric_disagreements(metric: str, score: Score, first: Score) -> Iterator[tuple[str, str]]:
    """How a metric that two scores have was measured differently.

    Args:
        metric: its name.
        score: one of them.
        first: the other one, which messages name by its path.

    Yields:
        What was found, and how to fix it.
    """
    for key in ("protocol", "version", "extractor", "unit", "higher_is_better"):
        one, other = (getattr(each.metrics[metric], key) for each in (score, first))
        if one != other:
            yield (
                f"{metric} has {key} {one}, but {other} in {first.path}",
                "numbers of different protocols or extractors are never put in one table: "
                "score both in the same way",
            )
    yield from _extractor_differences(metric, score, first)


def _extractor_differences(metric: str, score: Score, first: Score) -> Iterator[tuple[str, str]]:
    """How the extractors of two scores differ, although their weights are the same."""
    name = score.metrics[metric].extractor
    ours, theirs = (dict(s.content["extractors"].get(name, {})) for s in (score, first))
    for about in (ours, theirs):
        about |= about.pop("packages", {})
        about.pop("weights_sha256", None)  # the name has its first digits, in older files alone
    for key in sorted(ours.keys() | theirs.keys()):
        one, other = (_short(about.get(key, "unknown")) for about in (ours, theirs))
        if one != other:
            found = f"{metric} is by {name} with {key} {one}, but {other}"
            fix = "score both with the same packages, of the versions that one of them names"
            yield f"{found} in {first.path}", fix


def as_stored(value: Any) -> Any:
    """The value as a score file gives it back: lists instead of tuples."""
    return json.loads(json.dumps(value))


def package_notes(scores: Sequence[Score]) -> tuple[str, ...]:
    """Say which of the packages behind all numbers differ between scores, and what they may do.

    Args:
        scores: comparable ones; packages that decide what an extractor computes are the same.
    """
    used: dict[str, dict[str, list[str]]] = {name: {} for name in NUMERIC_PACKAGES}
    for score in scores:
        packages = score.content.get("provenance", {}).get("packages", {})
        for name, by_version in used.items():
            if version := packages.get(name):  # a package that was not there computed nothing
                by_version.setdefault(version, []).append(shown_as(score.method).title)
    differ = [
        f"{name} " + ", ".join(f"{version} ({', '.join(by)})" for version, by in made.items())
        for name, made in used.items()
        if len(made) > 1
    ]
    if not differ:
        return ()
    return (
        f"Scored with different versions of packages: {'; '.join(differ)}. Small differences may "
        "come from these; score all methods in one environment to rule that out.",
    )


def _short(value: Any) -> str:
    text = "none" if value is None else json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "…"


@dataclass(frozen=True)
class Pairs:
    """Values of one metric by two methods, on the same samples [N] or groups of samples [G].

    Attributes:
        difference: of the two metrics; where values are per sample, the mean of their differences.
        differences: first minus second, one by one.
        curvatures: first minus second [G], if they are pseudo-values of a whole set, by group.
    """

    difference: float
    differences: np.ndarray
    curvatures: np.ndarray | None = None

    @property
    def of_sets(self) -> bool:
        """Whether they are of a whole set, by group, instead of by sample."""
        return self.curvatures is not None

    @property
    def se(self) -> float | None:
        """Standard error of the difference."""
        if self.curvatures is not None:
            return set_error(self.differences, self.curvatures)
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
    if one.curvatures is not None and other.curvatures is not None:
        # Pseudo-values carry the error; the difference itself is that of the two statistics.
        bends = np.subtract(one.curvatures, other.curvatures)
        return Pairs(one.value - other.value, ours - theirs, bends)
    differences = ours - theirs
    differences = differences[np.isfinite(differences)]  # without the samples that are left out
    if not len(differences):
        raise KeyError(metric)
    return Pairs(float(differences.mean()), differences)


def common_samples(scores: Sequence[Score]) -> list[str]:
    """Samples that all of the scores have, in order.

    Raises:
        InputError: there are none.
    """
    common = set.intersection(*(set(score.samples) for score in scores))
    if not common:
        raise InputError(f"{scores[0].path} and {scores[-1].path} have no sample in common.")
    return sorted(common)

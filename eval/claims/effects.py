"""Measured quantities with standard error, 95 % interval and, where they have one, effect size.

Intervals are Student's: so many standard errors either way as so few samples, or jackknife groups,
ask for. The effect size is Cohen's d_z, the mean of paired differences (or of slopes, which are
differences too) over their standard deviation between samples. Statistics of a whole set have
pseudo-values, whose spread is no spread between samples: they have an interval and no effect size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..intervals import interval_by_t
from ..scoring.score_files import Score, common_samples, paired_difference, paired_ratio
from ..statistics import mean_and_se


@dataclass(frozen=True)
class Effect:
    """A measured quantity.

    Attributes:
        se: its standard error; None if there are too few samples for one.
        interval: lower and upper bound that hold the true value with probability
            `intervals.CONFIDENCE`.
        size: its effect size.
    """

    value: float
    se: float | None
    interval: tuple[float, float] | None = None
    size: float | None = None

    def __neg__(self) -> Effect:
        """The same with the other sign."""
        interval = None if self.interval is None else (-self.interval[1], -self.interval[0])
        return Effect(-self.value, self.se, interval, None if self.size is None else -self.size)


def student_interval(value: float, se: float | None, count: int) -> tuple[float, float] | None:
    """Bounds of a value whose standard error comes of `count` samples or groups; see `intervals`.

    >>> [round(bound, 3) for bound in student_interval(1.0, 0.5, 3)]
    [-1.151, 3.151]
    """
    found = interval_by_t(value, se, count, "Student's t")
    return (found.low, found.high) if found else None


def effect_size(differences: np.ndarray) -> float | None:
    """Cohen's d_z of paired differences [N]; None for N = 1 or if all agree up to rounding.

    >>> effect_size(np.array([1.0, 2.0, 3.0]))
    2.0
    """
    if len(differences) < 2:
        return None
    mean, spread = float(differences.mean()), float(differences.std(ddof=1))
    return mean / spread if spread > 1e-9 * abs(mean) else None


def difference_of(differences: np.ndarray) -> Effect:
    """Mean of differences [N], one per sample."""
    mean, se = mean_and_se(differences)
    return Effect(mean, se, student_interval(mean, se, len(differences)), effect_size(differences))


def level_of(values: np.ndarray) -> Effect:
    """Mean of values [N] that are no differences, one per sample: no effect size."""
    mean, se = mean_and_se(values)
    return Effect(mean, se, student_interval(mean, se, len(values)))


def difference_between(first: Score, second: Score, metric: str) -> Effect:
    """How far a metric of `first` is above that of `second`, on the samples both have.

    Raises:
        KeyError: the metric is not measured for both, or cannot be paired.
    """
    value, se = paired_difference(first, second, metric)
    common = common_samples([first, second])
    differences = first.values(metric, common) - second.values(metric, common)
    per_sample = first.metrics[metric]["values_per"] == "sample"
    size = effect_size(differences) if per_sample else None
    return Effect(value, se, student_interval(value, se, len(differences)), size)


def ratio_between(first: Score, second: Score, metric: str) -> Effect:
    """Ratio of two means over the samples both have; effect size of their difference.

    Raises:
        KeyError: the metric is not measured for both.
    """
    value, se = paired_ratio(first, second, metric)
    common = common_samples([first, second])
    differences = first.values(metric, common) - second.values(metric, common)
    interval = student_interval(value, se, len(common))
    return Effect(value, se, interval, effect_size(differences))


def slope_of(score: Score, metric: str) -> Effect:
    """A slope that a score file holds: of every sample, or of a whole set.

    Raises:
        KeyError: it was not measured.
    """
    measurement = score.metrics[metric]
    value, se = measurement["value"], measurement["se"]
    if measurement["values"] is None:
        return Effect(value, se)
    values = np.array(measurement["values"])
    per_sample = measurement["values_per"] == "sample"
    size = effect_size(values) if per_sample else None
    return Effect(value, se, student_interval(value, se, len(values)), size)

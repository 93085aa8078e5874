"""Measured quantities with standard error, 95 % interval and, where they have one, effect size.

The effect size is Cohen's d_z, the mean of paired differences (or of slopes, which are
differences too) over their standard deviation between samples. Statistics of a whole set have
pseudo-values, whose spread is no spread between samples: they have an interval and no effect size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..scoring.score_files import Score, common_samples, paired_ratio, pairs_of
from ..statistics import mean_and_se, student_interval


@dataclass(frozen=True)
class Effect:
    """A measured quantity.

    Attributes:
        se: its standard error; None if there are too few samples for one.
        interval: lower and upper bound that hold the true value with probability
            `statistics.CONFIDENCE`.
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


def effect_size(differences: np.ndarray) -> float | None:
    """Cohen's d_z of paired differences [N]; None for N = 1 or if all agree up to rounding.

    >>> effect_size(np.array([1.0, 2.0, 3.0]))
    2.0
    """
    if len(differences) < 2:
        return None
    mean, spread = float(differences.mean()), float(differences.std(ddof=1))
    return mean / spread if spread > 1e-9 * abs(mean) else None


def interval_of(score: Score, metric: str) -> tuple[float, float] | None:
    """Confidence interval of one measurement; None if a single sample is behind it.

    Args:
        score: a method's scores.
        metric: name of the measurement. Quotients keep no values, but an error over the samples.

    Raises:
        KeyError: it was not measured.
    """
    measured = score.metrics[metric]
    count = len(score.samples if measured.values is None else measured.values)
    return student_interval(measured.value, measured.se, count)


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
    pairs = pairs_of(first, second, metric)
    size = None if pairs.of_sets else effect_size(pairs.differences)
    interval = student_interval(pairs.difference, pairs.se, len(pairs.differences))
    return Effect(pairs.difference, pairs.se, interval, size)


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
    slope = score.metrics[metric]
    if slope.values is None:
        return Effect(slope.value, slope.se)
    values = np.array(slope.values)
    size = effect_size(values) if slope.values_per == "sample" else None
    return Effect(slope.value, slope.se, interval_of(score, metric), size)

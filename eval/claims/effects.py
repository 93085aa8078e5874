"""Measured quantities with standard error, 95 % interval and, where they have one, effect size.

The effect size is Cohen's d_z, the mean of paired differences over their standard deviation between
samples. Statistics of a whole set have pseudo-values, whose spread is no spread between samples:
they have an interval and no effect size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..scoring.score_files import Score, common_samples, pairs_of
from ..statistics import mean_and_se, ratio_of_means, student_interval


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
        size = None if self.size is None else -self.size
        return Effect(0.0 - self.value, self.se, interval, size)


def effect_size(differences: np.ndarray) -> float | None:
    """Cohen's d_z of paired differences [N]; None for N = 1 or if all agree up to rounding.

    >>> effect_size(np.array([1.0, 2.0, 3.0]))
    2.0
    """
    if len(differences) < 2:
        return None
    mean, spread = float(differences.mean()), float(differences.std(ddof=1))
    return mean / spread if spread > 1e-9 * abs(mean) else None


def _effect(
    value: float, se: float | None, count: int, differences: np.ndarray | None = None
) -> Effect:
    """An effect with its interval; its size is that of the differences [N], if it is one."""
    size = None if differences is None else effect_size(differences)
    return Effect(value, se, student_interval(value, se, count), size)


def level_of(score: Score, metric: str) -> Effect:
    """A measured level as it is stored. It is no difference: no effect size.

    Raises:
        KeyError: it was not measured.
    """
    level = score.metrics[metric]
    return Effect(level.value, level.se, score.interval(metric))


def others_minus_closing(score: Score, metric: str) -> Effect:
    """How far a metric of the pairs that do not close the loop is above that of the closing pair.

    Raises:
        KeyError: it was not measured by sample.
    """
    others = score.values(f"{metric}_non_closing", score.samples)
    return difference_of(others - score.values(f"{metric}_closing", score.samples))


def difference_of(differences: np.ndarray) -> Effect:
    """Mean of differences [N], one per sample; NaN for those that are left out."""
    differences = differences[np.isfinite(differences)]
    return _effect(*mean_and_se(differences), len(differences), differences)


def difference_between(first: Score, second: Score, metric: str) -> Effect:
    """How far a metric of `first` is above that of `second`, on the samples both have.

    Raises:
        KeyError: the metric is not measured for both, or cannot be paired.
    """
    pairs = pairs_of(first, second, metric)
    by_sample = None if pairs.of_sets else pairs.differences
    return _effect(pairs.difference, pairs.se, len(pairs.differences), by_sample)


def ratio_between(first: Score, second: Score, metric: str) -> Effect:
    """Ratio of two means over the samples both have; effect size of their difference.

    Raises:
        KeyError: the metric is not measured for both.
    """
    common = common_samples([first, second])
    ours, theirs = first.values(metric, common), second.values(metric, common)
    return _effect(*ratio_of_means(ours, theirs), len(common), ours - theirs)

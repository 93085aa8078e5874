"""Standard errors, confidence intervals and tests: the definition of "±", "95 %" and "p".

The unit is always the sample (a panorama, a sequence), never a view: the views of one sample
depend on each other. A metric of a whole set, such as FID, has no value per sample; the
pseudo-values of its jackknife take their place.

Every interval is Student's t around a value with its standard error. A bootstrap (BCa) would follow
the skew of a mean, but with the 10 or 20 samples of small evaluations it is too narrow, and it has
no counterpart for jackknife groups and quotients. Student's t serves all three, and the claims'
verdicts follow from the same intervals.

The errors of differences between two Fréchet or kernel distances are on the safe side: where two
methods do not differ, those of the jackknife are 1.3 to 1.5 times the true spread (such a statistic
is nearly quadratic there), so that p < 0.05 comes in up to 3 % of cases instead of 5 %. Where they
differ, errors are right within 10 %. Verdicts are safe, and differences near zero are found later.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy import stats

Statistic = TypeVar("Statistic", float, np.ndarray)

SIGNIFICANCE = 0.05
CONFIDENCE = 1 - SIGNIFICANCE

RESAMPLES = 9999
"""Random patterns of signs of a test; all of them where there are fewer."""

SEED = 0
"""Seed of random draws: equal values give equal p-values."""

DRAWN_AT_ONCE = 100
"""Patterns held in memory together."""

MANY_SAMPLES = 2_000
"""From here on Student's t is used: means are nearly normal, and drawing would take seconds."""


@dataclass(frozen=True)
class Test:
    """The probability of a difference at least as large if there is none, and how it was found."""

    p_value: float
    method: str


def mean_and_se(values: np.ndarray) -> tuple[float, float | None]:
    """Mean and its standard error over independent values [N]; no error for N = 1.

    >>> mean_and_se(np.array([1.0, 3.0]))
    (2.0, 1.0)
    """
    if len(values) < 2:
        return float(values.mean()), None
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def ratio_of_means(numerator: np.ndarray, denominator: np.ndarray) -> tuple[float, float | None]:
    """Ratio of two paired means, with the standard error of its linearization.

    Args:
        numerator: values [N], one per sample.
        denominator: values [N] of the same samples.

    >>> ratio_of_means(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0]))
    (0.5, 0.0)
    """
    ratio = float(numerator.mean() / denominator.mean())
    _, se = mean_and_se((numerator - ratio * denominator) / denominator.mean())
    return ratio, se


def slope(values: np.ndarray) -> np.ndarray:
    """Least-squares slope of values [..., N] against 0 … N - 1, N ≥ 2.

    >>> slope(np.array([[1.0, 3.0, 5.0], [2.0, 2.0, 2.0]])).tolist()
    [2.0, 0.0]
    """
    steps = np.arange(values.shape[-1]) - (values.shape[-1] - 1) / 2
    return values @ steps / np.square(steps).sum()


def jackknife(
    statistic: Callable[[np.ndarray], Statistic], num_samples: int, num_groups: int
) -> tuple[Statistic, np.ndarray]:
    """Delete-one-group jackknife, for statistics of a whole set such as FID.

    Deterministic, and paired between methods that score the same samples: the standard error of a
    difference is that of the difference of the pseudo-values.

    Args:
        statistic: maps indices of the samples kept to a number, or to several numbers [K].
        num_samples: N, at least 1.
        num_groups: at most this many groups; sample i is in group i mod groups.

    Returns:
        The statistic of all samples and the pseudo-values [groups] or [groups, K] whose standard
        error over groups is its standard error.
    """
    everything = np.arange(num_samples)
    groups = min(num_groups, num_samples)
    whole = statistic(everything)
    if groups < 2:
        return whole, np.array([whole])
    partial = [statistic(everything[everything % groups != group]) for group in range(groups)]
    return whole, groups * whole - (groups - 1) * np.array(partial)


def student_interval(
    value: float, se: float | None, count: int, most: float = math.inf
) -> tuple[float, float] | None:
    """Bounds that hold the true value with probability `CONFIDENCE`.

    Args:
        value: the estimate.
        se: its standard error; None if there is none.
        count: samples or jackknife groups that the standard error comes from.
        most: the largest value that there is; the interval ends there.

    Returns:
        Lower and upper bound; None without a standard error.

    >>> [round(bound, 3) for bound in student_interval(1.0, 0.5, 3)]
    [-1.151, 3.151]
    """
    if se is None or count < 2:
        return None
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * se
    return value - reach, min(value + reach, most)


def sign_flip_test(differences: np.ndarray) -> Test | None:
    """Test whether paired differences [N] have mean 0: if so, each sign is as likely as the other.

    Exact up to N = 13, by `RESAMPLES` random flips beyond; two-sided. None for N = 1, where no
    outcome could be unlikely.
    """
    if len(differences) < 2:
        return None
    if len(differences) >= MANY_SAMPLES:
        return t_test(*mean_and_se(differences), len(differences))
    result = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        n_resamples=RESAMPLES,
        batch=DRAWN_AT_ONCE,
        random_state=np.random.default_rng(SEED),
    )
    return Test(float(result.pvalue), "sign flips")


def t_test(difference: float, se: float | None, count: int) -> Test | None:
    """Test whether a difference is 0.

    Args:
        difference: the estimate.
        se: its standard error; None if there is none, and then no test.
        count: samples or jackknife groups that the standard error comes from.
    """
    if se is None or count < 2:
        return None
    if se == 0:
        return Test(1.0 if difference == 0 else 0.0, "Student's t")
    return Test(float(2 * stats.t.sf(abs(difference) / se, count - 1)), "Student's t")


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for multiple comparisons (Holm 1979); none gets smaller, none exceeds 1.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    # The smallest of m p-values is multiplied by m, the next by m - 1, …; none may overtake.
    factors = len(p_values) - np.arange(len(p_values))
    adjusted = np.minimum(np.maximum.accumulate(factors * np.array(p_values)[order]), 1.0)
    return adjusted[np.argsort(order, kind="stable")].tolist()

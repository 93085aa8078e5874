"""Standard errors, confidence intervals and tests: the definition of "±", "95 %" and "p".

The unit is always the sample (a panorama, a sequence), never a view: the views of one sample
depend on each other. A metric of a whole set, such as FID, has no value per sample; the
pseudo-values of groups of samples take their place.

Every interval is Student's t around a value with its standard error. A bootstrap (BCa) would follow
the skew of a mean, but with the 10 or 20 samples of small evaluations it is too narrow, and it has
no counterpart for jackknife groups and quotients. Student's t serves all three, and the claims'
verdicts follow from the same intervals.

Where two sets hardly differ, a Fréchet or kernel distance is nearly quadratic in its samples, and
so is the difference of two such distances where the methods do not differ. A jackknife counts the
variance of a quadratic statistic twice (Efron and Stein, 1981): its errors are up to 1.5 times the
spread. `linearize` measures the quadratic part, and `set_error` takes it off once. How often the
intervals hold what they should is simulated (benchmarks/interval_coverage.py, docs/score.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from scipy import stats
from torch import Tensor

Statistic = TypeVar("Statistic", float, np.ndarray)

SIGNIFICANCE = 0.05
CONFIDENCE = 1 - SIGNIFICANCE

RESAMPLES = 9999
"""Random patterns of signs of a test; all of them where there are fewer."""

STEP = 0.1
"""Change of the weights of groups between two slopes, whose difference is the curvature."""

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


@dataclass(frozen=True)
class Linearized:
    """Statistics of a whole set, and how they respond to the weights of groups of samples.

    Attributes:
        value: of all samples, [] or [K].
        values: pseudo-values [G] or [G, K], value + G · slope by the weight of each group; their
            standard error is that of the infinitesimal jackknife (Jaeckel, 1972).
        curvatures: of each group [G] or [G, K], G · the derivative of its slope along weights of
            the other half of the groups that rise and fall in turns.
    """

    value: np.ndarray
    values: np.ndarray
    curvatures: np.ndarray


def linearize(statistic: Callable[[Tensor], Tensor], num_groups: int) -> Linearized:
    """Linearize smooth statistics of a whole set, such as FID, in the weights of groups.

    Deterministic, and paired between methods that score the same samples: pseudo-values and
    curvatures of a difference are the differences of theirs.

    Args:
        statistic: maps weights of groups [G], 1 for each to count as it is, to a number or to
            several [K]; differentiable.
        num_groups: G.
    """
    value, slopes = _slopes(statistic, np.ones(num_groups))
    group = np.arange(num_groups)
    half, signs = group % 2, 1.0 - 2 * (group // 2 % 2)
    bends = np.zeros_like(slopes)
    # The groups that are looked at are never those that are moved: what a sample has to do with
    # itself is bias of the statistic, and no part of its variance.
    for moved in range(min(num_groups, 2)):
        _, there = _slopes(statistic, 1 + STEP * signs * (half == moved))
        bends[half != moved] = ((there - slopes) / STEP)[half != moved]
    return Linearized(value, value + num_groups * slopes, num_groups * bends)


def _slopes(
    statistic: Callable[[Tensor], Tensor], weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Statistics [] or [K], and their derivatives by the weights of groups [G] or [G, K]."""
    at = torch.from_numpy(weights).requires_grad_()
    found = statistic(at)
    rows = [torch.autograd.grad(one, at, retain_graph=True)[0] for one in found.reshape(-1)]
    slopes = torch.stack(rows, 1).reshape(len(weights), *found.shape)
    return found.detach().numpy(), slopes.numpy()


def set_error(values: np.ndarray, curvatures: np.ndarray) -> float | None:
    """Standard error of a statistic of a whole set, or of a difference of two.

    The variance between pseudo-values is that of the linear part and twice that of the quadratic
    part. The latter is the mean square of the curvatures, and is subtracted once; that leaves at
    least the quadratic part itself, half of which is the bound here, as both are estimates.

    Args:
        values: pseudo-values [G], see `Linearized`.
        curvatures: [G]; zeros for a statistic whose quadratic part is not known.

    Returns:
        The standard error; None for a single group.

    >>> set_error(np.array([1.0, 3.0]), np.zeros(2)) == mean_and_se(np.array([1.0, 3.0]))[1]
    True
    """
    if len(values) < 2:
        return None
    quadratic = np.square(curvatures).mean()
    variance = max(values.var(ddof=1) - quadratic, quadratic / 2)
    return float(np.sqrt(variance / len(values)))


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

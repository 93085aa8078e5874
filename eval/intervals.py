"""Confidence intervals and paired tests, out of the values that score files keep.

What is drawn again is always the sample (a panorama, a sequence), never a view: the views of one
sample depend on each other. Metrics of a whole set, such as FID, have no value per sample; their
jackknife's pseudo-values take the place.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from .statistics import mean_and_se

SIGNIFICANCE = 0.05
CONFIDENCE = 1 - SIGNIFICANCE
RESAMPLES = 9999
SEED = 0
"""Of what is drawn: equal values give equal intervals and p-values."""

DRAWN_AT_ONCE = 100
"""Resamples held in memory together."""

MANY_SAMPLES = 2_000
"""From here on the mean is as good as normal, and drawing takes seconds a metric: Student's t."""

FEW_SAMPLES = 20
"""Below, intervals by resampling are too narrow: of 10 samples, by about a tenth."""


@dataclass(frozen=True)
class Interval:
    """Bounds that hold the true value with probability `CONFIDENCE`, and how they were found."""

    low: float
    high: float
    method: str


@dataclass(frozen=True)
class Test:
    """The probability of a difference at least as large if there is none, and how it was found."""

    p_value: float
    method: str


def interval_of_mean(values: np.ndarray) -> Interval | None:
    """Interval of the mean of independent values [N]: bootstrap, bias-corrected (BCa).

    BCa (Efron 1987) is not defined where all values agree or nearly so; there the percentiles
    of the resampled means are taken. None for N = 1.

    >>> interval_of_mean(np.array([2.0, 2.0, 2.0]))
    Interval(low=2.0, high=2.0, method='bootstrap, percentile')
    """
    if len(values) < 2:
        return None
    if len(values) >= MANY_SAMPLES:
        mean, se = mean_and_se(values)
        return interval_by_t(mean, se, len(values), "Student's t over samples")
    if (bounds := _bootstrap(values, "BCa")) is not None:
        return Interval(*bounds, "bootstrap, BCa")
    bounds = _bootstrap(values, "percentile")
    return None if bounds is None else Interval(*bounds, "bootstrap, percentile")


def _bootstrap(values: np.ndarray, method: str) -> tuple[float, float] | None:
    """Bounds of the mean, or None where the method has none."""
    if method == "BCa" and np.ptp(values) == 0:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            (values,),
            np.mean,
            n_resamples=RESAMPLES,
            batch=DRAWN_AT_ONCE,
            confidence_level=CONFIDENCE,
            method=method,
            random_state=np.random.default_rng(SEED),
        ).confidence_interval
    bounds = float(found.low), float(found.high)
    return bounds if np.isfinite(bounds).all() else None


def interval_by_t(value: float, se: float | None, count: int, method: str) -> Interval | None:
    """Interval of a value whose standard error `se` comes of `count` samples or groups.

    >>> round(interval_by_t(1.0, 0.5, 3, "jackknife, Student's t").high, 4)
    3.1513
    """
    if se is None or count < 2:
        return None
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * se
    return Interval(value - reach, value + reach, method)


def sign_flip_test(differences: np.ndarray) -> Test | None:
    """Test whether paired differences [N] have mean 0: if so, each sign is as likely as the other.

    Exact up to N = 13, by `RESAMPLES` random flips beyond; two-sided. None for N = 1, where no
    outcome could be unlikely.
    """
    if len(differences) < 2:
        return None
    if len(differences) >= MANY_SAMPLES:
        return t_test(*mean_and_se(differences), len(differences))
    found = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        n_resamples=RESAMPLES,
        batch=DRAWN_AT_ONCE,
        random_state=np.random.default_rng(SEED),
    )
    return Test(float(found.pvalue), "sign flips")


def t_test(difference: float, se: float | None, count: int) -> Test | None:
    """Test whether a difference is 0, by its standard error `se` of `count` samples or groups."""
    if se is None or count < 2:
        return None
    if se == 0:
        return Test(1.0 if difference == 0 else 0.0, "Student's t")
    return Test(float(2 * stats.t.sf(abs(difference) / se, count - 1)), "Student's t")


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for being several (Holm 1979); none gets smaller, none exceeds 1.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    adjusted = np.minimum(np.maximum.accumulate(factors * np.array(p_values)[order]), 1.0)
    return adjusted[np.argsort(order, kind="stable")].tolist()

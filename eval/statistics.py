"""Standard errors: between samples, never between views of one sample, which are dependent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

Statistic = TypeVar("Statistic", float, np.ndarray)


def mean_and_se(values: np.ndarray) -> tuple[float, float | None]:
    """Mean and its standard error over independent values [N]; no error for N = 1.

    >>> mean_and_se(np.array([1.0, 3.0]))
    (2.0, 1.0)
    """
    if len(values) < 2:
        return float(values.mean()), None
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def ratio_of_means(numerator: np.ndarray, denominator: np.ndarray) -> tuple[float, float | None]:
    """Ratio of two paired means [N], with the standard error of its linearization.

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

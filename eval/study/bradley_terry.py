"""Strengths of methods from pairwise preferences, with errors that know of raters and samples.

Bradley and Terry's model (1952): method i is preferred to j with probability p_ij = 1 / (1 +
exp(b_j - b_i)), where b is the (logarithmic) strength. "No difference" is half a preference for
each. The likelihood is maximized by Hunter's MM algorithm (2004), and the errors are those of a
quasi-likelihood ("sandwich"), clustered by rater and by sample (Cameron, Gelbach and Miller, 2011):
answers of one rater, and answers about one sample, depend on one another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats
from scipy.sparse.csgraph import connected_components

from ..statistics import CONFIDENCE

FEW_RATERS = 5
"""From this many raters on, they are taken for a random draw of all raters. The variance between
fewer cannot be estimated: intervals are then about these raters, and clusters are samples alone."""

NORMAL = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
TOLERANCE, MOST_ROUNDS = 1e-12, 100_000


@dataclass(frozen=True)
class Judgments:
    """Answers to one question, as arrays [N].

    Attributes:
        first, second: numbers of the two methods.
        won: what the first one won: 1, 0, or 1/2.
        rater, sample: numbers of the rater and the sample.
        num_methods: how many methods there are, M.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    won: NDArray[np.float64]
    rater: NDArray[np.int64]
    sample: NDArray[np.int64]
    num_methods: int

    def of_pair(self, first: int, second: int) -> Judgments:
        """The answers about two methods."""
        kept = (self.first == first) & (self.second == second)
        return Judgments(
            *(self.first[kept], self.second[kept], self.won[kept]),
            *(self.rater[kept], self.sample[kept]),
            num_methods=self.num_methods,
        )

    @property
    def wins(self) -> NDArray[np.float64]:
        """How often each method (row) was preferred to each (column), [M, M]."""
        wins = np.zeros((self.num_methods, self.num_methods))
        np.add.at(wins, (self.first, self.second), self.won)
        np.add.at(wins, (self.second, self.first), 1 - self.won)
        return wins


def groups(wins: NDArray[np.float64]) -> list[list[int]]:
    """Methods that comparisons connect, however indirectly; strengths compare only within a group.

    >>> groups(np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]]))
    [[0, 1], [2]]
    """
    count, label = connected_components(wins + wins.T > 0, directed=False)
    return [np.flatnonzero(label == group).tolist() for group in range(count)]


def is_separated(wins: NDArray[np.float64]) -> bool:
    """Tell whether some methods won everything against the rest, so that no strength is finite.

    Ford's condition (1957): each method must have won, directly or through others, against each.

    >>> is_separated(np.array([[0, 3], [0, 0]]))
    True
    """
    return connected_components(wins > 0, directed=True, connection="strong")[0] > 1


def regularized(wins: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add half a preference each way to every pair that was compared.

    For two methods, the strengths then differ by Haldane's and Anscombe's log odds,
    log((w + 1/2) / (l + 1/2)).

    Args:
        wins: [M, M].
    """
    return wins + 0.5 * (wins + wins.T > 0)


def fit(wins: NDArray[np.float64]) -> NDArray[np.float64]:
    """Find the strengths [M] of largest likelihood, of mean 0.

    Args:
        wins: [M, M], of methods that comparisons connect and none of which won everything.

    >>> fit(np.array([[0.0, 3.0], [1.0, 0.0]])).round(4).tolist()  # log(3) / 2 each way
    [0.5493, -0.5493]
    """
    counts, won = wins + wins.T, wins.sum(1)
    strength = np.zeros(len(wins))
    for _ in range(MOST_ROUNDS):
        share = np.exp(strength)
        improved = np.log(won / (counts / (share[:, None] + share)).sum(1))
        improved -= improved.mean()
        step, strength = np.abs(improved - strength).max(), improved
        if step < TOLERANCE:
            break
    return strength


def strength_covariances(
    judgments: Judgments, wins: NDArray[np.float64], strength: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    """Estimate the covariance [M, M] of fitted strengths, in each way that `reach` chooses from.

    Args:
        judgments: the answers.
        wins: that the strengths were fitted to: those of the answers, or regularized ones.
        strength: [M], of mean 0.

    Returns:
        That of independent answers (the inverse information), then those of `clustered` answers.
    """
    p = special.expit(strength[:, None] - strength)
    information = -(wins + wins.T) * p * (1 - p)
    np.fill_diagonal(information, 0)
    np.fill_diagonal(information, -information.sum(1))
    bread = np.linalg.pinv(information, hermitian=True)
    rows = np.arange(len(judgments.won))
    contrast = np.zeros((len(rows), judgments.num_methods))
    contrast[rows, judgments.first], contrast[rows, judgments.second] = 1, -1
    scores = contrast * (judgments.won - p[judgments.first, judgments.second])[:, None]
    return [bread, *(bread @ meat @ bread for meat in clustered(scores, judgments))]


def clustered(scores: NDArray[np.float64], judgments: Judgments) -> list[NDArray[np.float64]]:
    """Estimate the covariance [K, K] of a sum of scores [N, K], from sums over clusters.

    Returns:
        By samples; with `FEW_RATERS` or more also by raters, and by both at once (the sum of the
        two, less that by single answers). The last one is the estimate; as it may be too small or
        even negative, the largest is taken. Empty without two clusters.
    """
    by_sample = _between(scores, judgments.sample)
    by_rater = _between(scores, judgments.rater)
    if not are_random(judgments):
        return [by_sample] if by_sample is not None else []
    assert by_rater is not None
    if by_sample is None:
        return [by_rater]
    cell = judgments.rater * (judgments.sample.max() + 1) + judgments.sample
    both = by_sample + by_rater - _between(scores, cell)
    return [by_sample, by_rater, both]


def are_random(judgments: Judgments) -> bool:
    """Whether there are enough raters for a draw of all raters."""
    return len(np.unique(judgments.rater)) >= FEW_RATERS


def _between(scores: NDArray[np.float64], cluster: NDArray[np.int64]) -> NDArray | None:
    names, place = np.unique(cluster, return_inverse=True)
    if len(names) < 2:
        return None
    sums = np.zeros((len(names), scores.shape[1]))
    np.add.at(sums, place, scores)
    return len(names) / (len(names) - 1) * sums.T @ sums


def quantile(judgments: Judgments) -> float:
    """Student's t of a 95 % interval, for the smaller number of clusters."""
    clusters = [len(np.unique(judgments.sample))]
    clusters += [len(np.unique(judgments.rater))] if are_random(judgments) else []
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, min(c for c in clusters if c > 1) - 1))


def reach(
    judgments: Judgments, covariances: Sequence[NDArray[np.float64]], weights: NDArray[np.float64]
) -> float | None:
    """Half the width of the interval of a weighted sum of strengths.

    Args:
        judgments: the answers.
        covariances: from `strength_covariances`.
        weights: [M].

    Returns:
        That of clustered answers, but never less than that of independent ones; None without two
        clusters.
    """
    errors = [math.sqrt(max(0.0, float(weights @ each @ weights))) for each in covariances]
    if len(errors) == 1:
        return None
    return max(NORMAL * errors[0], quantile(judgments) * max(errors[1:]))


def preference_interval(judgments: Judgments) -> tuple[float, float] | None:
    """Bounds of the share of answers that prefer the first of two methods.

    Wilson's interval for as many independent answers as tell as much as the clustered ones (Korn
    and Graubard's effective sample size), but never narrower than for independent ones. If all
    answers agree, each sample counts as one.

    Args:
        judgments: about these two.

    Returns:
        Lower and upper bound with probability `CONFIDENCE`; None without two clusters.
    """
    count, share = len(judgments.won), float(judgments.won.mean())
    found = clustered((judgments.won - share)[:, None], judgments)
    if not found:
        return None
    if share in (0, 1):
        return _wilson(share, len(np.unique(judgments.sample)), NORMAL)
    low, high = _wilson(share, count, NORMAL)
    spread = max(float(each[0, 0]) for each in found) / count**2
    if spread <= 0:
        return low, high
    wider = _wilson(share, share * (1 - share) / spread, quantile(judgments))
    return min(low, wider[0]), max(high, wider[1])


def _wilson(share: float, count: float, reach: float) -> tuple[float, float]:
    """Wilson's interval (1927) of a share of independent answers, `reach` standard errors wide."""
    middle = (share + reach**2 / (2 * count)) / (1 + reach**2 / count)
    inside = share * (1 - share) / count + (reach / (2 * count)) ** 2
    half = reach * math.sqrt(inside) / (1 + reach**2 / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def agreement(ratings: NDArray[np.float64]) -> float | None:
    """Krippendorff's alpha of nominal ratings: 1 if raters always agree, 0 if no more than chance.

    Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011): 1 less the observed over the
    expected disagreement of pairs of ratings of one unit.

    Args:
        ratings: [raters, units], NaN where there is none.

    Returns:
        None if no unit has two ratings, or all ratings are equal, so that nothing can be told.

    >>> agreement(np.array([[1.0, 2.0, 1.0, 2.0], [1.0, 2.0, 1.0, 2.0]]))
    1.0
    """
    values = np.unique(ratings[np.isfinite(ratings)])
    counts = np.stack([(ratings == value).sum(0) for value in values], 1).astype(float)
    per_unit = counts.sum(1)
    counts, per_unit = counts[per_unit > 1], per_unit[per_unit > 1]
    total, margin = per_unit.sum(), counts.sum(0)
    expected = total**2 - np.square(margin).sum()
    if not total or expected == 0:
        return None
    differing = (np.square(per_unit) - np.square(counts).sum(1)) / (per_unit - 1)
    return float(1 - (total - 1) * differing.sum() / expected)

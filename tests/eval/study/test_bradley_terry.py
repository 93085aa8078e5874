"""Strengths and intervals against closed forms, scipy's optimum and simulated raters."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize

from mvdiffusion_eval.study.bradley_terry import (
    Judgments,
    agreement,
    fit,
    groups,
    is_separated,
    preference_interval,
    reach,
    regularized,
    strength_covariances,
)

STRENGTHS = np.array([0.5, 0.0, -0.5])


def judged(
    rng: np.random.Generator, raters: int, samples: int, effects: float, ties: float = 0.0
) -> Judgments:
    """Simulated answers, with random effects of raters and samples on the methods' strengths."""
    count = len(STRENGTHS)
    of_rater = rng.normal(0, effects, (raters, 1, count))
    of_sample = rng.normal(0, effects, (1, samples, count))
    strength = STRENGTHS + of_rater + of_sample
    parts = []
    for first in range(count):
        for second in range(first + 1, count):
            gap = strength[..., first] - strength[..., second]
            won = (rng.random((raters, samples)) < 1 / (1 + np.exp(-gap))).astype(float)
            won[rng.random(won.shape) < ties] = 0.5
            rater, sample = np.indices(won.shape)
            pair = np.full(won.size, first), np.full(won.size, second)
            parts.append((*pair, won.ravel(), rater.ravel(), sample.ravel()))
    return Judgments(*map(np.concatenate, zip(*parts, strict=True)), num_methods=count)


def test_two_methods_are_their_log_odds() -> None:
    for won, lost in ((3.0, 1.0), (7.5, 2.5), (1.0, 40.0)):
        strength = fit(np.array([[0, won], [lost, 0]]))
        assert strength[0] - strength[1] == pytest.approx(math.log(won / lost))
        assert strength.sum() == pytest.approx(0)


def test_strengths_maximize_the_likelihood() -> None:
    judgments = judged(np.random.default_rng(0), 4, 10, 0.5, ties=0.2)

    def loss(free: np.ndarray) -> float:
        strength = np.append(free, -free.sum())
        total = 0.0
        for first, second, won in zip(
            judgments.first, judgments.second, judgments.won, strict=True
        ):
            p = 1 / (1 + math.exp(strength[second] - strength[first]))
            total -= won * math.log(p) + (1 - won) * math.log(1 - p)
        return total

    found = optimize.minimize(loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-7})
    np.testing.assert_allclose(fit(judgments.wins)[:2], found.x, atol=1e-5)


def test_a_method_that_wins_everything_is_found_and_bounded() -> None:
    assert not is_separated(np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]]))
    assert is_separated(np.array([[0, 2, 2], [0, 0, 1], [0, 1, 0]]))
    strength = fit(regularized(np.array([[0.0, 6.0], [0.0, 0.0]])))
    assert strength[0] - strength[1] == pytest.approx(math.log(6.5 / 0.5))


def test_groups_that_nothing_connects() -> None:
    wins = np.zeros((4, 4))
    wins[0, 2] = wins[3, 1] = 1
    assert groups(wins) == [[0, 2], [1, 3]]


def test_errors_of_independent_answers_are_those_of_log_odds() -> None:
    """Woolf's: sqrt(1 / a + 1 / b)."""
    won = np.repeat([1.0, 0.0], [30, 10])
    zero = np.zeros(40, int)
    judgments = Judgments(zero, zero + 1, won, zero, np.arange(40), 2)
    strength = fit(judgments.wins)
    covariances = strength_covariances(judgments, judgments.wins, strength)
    gap = np.array([1.0, -1.0])
    woolf = math.sqrt(1 / 30 + 1 / 10)
    assert math.sqrt(gap @ covariances[0] @ gap) == pytest.approx(woolf)
    # Each sample is one answer: clusters change nothing but the factor of a small number.
    assert math.sqrt(gap @ covariances[1] @ gap) == pytest.approx(woolf * math.sqrt(40 / 39))


def test_repeated_answers_tell_nothing_new() -> None:
    """The answers of one rater, given again by five that copy: intervals stay nearly as wide."""
    rng = np.random.default_rng(2)
    won = (rng.random(40) < 0.7).astype(float)
    zero, sample = np.zeros(40, int), np.arange(40)
    alone = Judgments(zero, zero + 1, won, zero, sample, 2)
    five = [np.tile(values, 5) for values in (zero, zero + 1, won)]
    copied = Judgments(*five, np.repeat(np.arange(5), 40), np.tile(sample, 5), 2)
    widths = [np.diff(preference_interval(each))[0] for each in (alone, copied)]
    assert widths[1] == pytest.approx(widths[0], rel=0.45)  # Student's t of 4 degrees instead of 39
    assert widths[1] >= widths[0]


@pytest.mark.parametrize("effects", [0.0, 0.5])
def test_intervals_cover(effects: float) -> None:
    """Of simulated studies of 8 raters and 16 samples; the truth is that of very many raters."""
    rng = np.random.default_rng(3)
    many = judged(rng, 300, 300, effects)
    truth, share = fit(many.wins), many.of_pair(0, 1).won.mean()
    weights = np.array([2, -1, -1]) / 3
    covered = []
    for _ in range(120):
        judgments = judged(rng, 8, 16, effects)
        strength = fit(judgments.wins)
        covariances = strength_covariances(judgments, judgments.wins, strength)
        low, high = preference_interval(judgments.of_pair(0, 1))
        within = abs(strength[0] - truth[0]) <= reach(judgments, covariances, weights)
        covered.append((within, low <= share <= high))
    assert np.mean(covered, 0).min() >= 0.9


def test_bounds_of_unanimous_answers_count_samples() -> None:
    """Wilson's lower bound of n out of n is n / (n + z²)."""
    ones, raters, samples = np.ones(60), np.repeat(np.arange(6), 10), np.tile(np.arange(10), 6)
    zero = np.zeros(60, int)
    low, high = preference_interval(Judgments(zero, zero + 1, ones, raters, samples, 2))
    assert (low, high) == pytest.approx((10 / (10 + 1.959964**2), 1.0))


def test_a_single_sample_has_no_interval() -> None:
    zero = np.zeros(3, int)
    judgments = Judgments(zero, zero + 1, np.array([1.0, 0, 1]), np.arange(3), zero, 2)
    assert preference_interval(judgments) is None


def test_agreement_of_krippendorffs_example() -> None:
    """Computing Krippendorff's Alpha-Reliability (2011), section C: 0.743 for nominal data."""
    observers = (
        "1 2 3 3 2 1 4 1 2 . . .",
        "1 2 3 3 2 2 4 1 2 5 . 3",
        ". 3 3 3 2 3 4 2 2 5 1 .",
        "1 2 3 3 2 4 4 1 2 5 1 .",
    )
    table = [[float(v) if v != "." else np.nan for v in row.split()] for row in observers]
    assert agreement(np.array(table)) == pytest.approx(0.743, abs=5e-4)
    assert agreement(np.array([[1.0, 1.0], [1.0, 1.0]])) is None
    assert agreement(np.array([[1.0, np.nan], [np.nan, 0.0]])) is None

"""Intervals and tests: against closed forms, enumeration and simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from mvdiffusion_eval import intervals
from mvdiffusion_eval.intervals import holm, interval_by_t, interval_of_mean, sign_flip_test, t_test
from mvdiffusion_eval.statistics import jackknife, mean_and_se


def test_bootstrap_of_a_normal_sample_is_near_student_t() -> None:
    values = np.random.default_rng(3).normal(20.0, 2.0, 200)
    mean, se = mean_and_se(values)
    assert se is not None
    low, high = stats.t.interval(0.95, 199, mean, se)
    found = interval_of_mean(values)
    assert found is not None
    assert found.method == "bootstrap, BCa"
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.1 * se)


def test_bca_is_that_of_efron_and_follows_the_skew() -> None:
    """Written out (Efron 1987) with draws of its own."""
    values = np.random.default_rng(5).exponential(1.0, 40)
    mean, rng = values.mean(), np.random.default_rng(77)
    means = np.sort(values[rng.integers(0, 40, (40_000, 40))].mean(1))
    z0 = stats.norm.ppf((means < mean).mean())
    off = values - mean
    acceleration = (off**3).sum() / (6 * (off**2).sum() ** 1.5)
    z = z0 + stats.norm.ppf([0.025, 0.975])
    expected = np.quantile(means, stats.norm.cdf(z0 + z / (1 - acceleration * z)))
    found = interval_of_mean(values)
    assert found is not None
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=0.008)
    assert found.high - mean > mean - found.low + 0.02


def test_intervals_cover_the_truth_about_as_often_as_they_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 999)
    rng, hits = np.random.default_rng(0), 0
    for _ in range(300):
        found = interval_of_mean(rng.normal(0.0, 1.0, 40))
        assert found is not None
        hits += found.low <= 0.0 <= found.high
    assert 0.90 <= hits / 300 <= 0.98  # 0.95, and a standard error of 0.013


def test_equal_values_give_equal_intervals_and_draws_do_not_disturb_them() -> None:
    values = np.random.default_rng(1).normal(size=30)
    first = interval_of_mean(values), sign_flip_test(values)
    np.random.default_rng().normal(size=10)
    assert (interval_of_mean(values), sign_flip_test(values)) == first


def test_degenerate_values() -> None:
    alike = interval_of_mean(np.full(5, 3.0))
    assert alike is not None
    assert (alike.low, alike.high, alike.method) == (3.0, 3.0, "bootstrap, percentile")
    assert interval_of_mean(np.array([1.0])) is None
    assert sign_flip_test(np.array([1.0])) is None
    assert interval_by_t(1.0, None, 1, "") is None
    assert t_test(1.0, None, 1) is None
    nothing, something = t_test(0.0, 0.0, 4), t_test(1.0, 0.0, 4)
    assert nothing is not None
    assert something is not None
    assert (nothing.p_value, something.p_value) == (1.0, 0.0)


def test_many_samples_take_student_t(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(2).normal(0.05, 1.0, 400)
    by_draws, test_by_draws = interval_of_mean(values), sign_flip_test(values)
    monkeypatch.setattr(intervals, "MANY_SAMPLES", 400)
    found, test = interval_of_mean(values), sign_flip_test(values)
    assert by_draws is not None
    assert test_by_draws is not None
    assert found is not None
    assert test is not None
    assert found.method.startswith("Student's t")
    assert (found.low, found.high) == pytest.approx((by_draws.low, by_draws.high), abs=0.005)
    assert test.p_value == pytest.approx(test_by_draws.p_value, abs=0.02)


def test_sign_flips_agree_with_their_enumeration() -> None:
    differences = np.array([0.3, -0.1, 0.8, 0.5, 0.2, 0.9, -0.4])
    signs = np.array(list(itertools.product((1, -1), repeat=7)))
    means = np.abs((signs * differences).mean(1))
    expected = (means >= abs(differences.mean()) - 1e-12).mean()
    found = sign_flip_test(differences)
    assert found is not None
    assert found.p_value == pytest.approx(expected)


def test_sign_flips_of_many_agree_with_student_t() -> None:
    differences = np.random.default_rng(4).normal(0.2, 1.0, 100)
    found = sign_flip_test(differences)
    assert found is not None
    assert found.p_value == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.015)


def test_t_of_jackknifed_means_is_that_of_the_values_themselves() -> None:
    """The pseudo-values of a mean, one sample per group, are the values."""
    values = np.random.default_rng(6).normal(0.4, 1.0, 12)
    whole, pseudo = jackknife(lambda kept: float(values[kept].mean()), 12, 12)
    _, se = mean_and_se(pseudo)
    test, interval = t_test(whole, se, 12), interval_by_t(whole, se, 12, "")
    expected = stats.ttest_1samp(values, 0)
    assert test is not None
    assert interval is not None
    assert test.p_value == pytest.approx(expected.pvalue)
    bounds = expected.confidence_interval(0.95)
    assert (interval.low, interval.high) == pytest.approx((bounds.low, bounds.high))


def test_holm_by_hand_and_in_any_order() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []

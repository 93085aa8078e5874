"""Intervals and tests: against closed forms, enumeration and simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from mvdiffusion_eval import statistics
from mvdiffusion_eval.statistics import (
    holm,
    jackknife,
    linearize,
    mean_and_se,
    set_error,
    sign_flip_test,
    student_interval,
    t_test,
)


def test_the_interval_of_a_mean_is_scipys() -> None:
    values = np.random.default_rng(3).normal(20.0, 2.0, 12)
    bounds = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    found = student_interval(*mean_and_se(values), 12)
    assert found == pytest.approx((bounds.low, bounds.high))


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """Of few samples too, where a bootstrap's are too narrow."""
    rng, hits = np.random.default_rng(0), 0
    for _ in range(1000):
        low, high = student_interval(*mean_and_se(rng.normal(0.0, 1.0, 8)), 8)
        hits += low <= 0.0 <= high
    assert 0.93 <= hits / 1000 <= 0.97  # 0.95, and a standard error of 0.007


def test_equal_values_give_equal_tests_and_draws_do_not_disturb_them() -> None:
    values = np.random.default_rng(1).normal(size=30)
    first = sign_flip_test(values)
    np.random.default_rng().normal(size=10)
    assert sign_flip_test(values) == first


def test_degenerate_values() -> None:
    assert student_interval(*mean_and_se(np.full(5, 3.0)), 5) == (3.0, 3.0)
    assert student_interval(1.0, None, 1) is None
    assert sign_flip_test(np.array([1.0])) is None
    assert t_test(1.0, None, 1) is None
    nothing, something = t_test(0.0, 0.0, 4), t_test(1.0, 0.0, 4)
    assert nothing is not None
    assert something is not None
    assert (nothing.p_value, something.p_value) == (1.0, 0.0)


def test_many_samples_take_student_t(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(2).normal(0.05, 1.0, 400)
    by_draws = sign_flip_test(values)
    monkeypatch.setattr(statistics, "MANY_SAMPLES", 400)
    test = sign_flip_test(values)
    assert by_draws is not None
    assert test is not None
    assert (by_draws.method, test.method) == ("sign flips", "Student's t")
    assert test.p_value == pytest.approx(by_draws.p_value, abs=0.02)


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
    test, interval = t_test(whole, se, 12), student_interval(whole, se, 12)
    expected = stats.ttest_1samp(values, 0)
    assert test is not None
    assert interval is not None
    assert test.p_value == pytest.approx(expected.pvalue)
    bounds = expected.confidence_interval(0.95)
    assert interval == pytest.approx((bounds.low, bounds.high))


def test_a_linear_statistic_has_the_error_of_a_mean() -> None:
    values = np.random.default_rng(7).normal(0.4, 1.0, 12)
    found = linearize(lambda weights: weights @ torch.from_numpy(values) / weights.sum(), 12)
    assert found.value == pytest.approx(values.mean())
    np.testing.assert_allclose(found.values, values)
    assert set_error(found.values, found.curvatures) == pytest.approx(
        mean_and_se(values)[1], rel=0.05
    )
    assert set_error(found.values[:1], found.curvatures[:1]) is None


def test_a_quadratic_statistic_is_not_counted_twice() -> None:
    """|mean|² of independent normal features in D dimensions: its variance is 2 D / N²."""
    samples, size, errors, doubled = 24, 40, [], []
    for seed in range(60):
        x = torch.from_numpy(np.random.default_rng(seed).normal(size=(samples, size)))
        found = linearize(lambda w, x=x: (w @ x / w.sum()).square().sum(), samples)
        errors.append(set_error(found.values, found.curvatures) ** 2)
        doubled.append(mean_and_se(found.values)[1] ** 2)
    expected = 2 * size / samples**2
    assert np.mean(doubled) / expected == pytest.approx(2, rel=0.1)
    assert np.mean(errors) / expected == pytest.approx(1.1, rel=0.12)


def test_holm_by_hand_and_in_any_order() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []

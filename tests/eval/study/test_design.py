"""The design of a study: balance, sides, catch trials, and equal seeds."""

from __future__ import annotations

from collections import Counter

import pytest

from mvdiffusion.records import InputError
from mvdiffusion_eval.study.design import SAME, Design, Shown, expected_choice, make_design

SAMPLES = [f"s{number}" for number in range(12)]


def methods_of(design: Design) -> list[tuple[Shown, Shown]]:
    """Left and right image of the comparisons of two methods."""
    shown = [tuple(design.images[image] for image in each.images) for each in design.comparisons]
    return [(left, right) for left, right in shown if left.method != right.method]


@pytest.mark.parametrize("count", [4, 5])
@pytest.mark.parametrize("number", [2, 3, 4, 5])
def test_pairs_and_sides_are_balanced(number: int, count: int) -> None:
    methods = [f"m{each}" for each in range(number)]
    pairs = methods_of(make_design(methods, SAMPLES, count=count, seed=3))
    assert all(left.sample == right.sample for left, right in pairs)
    assert len({left.sample for left, _ in pairs}) == count
    of_pair = Counter(frozenset((left.method, right.method)) for left, right in pairs)
    assert len(of_pair) == number * (number - 1) // 2
    assert set(of_pair.values()) == {count}
    samples = Counter((frozenset((a.method, b.method)), a.sample) for a, b in pairs)
    assert set(samples.values()) == {1}
    sides = Counter((left.method, right.method) for left, right in pairs)
    for one, other in sides:
        assert abs(sides[one, other] - sides[other, one]) <= count % 2
    # An odd count leaves each method at most one comparison, over all others, on one side more.
    left = Counter(a.method for a, _ in pairs)
    assert max(left.values()) - min(left.values()) <= (count % 2) * (2 - number % 2) * 1


def test_catch_trials_are_in_turn_noise_and_repetition() -> None:
    design = make_design(["a", "b"], SAMPLES, catch=5, seed=1)
    expected = [expected_choice(each, design.images) for each in design.comparisons]
    right = [each for each in expected if each is not None]
    assert len(right) == 5
    assert right.count(SAME) == 2
    assert all(design.images[each].content == "made" for each in right if each != SAME)
    assert expected.count(None) == 10  # samples by default


def test_the_seed_decides_everything() -> None:
    one, again, other = (make_design(["a", "b"], SAMPLES, catch=2, seed=s) for s in (5, 5, 6))
    assert one == again
    assert one != other
    assert not set(one.images) & set(other.images)


def test_the_order_tells_nothing() -> None:
    """Neither the order of the comparisons nor that of the ids follows the methods."""
    firsts = Counter()
    for seed in range(200):
        design = make_design(["a", "b", "c"], SAMPLES, count=4, seed=seed)
        left, _ = methods_of(design)[0]
        firsts[left.method, design.images[min(design.images)].method] += 1
    assert len(firsts) == 9
    assert max(firsts.values()) < 50  # 22 expected


def test_more_samples_than_there_are_is_refused() -> None:
    with pytest.raises(InputError, match=r"--pairs: 13, but the methods have 12 samples"):
        make_design(["a", "b"], SAMPLES, count=13)

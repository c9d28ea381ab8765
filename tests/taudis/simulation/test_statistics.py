"""Intervals over seeds, paired tests and Holm's correction."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from taudis.simulation.statistics import (
    Interval,
    holm,
    mean_interval,
    median_interval,
    paired_p,
    resampled_interval,
    smallest_p,
)


def test_equal_values_give_an_interval_of_no_width():
    assert mean_interval([0.5] * 5) == Interval(0.5, 0.5, 0.5)
    assert median_interval([0.5] * 5, [False] * 5) == Interval(0.5, 0.5, 0.5)


def test_one_seed_has_no_interval():
    assert mean_interval([0.3]) == Interval(None, 0.3, None)
    assert median_interval([0.3], [False]) == Interval(None, 0.3, None)
    assert median_interval([0.3], [True]) == Interval(None, None, None)


def test_the_interval_of_a_median_of_five_is_their_range():
    """A resample's median is the lowest of five with probability 0.058, more than 0.025."""
    for values in permutations([0.1, 0.2, 0.3, 0.4, 0.6]):
        assert median_interval(values, [False] * 5) == Interval(0.1, 0.3, 0.6)


@pytest.mark.parametrize(
    ("censored", "expected"),
    [
        ((0,), (None, 0.3, 0.6)),
        ((0, 1), (None, 0.3, 0.6)),
        ((0, 1, 2), (None, None, 0.6)),
        ((0, 1, 2, 3, 4), (None, None, 0.6)),
        ((4,), (None, 0.2, 0.6)),
    ],
)
def test_censored_seeds_are_lower_than_their_bound(censored, expected):
    values = [0.1, 0.2, 0.3, 0.4, 0.6]
    found = median_interval(values, [seed in censored for seed in range(5)])
    assert (found.low, found.middle, found.high) == expected


def test_an_even_number_of_seeds_needs_both_in_the_middle():
    assert median_interval([0.0, 0.2, 0.4, 0.6], [True, False, False, False]).middle == (
        pytest.approx(0.3)
    )
    assert median_interval([0.0, 0.2, 0.4, 0.6], [True, True, False, False]).middle is None


def test_the_interval_of_a_mean_lies_around_it_within_the_range():
    values = [0.1, 0.25, 0.3, 0.32, 0.6]
    found = mean_interval(values)
    assert found.middle == pytest.approx(np.mean(values))
    assert min(values) <= found.low < found.middle < found.high <= max(values)
    assert mean_interval(values) == found


def test_two_different_values_have_an_interval():
    found = mean_interval([0.2, 0.4])
    assert (found.low, found.middle, found.high) == pytest.approx((0.2, 0.3, 0.4))


def mean_of(values, at_most=None):
    """The mean of resamples, -inf with a value that is only known to be at most so high."""
    found = np.array(values)
    lowest = np.where(np.array(at_most or [False] * len(values)), -np.inf, found)
    return lambda rows: lowest[rows].mean(axis=1), lambda rows: found[rows].mean(axis=1)


def test_resamples_of_seeds_have_the_quantiles_of_all_resamples():
    """All 3,125 resamples of five: t(0.975, 4) * sqrt(5 / 4) = 3.104, Phi(-3.104) = 0.00095."""
    values = [0.1, 0.25, 0.3, 0.32, 0.6]
    all_means = np.mean(list(product(values, repeat=5)), axis=1)
    low, high = np.quantile(all_means, [0.00095, 1 - 0.00095])
    found = resampled_interval(5, *mean_of(values))
    assert found.middle == pytest.approx(np.mean(values))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.02)


def test_resamples_of_a_censored_seed_have_no_low_end():
    values = [0.1, 0.25, 0.3, 0.32, 0.6]
    found = resampled_interval(5, *mean_of(values, [True, False, False, False, False]))
    assert (found.low, found.middle) == (None, None)
    assert found.high == resampled_interval(5, *mean_of(values)).high


def test_resamples_of_one_seed_have_no_interval():
    assert resampled_interval(1, *mean_of([0.3])) == Interval(None, 0.3, None)
    assert resampled_interval(1, *mean_of([0.3], [True])) == Interval(None, None, None)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [6, 10])
def test_intervals_of_a_mean_cover_as_often_as_they_say(seeds):
    """Plain 95 % bootstrap intervals cover 0.87 and 0.90 of the time."""
    rng = np.random.default_rng(3)
    draws = [mean_interval(rng.normal(size=seeds).tolist()) for _ in range(500)]
    covered = np.mean([each.low <= 0 <= each.high for each in draws])
    assert 0.915 <= covered <= 0.98


@pytest.mark.parametrize("seed", range(6))
def test_the_p_of_a_pair_is_that_of_all_patterns_of_signs(seed):
    rng = np.random.default_rng(seed)
    found = rng.integers(-4, 9, 7) / 8  # sums are exact, ties and zeros occur
    sums = [abs((found * signs).sum()) for signs in product((-1, 1), repeat=7)]
    expected = np.mean(np.array(sums) >= abs(found.sum()))
    assert paired_p(found.tolist()) == pytest.approx(expected)


@pytest.mark.parametrize(("seeds", "p"), [(1, 1.0), (2, 0.5), (4, 1 / 8), (5, 1 / 16), (6, 1 / 32)])
def test_differences_of_one_sign_have_the_smallest_p(seeds, p):
    values = [0.01 * (1 + seed) for seed in range(seeds)]
    assert paired_p(values) == pytest.approx(p) == smallest_p(seeds)


def test_no_difference_has_p_1():
    assert paired_p([0.0] * 5) == 1.0


def test_many_seeds_are_tested_by_random_signs():
    assert paired_p([0.1] * 10 + [0.2] * 10) == pytest.approx(smallest_p(20))


def test_the_smallest_p_grows_with_the_number_of_tests():
    assert smallest_p(5, 3) == pytest.approx(3 / 16)
    assert smallest_p(5, 40) == 1.0


def test_holm_against_a_calculation_by_hand():
    """0.005 * 4, 0.01 * 3, 0.03 * 2, and 0.04 * 1, which may not be below 0.06."""
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert found == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert holm({"a": 0.5, "b": 0.7}) == {"a": 1.0, "b": 1.0}
    assert holm({"a": 0.25}) == {"a": 0.25} and holm({}) == {}

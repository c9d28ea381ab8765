"""The expected gain of the next labels: its model, what it refuses, and that intervals hold."""

import math

import numpy as np
import pytest

from benchmarks.next_labels_curves import NOISES, made_up
from taudis.errors import DataError
from taudis.evaluation.next_labels import (
    SHAPES,
    CurveSoFar,
    Shapes,
    _covariance,
    expected_gain,
    growth,
    shortest,
)

IMAGES = np.arange(16.0, 177, 16)


def logarithm(images):
    return 0.1 + 0.1 * np.log(np.asarray(images) / 16)


def test_growth_is_the_power_law_with_the_logarithm_and_the_straight_line_in_it():
    ratio = np.array([0.25, 0.5, 1.0, 2.0])
    assert np.allclose(growth(ratio, 0), np.log(ratio))
    assert np.allclose(growth(ratio, -1), ratio - 1)
    assert np.allclose(growth(ratio, 0.5), 2 * (1 - ratio**-0.5))
    assert np.allclose(growth(ratio, 1e-6), np.log(ratio), atol=1e-5)  # no jump at 0


def test_a_clean_curve_goes_on_as_it_was():
    found = expected_gain(CurveSoFar.of_levels(IMAGES, logarithm(IMAGES)), 16)
    truth = float(logarithm(192) - logarithm(176))
    assert found.reason == "" and found.models == 11
    assert found.gain == pytest.approx(truth, abs=0.002)
    assert found.interval[0] < truth < found.interval[1]
    # The next measurement has the noise of two trainings on top.
    assert found.measured[0] < found.interval[0] < found.interval[1] < found.measured[1]


def test_a_flat_curve_expects_nothing():
    found = expected_gain(CurveSoFar.of_levels(IMAGES, np.full(11, 0.3)), 16)
    assert abs(found.gain) < 0.002 and max(map(abs, found.interval)) < 0.006


def test_what_is_noisy_is_wider_and_called_noisy():
    rng = np.random.default_rng(0)
    quiet, loud = (
        expected_gain(CurveSoFar.of_levels(IMAGES, logarithm(IMAGES) + rng.normal(0, t, 11)), 16)
        for t in (0.005, 0.05)
    )
    assert loud.noise > 3 * quiet.noise
    for name in ("interval", "measured"):
        (low, high), (least, most) = getattr(quiet, name), getattr(loud, name)
        assert most - least > 1.5 * (high - low)


def test_a_lucky_training_lowers_what_the_next_one_may_measure():
    """The newest model is far above its curve: the labels still help, the next model may not."""
    lucky = logarithm(IMAGES) + np.where(IMAGES[-1] == IMAGES, 0.08, 0.0)
    found = expected_gain(CurveSoFar.of_levels(IMAGES, lucky), 16)
    assert sum(found.measured) / 2 < found.gain - 0.02


def test_the_noise_of_a_model_that_two_steps_share_cancels():
    """A bad training in the middle is no bend of the curve: both of its steps know it."""
    bad = logarithm(IMAGES) - np.where(IMAGES[5] == IMAGES, 0.06, 0.0)
    found = expected_gain(CurveSoFar.of_levels(IMAGES, bad), 16)
    assert found.gain == pytest.approx(float(logarithm(192) - logarithm(176)), abs=0.01)


def test_validation_error_counts():
    """The same gains, on few and on many validation images."""
    many, few = (
        expected_gain(CurveSoFar.of_levels(IMAGES[:6], logarithm(IMAGES[:6]), error), 16)
        for error in (0.005, 0.08)
    )
    assert np.ptp(few.measured) > 2 * np.ptp(many.measured)
    assert np.ptp(few.interval) > np.ptp(many.interval)


def test_bends_are_a_random_walk_of_the_slope_from_the_newest_model():
    """Covariances of an integrated Wiener process over ln n that starts there on both sides."""
    images = np.exp([-2.0, -1.0, 0.5, 0.0])  # one model had more labels than the newest
    rows, gains = np.arange(3), np.zeros(3)
    curve = CurveSoFar(images, 0.3, rows, np.full(3, 3), gains, gains)  # steps to the newest
    covariance, with_next, of_next = _covariance(curve, np.array([2.0]), np.zeros(1))
    older = [8 / 3, 1 * (3 * 2 - 1) / 6], [1 * (3 * 2 - 1) / 6, 1 / 3]
    assert np.allclose(covariance[0, :2, :2], 4 * np.array(older))
    assert np.allclose(covariance[0, 2], [0, 0, 4 * 0.5**3 / 3])
    assert not with_next.any() and not of_next.any()  # without noise


def test_far_ahead_the_bends_make_it_wide():
    """ln 2 ahead, h has a standard deviation of (ln 2)^1.5 / root 3 for q = 1."""
    shapes = Shapes(np.zeros(1), np.ones(1))
    found = expected_gain(CurveSoFar.of_levels(IMAGES, logarithm(IMAGES)), 176, shapes)
    assert np.ptp(found.interval) > 2 * 1.9 * math.log(2) ** 1.5 / math.sqrt(3)


def test_a_model_that_finds_nothing_yet_may_still_gain():
    rows = np.arange(6)
    curve = CurveSoFar(IMAGES[:6], 0.0, rows[:-1], rows[1:], np.full(5, 0.02), np.full(5, 0.005))
    assert expected_gain(curve, 16).gain > 0.01


def test_a_refused_model_hangs_on_the_one_that_served():
    """Row 2 was refused, so row 3 was compared with row 1 again."""
    images, level = np.array([16.0, 32.0, 48.0, 64.0]), logarithm([16, 32, 48, 64])
    before, after = np.array([0, 1, 1]), np.array([1, 2, 3])
    gains = level[after] - level[before]
    gains[1] -= 0.1
    curve = CurveSoFar(images, float(level[3]), before, after, gains, np.full(3, 0.01))
    found = expected_gain(curve, 16)
    assert found.models == 4 and found.interval[0] < logarithm(80) - logarithm(64)


@pytest.mark.parametrize(
    ("images", "map50", "more", "reason"),
    [
        ([16], [0.1], 16, "got 1: 2 more rounds that train will do"),
        ([16, 32], [0.1, 0.2], 16, "got 2: 1 more round that trains will do"),
        ([16, 16, 16], [0.1, 0.2, 0.2], 16, "equally many labels"),
        ([16, 32, 48], [0.1, 0.2, 0.25], 49, "ask for 48 at most"),
        ([16, 32, 48], [0.1, 0.5, 0.2], 48, "is wider than 0.2: more rounds narrow it"),
    ],
)
def test_it_says_what_is_needed_where_nothing_can_be_told(images, map50, more, reason):
    found = expected_gain(CurveSoFar.of_levels(images, map50), more)
    assert reason in found.reason
    if len(images) < 3:
        assert math.isnan(found.gain) and math.isnan(found.interval[0])


def test_few_validation_images_are_named_as_the_cause():
    curve = CurveSoFar.of_levels([16, 32, 48], [0.1, 0.3, 0.2], error=0.1)
    assert "label more validation images" in expected_gain(curve, 48).reason


@pytest.mark.parametrize(
    ("images", "map50", "error"),
    [([], [], 0), ([16, 32], [0.1], 0), ([0, 16], [0.1, 0.2], 0), ([16, 32], [0.1, math.nan], 0),
     ([16, 32], [0.1, 0.2], -1)],
)  # fmt: skip
def test_broken_curves_are_refused(images, map50, error):
    with pytest.raises(DataError, match="Expected"):
        CurveSoFar.of_levels(images, map50, error)


def test_broken_steps_and_no_labels_are_refused():
    level, one = np.array([16.0, 32.0]), np.ones(1)
    for before, after in (([0], [0]), ([0], [2]), ([-1], [1]), ([0, 1], [1])):
        with pytest.raises(DataError, match="Expected"):
            CurveSoFar(level, 0.1, np.array(before), np.array(after), one, one)
    with pytest.raises(DataError, match="1 or more"):
        expected_gain(CurveSoFar.of_levels(level, [0.1, 0.2]), 0)


def test_the_shortest_interval_leaves_the_long_tail_out():
    draws = np.concatenate([np.linspace(0, 1, 96), [50, 60, 70, 80]])
    assert shortest(draws) == (0.0, 1.0)


def test_intervals_hold_the_truth_where_a_curve_without_bends_does_not():
    """The reason for the bends, on a curve outside the family."""
    rng, stiff = np.random.default_rng(3), Shapes(SHAPES.exponents, np.zeros(1))
    held = {"bends": 0, "stiff": 0}
    for _ in range(20):
        curve = made_up("exponential", NOISES["quiet"], 17, rng)
        truth = curve.truth[16] - curve.truth[15]
        for name, shapes in (("bends", SHAPES), ("stiff", stiff)):
            low, high = expected_gain(curve.until(16), 16, shapes).interval
            held[name] += low <= truth <= high
    assert held["bends"] >= 18 and held["stiff"] <= 10

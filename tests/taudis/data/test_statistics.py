"""Labelled images are counted."""

from __future__ import annotations

import numpy as np
import pytest

from taudis.data.statistics import BOX_NOISE, LabelStatistics, Tally, uprightness
from tests.taudis.detector_cases import Pictures


def test_labelled_images_are_counted():
    tally = Tally()
    for index in range(3):
        tally.add_target(Pictures(3)[index][1])
    found = tally.statistics()
    assert found == LabelStatistics(
        3, 2.0, 2, pytest.approx(24 / 64), 64.0, found.upright, labels=(1, 2)
    )
    assert found.counts == (2, 2, 2)
    assert Tally().statistics() == LabelStatistics(0, 0.0, 0, 0.0, 0.0)


def test_uprightness_is_the_effect_size_of_the_shapes():
    """Two labels by hand: means 0.5 and -1, variances 0.02 and 0.04, weights 2 and 3."""
    shapes = {1: [0.4, 0.6], 2: [-1.0, -0.8, -1.2], 3: [5.0]}
    one, two = 0.25 / (0.02 + BOX_NOISE**2) - 1 / 2, 1 / (0.04 + BOX_NOISE**2) - 1 / 3
    assert uprightness(shapes) == pytest.approx((2 * one + 3 * two) / 5)
    assert uprightness({}) == uprightness({1: [3.0]}) == 0.0


def test_shapes_that_turns_leave_alike_are_not_upright():
    """Unbiased: the mean over many small samples of a symmetric distribution is near 0."""
    rng = np.random.default_rng(0)
    found = [uprightness({1: rng.normal(0, 0.7, 60).tolist()}) for _ in range(400)]
    assert abs(np.mean(found)) < 0.01 and np.quantile(found, 0.95) < 0.1
    standing = [uprightness({1: rng.normal(-0.5, 0.5, 30).tolist()}) for _ in range(400)]
    assert np.quantile(standing, 0.01) > 0.1


def test_a_turned_image_is_as_upright_as_its_turn():
    rng = np.random.default_rng(1)
    sides = rng.uniform(5, 40, (20, 2))
    tallies = Tally(), Tally()
    for tally, order in zip(tallies, ((0, 1), (1, 0)), strict=True):
        boxes = np.concatenate([np.zeros((20, 2)), sides[:, order]], axis=1)
        tally.add((64, 64), boxes, np.ones(20, np.int64))
    assert tallies[0].statistics().upright == pytest.approx(tallies[1].statistics().upright)

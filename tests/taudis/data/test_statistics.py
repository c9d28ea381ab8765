"""Labelled images are counted."""

from __future__ import annotations

import pytest

from taudis.data.statistics import LabelStatistics, Tally
from tests.taudis.detector_cases import Pictures


def test_labelled_images_are_counted():
    tally = Tally()
    for index in range(3):
        tally.add_target(Pictures(3)[index][1])
    found = tally.statistics()
    assert found == LabelStatistics(3, 2.0, 2, pytest.approx(24 / 64), 64.0)
    assert Tally().statistics() == LabelStatistics(0, 0.0, 0, 0.0, 0.0)

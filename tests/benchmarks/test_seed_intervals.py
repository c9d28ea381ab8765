"""The benchmark of the intervals over seeds makes curves whose truth it states."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import seed_intervals


def test_a_curve_without_noise_saves_its_share_at_every_height():
    """The reference's last mAP50, at 16 + 128 images, is a point of the curve at 16 + 64."""
    still = np.zeros(seed_intervals.ROUNDS + 1)
    found = seed_intervals.study(0.5, 0.0, seeds=2, repeats=1)
    end = seed_intervals.curve(0.0, still).map50[-1]
    assert end == pytest.approx(0.12 + 0.4 * (1 - np.exp(-128 / 70)))
    assert found["true"] == round(1 - 80 / 144, 3)
    assert found["saved"] == [found["true"]] * 2
    assert found["held"] == found["above_0"] == [1.0, 1.0] and found["area_above_0"] == 1.0


def test_coverage_is_a_share():
    found = seed_intervals.coverage(5, "normal", repeats=3)
    assert 0 <= found["mean"] <= 1 and 0 <= found["median"] <= 1

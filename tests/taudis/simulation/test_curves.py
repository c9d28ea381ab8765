"""Learning curves: labels needed and area."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taudis.simulation.curves import AXES, Curve


def curve(labels, map50):
    x = np.array(labels, np.float64)
    return Curve(np.array(map50, np.float64), dict.fromkeys(AXES, x))


LINE = curve([10, 20, 30], [0.1, 0.2, 0.4])


@pytest.mark.parametrize(
    ("target", "labels"), [(0.05, 10), (0.1, 10), (0.15, 15), (0.2, 20), (0.3, 25), (0.4, 30)]
)
def test_labels_needed_lie_on_the_line_between_two_points(target, labels):
    assert LINE.needed("images", target) == pytest.approx(labels)


def test_a_target_above_the_curve_is_never_reached():
    assert LINE.needed("images", 0.41) is None


def test_a_point_that_misses_the_target_by_rounding_reaches_it():
    assert curve([10, 20], [0.1, 0.3]).needed("images", 0.1 + 0.2) == 20  # 0.30000000000000004


def test_the_first_crossing_counts():
    falls = curve([10, 20, 30, 40], [0.1, 0.5, 0.2, 0.5])
    assert falls.needed("images", 0.5) == 20
    assert falls.needed("images", 0.3) == pytest.approx(15)


def test_a_jump_without_labels_reaches_all_between():
    assert curve([10, 10, 20], [0.1, 0.3, 0.4]).needed("images", 0.2) == 10


@pytest.mark.parametrize(
    ("until", "area"), [(30, 0.225), (20, 0.15), (15, 0.125), (25, 0.1833333), (10, 0.1)]
)
def test_the_area_is_the_mean_height(until, area):
    assert LINE.area("images", until) == pytest.approx(area)


def test_the_area_up_to_a_jump_ends_where_the_jump_begins():
    jump = curve([0, 10, 10], [0.2, 0.4, 0.9])
    assert jump.area("images", 10) == pytest.approx(0.3)


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=6),
    st.lists(st.integers(0, 8), min_size=7, max_size=7),
    st.integers(1, 100),
)
def test_the_area_is_that_of_a_fine_sum(steps, heights, percent):
    labels = np.concatenate([[3], 3 + np.cumsum(steps)]).astype(np.float64)
    one = curve(labels, np.array(heights[: len(labels)]) / 8)
    until = 3 + (labels[-1] - 3) * percent / 100
    edges = np.linspace(3, until, 20_001)
    fine = np.interp((edges[1:] + edges[:-1]) / 2, labels, one.map50).mean()
    assert one.area("images", until) == pytest.approx(fine, abs=1e-4)


@given(st.lists(st.integers(0, 8), min_size=2, max_size=7), st.integers(0, 9))
def test_labels_needed_are_the_first_on_a_fine_grid(heights, eighths):
    labels = np.arange(len(heights), dtype=np.float64)
    one = curve(labels, np.array(heights) / 8)
    grid = np.union1d(np.linspace(0, labels[-1], 8 * 840 * len(heights)), labels)
    above = np.interp(grid, labels, one.map50) >= eighths / 8 - 1e-12
    found = one.needed("images", eighths / 8)
    assert (found is None) == (max(heights) < eighths)
    if found is not None:
        assert found == pytest.approx(grid[above.argmax()], abs=2e-3)


def test_the_mean_curve_is_the_mean_of_points():
    mean = Curve.mean([LINE, curve([10, 40, 50], [0.3, 0.4, 0.6])])
    assert mean.labels["objects"].tolist() == [10, 30, 40]
    assert mean.map50 == pytest.approx([0.2, 0.3, 0.5])

"""What the words of the findings say about the figures of the rows."""

from __future__ import annotations

import pytest

from benchmarks.study import ROWS
from benchmarks.study_found import FACADES, HIGHWAY, TOOLS, Figures
from benchmarks.study_rows import read
from benchmarks.study_rule import CANDIDATES, more, on_redundant_sets
from taudis.simulation.statistics import mean_interval


@pytest.fixture(scope="module")
def figures():
    return Figures(read(ROWS))


def gain(figures, grids, name):
    return mean_interval(more(figures.of(grids), name, "random", "images"))


def test_no_strategy_meets_the_rule(figures):
    assert [figures.rule[name].meets for name in CANDIDATES] == [False, False]


def test_taudis_is_neither_better_nor_worse_than_random(figures):
    for grids in (HIGHWAY, FACADES):
        found = gain(figures, grids, "taudis")
        assert found.low < 0 < found.high


def test_a_saving_of_maskal_is_excluded_and_one_of_a_third_is_not(figures):
    for grids in (HIGHWAY, FACADES):
        assert 33 < figures.upper_end(grids) < 61 < figures.most(grids)


def test_the_sign_changes_with_the_division(figures):
    for grids in (HIGHWAY, FACADES):
        first, second = (gain(figures, (grid,), "taudis").middle for grid in grids)
        assert first * second < 0


def test_plain_uncertainty_is_worse_than_random_and_not_shown_to_be_worse_than_taudis(figures):
    assert gain(figures, HIGHWAY, "wse").high < 0
    less = on_redundant_sets(figures.compared, "taudis", "wse")["highway_cam"].images
    assert less.low < 0 < less.middle


def test_taudis_chooses_fewer_scenes_than_random_and_more_objects(figures):
    for grid in (HIGHWAY[0], TOOLS):
        assert float(figures.scenes(grid, "taudis")) < float(figures.scenes(grid, "random"))
    assert figures.objects(FACADES, "taudis") > 1.1 and figures.objects((TOOLS,), "taudis") > 1.5
    assert figures.first("scenes", "taudis_one") > figures.first("scenes", "taudis")

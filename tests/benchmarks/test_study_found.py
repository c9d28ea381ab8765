"""What the words of the findings say about the figures of the rows."""

from __future__ import annotations

from statistics import mean

import pytest

from backend.web.status.evidence import EVIDENCE
from benchmarks.study import ROWS
from benchmarks.study_covers import covers_of
from benchmarks.study_figures import FACADES, FIVE_SEEDS, HIGHWAY, OTHER_FIVE, Figures
from benchmarks.study_held_back import SCREENED
from benchmarks.study_rows import read
from benchmarks.study_rule import BOTH, CANDIDATES, REDUNDANT, more, on_redundant_sets
from taudis.simulation.report import saved_share
from taudis.simulation.statistics import mean_interval


@pytest.fixture(scope="module")
def figures():
    return Figures(read(ROWS))


def gain(figures, grids, name, reference="random", axis="images"):
    return mean_interval(more(figures.of(grids), name, reference, axis))


def test_no_strategy_meets_the_rule(figures):
    assert [figures.rule[name].meets for name in CANDIDATES] == [False, False]


def test_taudis_is_neither_better_nor_worse_than_random(figures):
    for grids in (HIGHWAY, FACADES):
        found = gain(figures, grids, "taudis")
        assert found.low < 0 < found.high


def test_a_saving_of_a_third_is_not_excluded(figures):
    for grids in (HIGHWAY, FACADES):
        assert 33 < figures.upper_end(grids) < figures.most(grids)


def test_the_sign_changes_with_the_division(figures):
    for grids in (HIGHWAY, FACADES):
        first, second = (gain(figures, (grid,), "taudis").middle for grid in grids)
        assert first * second < 0


def test_plain_uncertainty_is_worse_than_random_on_one_set_of_two(figures):
    """The status page says so of `wse` (backend/web/status/evidence.py)."""
    assert gain(figures, HIGHWAY, "wse").high < 0
    facades = gain(figures, FACADES, "wse")
    assert facades.low < 0 < facades.high


def test_taudis_is_above_plain_uncertainty_on_both_redundant_sets_together_alone(figures):
    less = on_redundant_sets(figures.compared, "taudis", "wse")
    assert less[BOTH].images.low > 0 and less[BOTH].p < 0.05 and less[BOTH].seeds == 11
    assert all(less[data].images.middle > 0 and less[data].p > 0.05 for data in REDUNDANT)


def test_the_cover_had_too_little_to_choose_on_highway_cam_alone(figures):
    early = {
        grid: [each for each in covers_of(figures.rows, grid, "taudis") if each.early]
        for grid in figures.sets
    }
    assert {grid for grid, found in early.items() if found} == {*HIGHWAY}
    covers = [each for grid in HIGHWAY for each in covers_of(figures.rows, grid, "taudis")]
    scenes = [[c.scenes for c in covers if c.early is early] for early in (True, False)]
    assert mean(scenes[0]) < mean(scenes[1])
    assert max(each.coverable for each in covers if each.picks == 1) < 0.05


def test_the_first_choices_by_uncertainty_are_crowded_but_those_of_margin(figures):
    random = figures.first("objects", "random")
    for name in ("wse", "wce", "average_se", "average_ce"):
        assert figures.first("objects", name) > 2 * random
    assert figures.first("objects", "margin") < random


def test_wse_prefers_large_objects_on_highway_cam_and_taudis_does_not(figures):
    for grid in HIGHWAY:
        assert figures.size(grid, "wse") > 2 > figures.size(grid, "taudis")
    assert all(0.8 < figures.size(grid, "wse") < 1.5 for grid in (*FACADES, *FIVE_SEEDS))


def test_on_tools_bench_taudis_saves_images_and_no_objects_and_crowded_images_save_more(figures):
    assert len(more(figures.of(FIVE_SEEDS), "taudis", "random", "images")) == 5
    assert gain(figures, FIVE_SEEDS, "taudis").low > 0
    objects = gain(figures, FIVE_SEEDS, "taudis", axis="objects")
    assert objects.middle < 0 < objects.high
    images = figures.saved(FIVE_SEEDS, "taudis", "images")
    assert (
        images.interval.low > 0.05 and f"it saved {saved_share(images)} of the images" in EVIDENCE
    )
    share = figures.saved(FIVE_SEEDS, "taudis", "objects").interval
    assert share.low < share.middle < 0 < share.high
    assert gain(figures, FIVE_SEEDS, "taudis", "foreground_random").high < 0


def test_on_oam_buildings_no_order_is_better_or_worse_than_random(figures):
    for name in ("taudis", "foreground_random", "wse"):
        assert len(more(figures.of(OTHER_FIVE), name, "random", "images")) == 5
        found = gain(figures, OTHER_FIVE, name)
        assert found.low < 0 < found.high


def test_taudis_chooses_fewer_scenes_than_random_and_more_objects(figures):
    for grid in (HIGHWAY[0], FIVE_SEEDS[0]):
        assert float(figures.scenes(grid, "taudis")) < float(figures.scenes(grid, "random"))
    assert figures.objects(FACADES, "taudis") > 1.1 and figures.objects(FIVE_SEEDS, "taudis") > 1.5
    assert figures.first("scenes", "taudis_one") > figures.first("scenes", "taudis")


def test_neither_more_scenes_nor_surer_candidates_are_above_random_on_highway_cam(figures):
    first = HIGHWAY[:1]
    one, sure = (gain(figures, first, name) for name in ("taudis_one", "taudis_scale_t03"))
    assert one.low < 0 < one.high and sure.high < 0
    assert len(more(figures.of(first), "taudis_one", "random", "images")) == 3
    scenes = [float(figures.scenes(first[0], name)) for name in ("taudis", "taudis_one", "random")]
    assert scenes == sorted(scenes)
    assert not any(each.early for each in covers_of(figures.rows, first[0], "taudis_one"))
    more_than_taudis = gain(figures, FIVE_SEEDS, "taudis_one", "taudis")
    assert more_than_taudis.low < 0 < more_than_taudis.high


def test_no_order_on_the_first_division_of_highway_cam_is_above_random(figures):
    first = HIGHWAY[:1]
    names = {row.strategy for row in figures.of(first)} - {None, "random"}
    assert {*SCREENED, "taudis", "taudis_one", "foreground_random"} < names
    for name in names:
        assert len(more(figures.of(first), name, "random", "images")) == 3
        assert gain(figures, first, name).middle < 0
    assert gain(figures, HIGHWAY[1:], "taudis").middle > 0

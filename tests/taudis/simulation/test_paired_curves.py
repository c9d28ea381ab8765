"""Which rows can be compared, and what is said of those that cannot."""

from __future__ import annotations

import pytest

from taudis.errors import DataError
from taudis.simulation.paired_curves import Choice, paired_curves
from taudis.simulation.result_rows import read_results
from tests.taudis.simulation.result_cases import RANDOM, TWICE, on_seeds, result_rows, save_rows


@pytest.fixture
def sets(tmp_path):
    def run(rows, choice=None):
        path = save_rows(tmp_path / "rows.jsonl", rows)
        return paired_curves(read_results([path]).rows, choice or Choice())

    return run


BOTH = on_seeds(3, random=RANDOM, taudis=TWICE)


def without(rows, **keys):
    return [row for row in rows if any(row[key] != value for key, value in keys.items())]


def test_the_reference_is_first_and_points_are_in_order(sets):
    rows = result_rows(on_seeds(3, random=RANDOM, cover=TWICE, wse=RANDOM))
    (found,) = sets(rows[::-1])
    assert list(found.curves) == ["random", "cover", "wse"] and found.rounds == 4
    assert found.seeds == (0, 1, 2) and list(found.seed_set) == [0, 1, 2]
    curve = found.curves["cover"][1]
    assert curve.map50.tolist() == [0.1, *TWICE]
    assert curve.labels["images"].tolist() == [10, 20, 30, 40, 50]
    assert curve.labels["objects"].tolist() == [20, 40, 60, 80, 100]


def test_each_data_set_has_its_own(sets):
    rows = result_rows(BOTH, data="tools") + result_rows(BOTH, data="cells", grid="c3")
    found = sets(rows)
    assert [(each.name, each.grid) for each in found] == [("cells", "c3"), ("tools", "a1b2")]


def test_mixed_grids_are_refused(sets):
    rows = result_rows(BOTH) + result_rows(BOTH, grid="ffff")
    with pytest.raises(DataError, match=r"cells: expected rows of one grid, got 27 rows of a1b2"):
        sets(rows)


def test_a_row_twice_is_refused_with_both_places(sets):
    rows = result_rows(BOTH)
    again = {**rows[-1], "map50": 0.25}
    with pytest.raises(DataError) as error:
        sets([*rows, again])
    text = str(error.value)
    assert "line 28: expected one row of each model, got taudis, seed 2, round 4 again" in text
    assert "line 27 (mAP50: 0.8 and 0.25)" in text


def test_a_file_named_twice_is_refused(tmp_path):
    path = save_rows(tmp_path / "rows.jsonl", result_rows(BOTH))
    with pytest.raises(DataError, match=r"the seed set, seed 0 again, .*the same.*Name each file"):
        paired_curves(read_results([path, path]).rows, Choice())


def test_missing_seeds_are_named(sets):
    rows = without(result_rows(BOTH), strategy="taudis", seed=1)
    with pytest.raises(DataError, match="got no round of taudis, seed 1") as error:
        sets(rows)
    assert "--finished-only" in str(error.value)


def test_missing_rounds_and_seed_sets_are_named(sets):
    rows = without(result_rows(BOTH), strategy="taudis", seed=1, round=3)
    rows = without(rows, kind="seed_set", seed=2)
    with pytest.raises(DataError, match="got no seed set of seed 2; not round 3 of taudis, seed 1"):
        sets(rows)


def test_finished_seeds_alone_are_compared_and_the_others_counted(sets):
    rows = without(result_rows(BOTH), strategy="taudis", seed=1, round=3)
    (found,) = sets(rows, Choice(finished_only=True))
    assert found.seeds == (0, 2)
    assert found.left_out == {"random": (1,), "taudis": (1,)}


def test_no_finished_seed_is_refused(sets):
    rows = without(
        result_rows(on_seeds(1, random=RANDOM, taudis=TWICE)), strategy="taudis", round=4
    )
    with pytest.raises(DataError, match="expected a seed that every strategy has finished"):
        sets(rows, Choice(finished_only=True))


def test_a_missing_reference_is_named(sets):
    with pytest.raises(DataError, match=r"reference random, got strategies: taudis, wse\."):
        sets(result_rows(on_seeds(2, wse=RANDOM, taudis=TWICE)))
    with pytest.raises(DataError, match=r"reference random, got strategies: none\."):
        sets(result_rows(on_seeds(2, random=())))


def test_a_strategy_beside_the_reference_is_needed(sets):
    with pytest.raises(DataError, match="expected a strategy beside the reference"):
        sets(result_rows(on_seeds(2, random=RANDOM)))


def test_strategies_can_be_chosen(sets):
    rounds = on_seeds(3, random=RANDOM, taudis=TWICE, wse=RANDOM)
    del rounds["wse"][1]
    (found,) = sets(result_rows(rounds), Choice(strategies=("taudis",)))
    assert list(found.curves) == ["random", "taudis"]
    with pytest.raises(DataError, match="expected rows of cover, got strategies: random, taudis"):
        sets(result_rows(rounds), Choice(strategies=("taudis", "cover")))


def test_labels_must_add_up(sets):
    rows = result_rows(BOTH)
    rows[-1]["labelled_images"] += 1
    with pytest.raises(DataError, match=r"line 27: expected 50 labelled images with 100 objects"):
        sets(rows)


def test_no_rows_are_refused(sets):
    with pytest.raises(DataError, match="expected rows of `simulate`, got none"):
        sets([])

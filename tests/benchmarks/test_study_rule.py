"""The rule of the default, on made-up rows of the sets to test on."""

from __future__ import annotations

import pytest

from benchmarks.study import CHOSEN, PARTS
from benchmarks.study_rule import SETS, by_rule
from taudis.simulation.result_rows import read_results
from tests.taudis.simulation.result_cases import result_rows, save_rows

LOW, MIDDLE, HIGH = (0.2, 0.3), (0.3, 0.4), (0.5, 0.6)


def rows_of(folder, *, objects=None, sets=tuple(SETS), **strategies):
    """Rows of both divisions of the sets, with the seeds of their parts."""
    paths = []
    for part, seeds in (("test", range(3)), ("test_again", range(3, 6))):
        for grid in PARTS[part].grids:
            if grid.data not in sets:
                continue
            curves = {
                name: {seed: tuple(each + 0.01 * seed for each in curve) for seed in seeds}
                for name, curve in strategies.items()
            }
            rows = result_rows(curves, data=grid.name, grid=grid.name, objects=objects)
            paths.append(save_rows(folder / f"{grid.name}.jsonl", rows))
    return read_results(paths).rows


def test_an_order_that_is_better_everywhere_becomes_the_default(tmp_path):
    rows = rows_of(tmp_path, random=LOW, foreground_random=MIDDLE, taudis=MIDDLE, **{CHOSEN: HIGH})
    found = by_rule(rows)
    assert found[CHOSEN].meets and not found["taudis"].meets
    assert found[CHOSEN].seeds == 12 and found[CHOSEN].p < 0.01 and found["taudis"].p == 1
    assert found[CHOSEN].images.middle == pytest.approx(0.15)  # 0, 0.2, 0.2 at 10, 20, 30 images
    assert set(found[CHOSEN].random) == set(SETS)


def test_an_order_whose_labels_cost_more_objects_does_not(tmp_path):
    """It is better by images, and each of its images holds ten times the objects."""
    rows = rows_of(
        tmp_path, random=LOW, foreground_random=MIDDLE, taudis=MIDDLE,
        objects={CHOSEN: 2000}, **{CHOSEN: HIGH},
    )  # fmt: skip
    found = by_rule(rows)[CHOSEN]
    assert found.images.low > 0 and found.objects.high < 0 and found.meets is False


def test_an_order_that_is_worse_than_random_does_not(tmp_path):
    rows = rows_of(tmp_path, random=HIGH, foreground_random=LOW, taudis=LOW, **{CHOSEN: MIDDLE})
    found = by_rule(rows)[CHOSEN]
    assert found.images.low > 0 and found.meets is False


def test_with_a_set_missing_nothing_is_known(tmp_path):
    rows = rows_of(
        tmp_path, sets=("facades",), random=LOW, foreground_random=MIDDLE, taudis=MIDDLE,
        **{CHOSEN: HIGH},
    )  # fmt: skip
    assert by_rule(rows)[CHOSEN].meets is None
    assert by_rule(rows)["taudis"].p is None
    assert {each.meets for each in by_rule([]).values()} == {None}


def changed_rows(folder, change):
    """The rows of a clear case, less those for which `change` answers True."""
    rows = rows_of(folder, random=LOW, foreground_random=MIDDLE, taudis=MIDDLE, **{CHOSEN: HIGH})
    assert by_rule(rows)[CHOSEN].meets
    return [row for row in rows if not change(row)]


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row.data.endswith("split1") and row.data.startswith("facades"),
        lambda row: (row.strategy, row.seed) == (CHOSEN, 5),
        lambda row: (row.strategy, row.seed, row.round) == ("random", 0, 2),
        lambda row: row.round == 2,
        lambda row: row.strategy == "taudis",
    ],
    ids=["a division", "a seed", "a round", "the last rounds", "the other candidate"],
)
def test_before_all_planned_rows_are_there_there_is_no_verdict(tmp_path, change):
    found = by_rule(changed_rows(tmp_path, change))
    assert [(each.meets, each.p) for each in found.values()] == [(None, None)] * 2

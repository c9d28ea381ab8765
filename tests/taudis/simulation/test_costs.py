"""The model of annotation seconds."""

from __future__ import annotations

import pytest

from taudis.errors import DataError
from taudis.simulation.costs import Seconds
from taudis.simulation.result_rows import read_results
from tests.taudis.simulation.result_cases import on_seeds, result_rows, save_rows

FIGURES = Seconds(look=10, draw=100, reshape=40, accept=3, remove=5)


def round_row(tmp_path, fixes):
    rows = result_rows(on_seeds(1, wse=(0.2,)), corrections={"wse": fixes} if fixes else None)
    return read_results([save_rows(tmp_path / "rows.jsonl", rows)]).rows[1]


def test_a_round_without_corrections_is_drawn(tmp_path):
    assert FIGURES.of_round(round_row(tmp_path, None)) == 10 * 10 + 20 * 100


def test_a_round_with_corrections_is_corrected(tmp_path):
    found = round_row(tmp_path, {"accepted": 8, "reshaped": 7, "added": 5, "removed": 2})
    assert FIGURES.of_round(found) == 10 * 10 + 5 * 100 + 7 * 40 + 8 * 3 + 2 * 5
    by_hand = Seconds(look=10, draw=100, by_hand=True)
    assert by_hand.of_round(found) == 10 * 10 + 20 * 100


def test_the_default_draws_an_object_in_the_time_that_coco_states():
    assert Seconds().draw == pytest.approx(22 * 3600 / 1000)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_seconds_are_numbers_from_0_on(value):
    with pytest.raises(DataError, match="expected remove to be a number from 0 on"):
        Seconds(remove=value)


def test_labels_cost_something():
    with pytest.raises(DataError, match="look or draw above 0"):
        Seconds(look=0, draw=0)

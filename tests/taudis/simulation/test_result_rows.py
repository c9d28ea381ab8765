"""Reading the rows of a simulation."""

from __future__ import annotations

import json

import pytest

from taudis.errors import DataError
from taudis.simulation.result_rows import read_results
from taudis.simulation.row_format import Corrections
from tests.taudis.simulation.result_cases import RANDOM, on_seeds, result_rows, row, save_rows


def test_rows_of_several_files_are_read_in_order(tmp_path):
    one = save_rows(tmp_path / "one.jsonl", result_rows(on_seeds(1, random=RANDOM)))
    other = save_rows(tmp_path / "other.jsonl", [row("all", 4, 0.75, 200, 400)])
    found = read_results([one, other])
    assert [each.kind for each in found.rows] == ["seed_set", *["round"] * 4, "all"]
    assert [each.round for each in found.rows] == [None, 1, 2, 3, 4, None]
    first, last = found.rows[1], found.rows[-1]
    assert (first.strategy, first.seed, first.map50) == ("random", 0, 0.2)
    assert (first.labelled_images, first.chosen_images) == (20, 10)
    assert (first.labelled_objects, first.chosen_objects) == (40, 20)
    assert (last.strategy, last.seed, last.labelled_objects) == (None, 4, 400)
    assert first.where == f"{one}, line 2" and found.half_written == 0


def test_corrections_are_read(tmp_path):
    fixes = {"accepted": 5, "reshaped": 4, "added": 3, "removed": 2}
    rows = result_rows(on_seeds(1, random=(0.2,)), corrections={"random": fixes})
    found = read_results([save_rows(tmp_path / "rows.jsonl", rows)])
    assert [each.corrections for each in found.rows] == [None, Corrections(5, 4, 3, 2)]


@pytest.mark.parametrize("cut", [1, 10, 200, -1])
def test_a_half_written_last_line_is_left_out_and_counted(tmp_path, cut):
    rows = result_rows(on_seeds(1, random=RANDOM))
    line = json.dumps(row("all", 0, 0.7, 200, 400, data="Zähne"), ensure_ascii=False)
    path = save_rows(tmp_path / "rows.jsonl", rows)
    path.write_bytes(path.read_bytes() + line.encode()[:cut])
    found = read_results([path])
    assert len(found.rows) == len(rows) and found.half_written == 1


def test_a_line_cut_within_a_letter_is_half_written(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes('{"data": "Zä'.encode()[:-1])
    assert read_results([path]).half_written == 1


def test_a_whole_last_line_without_an_end_counts(tmp_path):
    rows = result_rows(on_seeds(1, random=RANDOM))
    path = save_rows(tmp_path / "rows.jsonl", rows[:-1], tail=json.dumps(rows[-1]))
    found = read_results([path])
    assert len(found.rows) == len(rows) and found.half_written == 0


def test_a_half_written_line_in_the_middle_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"format": 1, "gr\n' + json.dumps(row("all", 0, 0.7, 200, 400)) + "\n")
    with pytest.raises(DataError, match=r"rows.jsonl, line 1: .* delete that line"):
        read_results([path])


@pytest.mark.parametrize(
    ("line", "got"),
    [('{"format": 2}', "got 2"), ("{}", "got None"), ("[1]", "got list"), ("7", "got int")],
)
def test_an_unknown_format_is_refused(tmp_path, line, got):
    path = tmp_path / "rows.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(DataError, match=rf'line 1: expected a row .* "format": 1, {got}\.'):
        read_results([path])


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("kind", "rounds", "one of seed_set, round, all, got 'rounds'"),
        ("grid", "", "a text, got ''"),
        ("data", None, "a text, got None"),
        ("strategy", None, "a text, got None"),
        ("seed", -1, "a whole number from 0 on, got -1"),
        ("labelled_objects", 10**400, "a whole number from 0 on, got 1000"),
        ("seed", True, "a whole number from 0 on, got True"),
        ("round", 0, "a whole number from 1 on, got 0"),
        ("labelled_images", 12.0, "a whole number from 1 on, got 12.0"),
        ("map50", float("nan"), "a number from 0 to 1, got nan"),
        ("map50", 1.5, "a number from 0 to 1, got 1.5"),
        ("map50", True, "a number from 0 to 1, got True"),
        ("map50", None, "a number from 0 to 1, got None"),
        ("chosen", None, "a list, got None"),
        ("corrections", [1], "null or an object of accepted, reshaped, added, removed, got"),
        ("corrections", {"accepted": 1}, "a whole number from 0 on, got None"),
    ],
)
def test_a_wrong_field_is_named(tmp_path, key, value, expected):
    rows = result_rows(on_seeds(1, random=(0.2,)))
    rows[1][key] = value
    with pytest.raises(DataError) as error:
        read_results([save_rows(tmp_path / "rows.jsonl", rows)])
    assert "rows.jsonl, line 2" in str(error.value) and expected in str(error.value)

"""docs/results says what its rows say, and the study's grids are what it says they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backend.web.status.evidence import (
    EVIDENCE,
    NOT_TESTED,
    OTHER_PARAMETERS,
    RANDOM,
    WSE,
    evidence,
)
from benchmarks.page_tables import filled
from benchmarks.study import PARTS, ROWS, Grid, add_rows
from benchmarks.study_choices import CHOICES, known, record
from benchmarks.study_contents import CONTENTS, sizes_of
from benchmarks.study_curves import CURVES, draw
from benchmarks.study_rows import CHOICE, read
from benchmarks.study_tables import PAGE, TABLES
from taudis.errors import DataError
from taudis.selection.params import SelectionParams
from taudis.selection.strategies import STRATEGIES
from taudis.simulation.claims import Lock
from taudis.simulation.presets import read_presets

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_holds_the_tables_of_the_rows():
    page = PAGE.read_text(encoding="utf-8")
    assert filled(page, TABLES, read(ROWS)) == page


@pytest.mark.parametrize("path", [PAGE, ROOT / "README.md"])
def test_readme_and_results_say_what_the_status_page_says(path):
    assert EVIDENCE in " ".join(path.read_text(encoding="utf-8").split())


def test_the_sentence_is_shown_for_the_order_that_was_tested_alone():
    assert evidence("taudis") == EVIDENCE and evidence("wse") == WSE
    assert evidence("taudis", own_parameters=True) == OTHER_PARAMETERS
    others = {*STRATEGIES} - {"taudis", "wse", *RANDOM}
    assert {evidence(name) for name in others} == {NOT_TESTED}
    assert [evidence(name, own_parameters=True) for name in RANDOM] == ["", ""]


def test_the_curves_are_those_of_the_rows_and_on_the_page(tmp_path):
    page = PAGE.read_text(encoding="utf-8")
    names = draw(tmp_path)
    assert sorted(names) == sorted(path.name for path in CURVES.iterdir())
    for name in names:
        assert f"(curves/{name})" in page
        assert (tmp_path / name).read_bytes() == (CURVES / name).read_bytes(), name


def test_every_row_of_a_file_is_of_its_grid():
    grids = {grid.name: grid for part in PARTS.values() for grid in part.grids}
    for path in ROWS.glob("*.jsonl"):
        grid = grids[path.stem]
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        shared = {json.dumps(row["record"]["shared"], sort_keys=True) for row in rows}
        assert len(shared) == 1
        found = json.loads(shared.pop())
        assert (found["recipe"]["steps"], found["seed_images"], found["budget"]) == (
            grid.steps, grid.images, grid.images,
        )  # fmt: skip
        assert (found["rounds"], found["split_seed"]) == (grid.rounds, grid.split)
        assert found["recipe"]["precision"] == grid.precision
        assert {row["data"] for row in rows} == {path.stem}


@pytest.mark.parametrize("part", PARTS)
def test_the_entries_of_a_part_are_strategies(part):
    entries = PARTS[part].entries
    assert len(read_presets(",".join(entries), SelectionParams())) == len(entries)


def test_another_division_has_another_name():
    assert Grid("cells", steps=9, images=4, split=1).name == "cells-split1"


def test_rows_are_kept_in_one_order_and_a_half_written_one_is_left_out(tmp_path):
    rows = [
        {"kind": "round", "seed": 1, "strategy": "wse", "round": 1},
        {"kind": "round", "seed": 0, "strategy": "wse", "round": 2},
        {"kind": "round", "seed": 0, "strategy": "wse", "round": 1},
        {"kind": "all", "seed": 1, "strategy": None, "round": None},
    ]
    source, target = tmp_path / "rows.jsonl", tmp_path / "kept" / "cells.jsonl"
    source.write_text("".join(f"{json.dumps(row)}\n" for row in rows) + '{"kind": "ro')
    add_rows(source, target)
    assert kept_in(target) == [rows[3], rows[2], rows[1], rows[0]]


def kept_in(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def row(seed, map50=0.5):
    return {"kind": "seed_set", "seed": seed, "map50": map50}


def save(path, *rows):
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def test_rows_of_another_machine_stay(tmp_path):
    source, target = tmp_path / "run" / "rows.jsonl", tmp_path / "kept" / "cells.jsonl"
    save(source, row(1))
    save(target, row(0), row(2))
    assert add_rows(source, target) == 3
    assert kept_in(target) == [row(0), row(1), row(2)]


def test_two_rows_of_one_job_are_refused_and_nothing_is_written(tmp_path):
    source, target = tmp_path / "run" / "rows.jsonl", tmp_path / "kept" / "cells.jsonl"
    save(source, row(0), row(1))
    save(target, row(0, map50=0.6))
    with pytest.raises(DataError, match="seed=0"):
        add_rows(source, target)
    assert kept_in(target) == [row(0, map50=0.6)]


def test_the_kept_rows_are_in_their_order(tmp_path):
    for path in ROWS.glob("*.jsonl"):
        add_rows(path, tmp_path / path.name)
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_a_choice_is_recorded_once_and_a_torn_line_goes(tmp_path):
    path, lock = tmp_path / "choices.jsonl", Lock(tmp_path / "lock")
    first, second = ({"data": "cells", "seed": seed, "strategy": "wse"} for seed in (0, 1))
    for each in (first, second, first):
        record(each, lock, path)
    path.write_bytes(path.read_bytes()[:-5])
    assert known(path) == {("cells", 0, "wse")}
    record(second, lock, path)
    assert kept_in(path) == [first, second]


def test_the_contents_are_those_of_the_rows():
    lines = [line for line in kept_in(CONTENTS) if line.get("round")]
    key = ("data", "strategy", "seed", "round")
    rows = [row for path in ROWS.glob("*.jsonl") for row in kept_in(path) if row["kind"] == "round"]
    assert len(lines) == len(rows)
    expected = {tuple(row[name] for name in key): row["chosen_objects"] for row in rows}
    assert {tuple(line[name] for name in key): line["objects"] for line in lines} == expected


def test_every_choice_has_its_contents():
    lines = [line for line in kept_in(CONTENTS) if line.get("kind") == CHOICE]
    key = ("data", "strategy", "seed", "objects")
    rows = kept_in(CHOICES)
    assert [[line[name] for name in key] for line in lines] == [
        [row[name] for name in key] for row in rows
    ]


def test_the_size_of_an_object_is_its_share_of_the_image(tmp_path):
    path = tmp_path / "instances.json"
    annotations = [
        {"image_id": 1, "area": 20.0},
        {"image_id": 1, "area": 5.0, "iscrowd": 0},
        {"image_id": 1, "area": 90.0, "iscrowd": 1},
    ]
    images = [{"id": 1, "width": 20, "height": 10}, {"id": 2, "width": 4, "height": 4}]
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    assert sizes_of(path) == {1: [0.1, 0.025], 2: []}

"""docs/results says what its rows say, and the study's grids are what it says they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backend.web.status.evidence import EVIDENCE, evidence
from benchmarks.page_tables import filled
from benchmarks.study import PARTS, ROWS, Grid, copy_rows
from benchmarks.study_tables import PAGE, TABLES, read
from taudis.selection.params import SelectionParams
from taudis.simulation.presets import read_presets

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_holds_the_tables_of_the_rows():
    page = PAGE.read_text(encoding="utf-8")
    assert filled(page, TABLES, read(ROWS)) == page


@pytest.mark.parametrize("path", [PAGE, ROOT / "README.md"])
def test_readme_and_results_say_what_the_status_page_says(path):
    assert EVIDENCE in " ".join(path.read_text(encoding="utf-8").split())
    assert evidence("taudis") == EVIDENCE and evidence("random") == ""


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
    copy_rows(source, target)
    kept = [json.loads(line) for line in Path(target).read_text().splitlines()]
    assert kept == [rows[3], rows[2], rows[1], rows[0]]

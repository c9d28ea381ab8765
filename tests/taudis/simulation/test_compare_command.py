"""`python -m taudis compare`, from files of rows to tables, JSON and pictures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib.image import imread
from typer.testing import CliRunner

from taudis.__main__ import app
from taudis.errors import DataError
from tests.taudis.simulation.result_cases import RANDOM, TWICE, on_seeds, result_rows, save_rows

ROOT = Path(__file__).resolve().parents[3]
FIVE = on_seeds(5, random=RANDOM, taudis=TWICE, wse=(0.1, 0.1, 0.1, 0.1))


def call(*arguments):
    done = CliRunner().invoke(app, ["compare", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def file(tmp_path):
    return save_rows(tmp_path / "rows.jsonl", result_rows(FIVE, all_labels=(0.8, 0.82)))


def table_rows(text):
    """Strategy -> cells, of the first table."""
    lines = text.split("\n\n")
    table = next(part for part in lines if part.startswith("| strategy | final"))
    cells = [line.strip("|").split("|") for line in table.splitlines()[2:]]
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in cells}


def test_the_last_line_is_json_with_the_promised_keys(file):
    found = json.loads(call(file, "--json").splitlines()[-1])
    assert found["data"] == ["cells"] and found["seeds"] == [0, 1, 2, 3, 4]
    assert found["strategies"] == ["random", "taudis", "wse"]
    assert found["labels_saved"]["taudis"]["images"] == [0.5, 0.5, 0.5]
    assert found["labels_saved"]["wse"]["images"] == [None, None, 0.0]
    assert found["not_reached"]["wse"]["images"] == {"seeds": 5, "at_most": 0.0}
    assert found["signal"]["passed"] is True and found["warnings"] == []
    assert found["auc"]["taudis"]["images"]["more_than_reference"] == [0.2375] * 3
    assert found["tests"]["taudis"]["images"] == {"p": 0.0625, "p_holm": 0.125}
    assert found["tests"]["smallest_p"] == 0.125 and found["seconds"]["draw"] == 79.2


def test_the_tables_say_what_was_found(file):
    text = call(file)
    assert "Signal gate: passed" in text and "Warning" not in text
    found = table_rows(text)
    assert found["taudis"][1] == "50 % (50 to 50)" and found["taudis"][5] == "0 of 5"
    assert found["wse"][1] == "at most 0 % (unknown to 0)" and found["wse"][5] == "5 of 5"
    assert found["wse"][4] == "not reached"
    assert "smallest p that 5 seeds allow is 0.0625, corrected 0.1250: no test can" in text


def test_several_data_sets_have_a_section_each(file, tmp_path):
    other = save_rows(tmp_path / "other.jsonl", result_rows(FIVE, data="a|b", grid="c3"))
    text = call(file, other, "--json")
    assert text.count("\n## ") + text.startswith("## ") == 2 and "## a\\|b" in text
    found = json.loads(text.splitlines()[-1])
    assert found["data"] == ["a|b", "cells"]
    assert found["signal"]["cells"]["passed"] is True
    assert found["signal"]["a|b"]["passed"] is None
    assert found["labels_saved"]["a|b"]["taudis"]["images"] == [0.5, 0.5, 0.5]


def test_a_gate_that_failed_or_was_not_run_is_a_warning(tmp_path):
    path = save_rows(tmp_path / "failed.jsonl", result_rows(FIVE, all_labels=(0.1, 0.1)))
    assert "**Warning:** the signal gate failed" in call(path)
    path = save_rows(tmp_path / "not_run.jsonl", result_rows(FIVE))
    assert "**Warning:** the signal gate was not run" in call(path)


def test_left_out_seeds_half_written_lines_and_few_seeds_are_warnings(tmp_path):
    rows = result_rows(FIVE)
    rows = [row for row in rows if (row["strategy"], row["seed"]) != ("wse", 3)]
    path = save_rows(tmp_path / "rows.jsonl", rows, tail='{"format"')
    text = call(path, "--finished-only")
    assert "1 half-written last line(s) left out" in text
    assert "left out of random: seed 3, not finished by all strategies" in text
    assert "an interval of 95 % takes 5 seeds or more, got 4" in text


def test_one_seed_has_estimates_without_intervals_and_no_test(tmp_path):
    path = save_rows(tmp_path / "rows.jsonl", result_rows(on_seeds(1, random=RANDOM, taudis=TWICE)))
    found = json.loads(call(path, "--json").splitlines()[-1])
    assert found["labels_saved"]["taudis"]["images"] == [None, 0.5, None]
    assert found["auc"]["taudis"]["images"]["more_than_reference"] == [None, 0.2375, None]
    assert found["tests"]["taudis"]["images"] == {"p": 1.0, "p_holm": 1.0}


def test_mixed_ways_of_labelling_are_a_warning(tmp_path):
    fixes = {"taudis": {"accepted": 18, "reshaped": 2, "added": 0, "removed": 0}}
    path = save_rows(tmp_path / "rows.jsonl", result_rows(FIVE, corrections=fixes))
    assert "20 rounds by corrected pre-annotations, 40 by hand" in call(path)
    assert "seconds mix" not in call(path, "--by-hand")


def test_seconds_can_be_set(file):
    found = json.loads(
        call(file, "--json", "--draw-seconds", 10, "--look-seconds", 0).splitlines()[-1]
    )
    assert (found["seconds"]["draw"], found["seconds"]["look"]) == (10, 0)
    with pytest.raises(DataError, match="expected draw to be a number from 0 on, got -1"):
        call(file, "--draw-seconds", -1)


@pytest.mark.slow
def test_out_holds_tables_and_curves(file, tmp_path):
    other = save_rows(tmp_path / "other.jsonl", result_rows(FIVE, data="a/../b $x_1", grid="c3"))
    out = tmp_path / "new" / "out"
    text = call(file, other, "--out", out)
    names = sorted(path.name for path in out.iterdir())
    assert names == [
        "curves-a_.._b_x_1.png", "curves-a_.._b_x_1.svg", "curves-cells.png", "curves-cells.svg",
        "results.md",
    ]  # fmt: skip
    page = (out / "results.md").read_text(encoding="utf-8")
    assert page.startswith(text) and "(curves-cells.png)" in page
    assert imread(out / "curves-cells.png").shape[1] > 1000
    assert ElementTree.parse(out / "curves-cells.svg").getroot().tag.endswith("svg")
    before = (out / "curves-cells.svg").read_bytes()
    call(file, other, "--out", out)
    assert (out / "curves-cells.svg").read_bytes() == before


def test_names_that_look_alike_have_pictures_of_their_own():
    from taudis.simulation.curve_picture import picture_stems

    found = picture_stems(["a b", "a/b", "a_b-2", "a_b"])
    assert len(set(found.values())) == 4 and found["a b"] == "curves-a_b"


def test_out_must_be_a_folder(file):
    with pytest.raises(DataError, match="expected a folder or a new name for --out, got a file"):
        call(file, "--out", file)


@pytest.mark.slow
def test_comparing_loads_no_torch(file):
    code = (
        "import sys; from taudis.__main__ import app\n"
        f"try: app(['compare', {str(file)!r}])\n"
        "finally: sys.stderr.write(f'torch: {\"torch\" in sys.modules}')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.stderr.endswith("torch: False") and "| taudis |" in done.stdout

"""The commands that README and docs give as examples: all are understood, one grid is run."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_group

from taudis.__main__ import app
from tests.taudis.cli.cli_cases import call
from tests.taudis.simulation.simulation_cases import write_data

ROOT = Path(__file__).resolve().parents[3]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
LOOK, DRAW, RESHAPE, SEE = 7.8, 79.2, 26.4, 3.5
"""Seconds of a person, as the table of docs/comparing.md has them."""


def examples(page: Path) -> list[list[str]]:
    """The arguments of each `python -m taudis` in the bash blocks of a page."""
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [line[3:] for line in words if line[1:3] == ["-m", "taudis"]]


@pytest.mark.parametrize(
    "arguments",
    [pytest.param(words, id=" ".join(words[:2])) for page in PAGES for words in examples(page)],
)
def test_every_example_is_understood(arguments):
    """Its command has these options, and each has a value of the right kind."""
    name, *rest = arguments
    get_group(app).commands[name].make_context(name, rest)


@pytest.fixture(scope="module")
def tried(tmp_path_factory):
    """The first two commands of docs/experiments.md, as written: their last lines and the rows."""
    folder = tmp_path_factory.mktemp("tried")
    write_data(folder / "mydata" / "images", images=24)
    (folder / "mydata/images/instances.json").rename(folder / "mydata/instances.json")
    first, second = examples(ROOT / "docs/experiments.md")[:2]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        simulated, compared = call(*first), call(*second)
        rows = [json.loads(line) for line in Path(simulated["rows"]).read_text().splitlines()]
        pictures = {path.name for path in Path("runs/try/comparison").iterdir()}
    return simulated, compared, rows, pictures


@pytest.mark.slow
def test_the_first_example_leads_from_labels_to_a_comparison(tried):
    simulated, compared, rows, pictures = tried
    assert simulated["rows_done"] == len(rows) == 2 + 2 + 2 * 2
    assert compared["strategies"] == ["random", "taudis"] and compared["seeds"] == [0, 1]
    assert compared["data"] == ["mydata"] and compared["rounds"] == 1
    assert compared["grid"] == simulated["grid"] and compared["signal"] == simulated["signal"]
    assert compared["signal"]["passed"] in (True, False)
    assert any("takes 5 seeds or more, got 2" in each for each in compared["warnings"])
    assert pictures == {"results.md", "curves-mydata.png", "curves-mydata.svg"}


def labels_of(row, start, axis):
    """The labels of a row in images, objects or seconds; `start` is the row of its seed set."""
    if axis != "seconds":
        return row[f"labelled_{axis}"]
    drawn = LOOK * start["labelled_images"] + DRAW * start["labelled_objects"]
    if row is start:
        return drawn
    work = row["corrections"]
    drawn += LOOK * len(row["chosen"]) + DRAW * work["added"] + RESHAPE * work["reshaped"]
    return drawn + SEE * (work["accepted"] + work["removed"])


def mean_height(row, start, until, axis):
    """The mean height of the line from the seed set to a row, as far as `until` labels."""
    first, last = (labels_of(each, start, axis) for each in (start, row))
    reached = (until - first) / (last - first)
    return start["map50"] + (row["map50"] - start["map50"]) * reached / 2


@pytest.mark.slow
@pytest.mark.parametrize("axis", ["images", "objects", "seconds"])
def test_the_comparison_of_the_first_example_is_that_of_its_rows(tried, axis):
    _, compared, rows, _ = tried
    start = {row["seed"]: row for row in rows if row["kind"] == "seed_set"}
    more, finals = [], []
    for seed in (0, 1):
        ends = {row["strategy"]: row for row in rows if row["seed"] == seed and row["strategy"]}
        until = min(labels_of(row, start[seed], axis) for row in ends.values())
        one, other = (mean_height(ends[n], start[seed], until, axis) for n in ("taudis", "random"))
        more.append(one - other)
        finals.append(ends["taudis"]["map50"])
    assert all(row["map50"] > 0 for row in start.values()), "the models have learned something"
    assert compared["final"]["taudis"][1] == pytest.approx(sum(finals) / 2, abs=1e-4)
    found = compared["auc"]["taudis"][axis]["more_than_reference"]
    assert found == pytest.approx([min(more), sum(more) / 2, max(more)], abs=1e-4)
    assert len(compared["labels_saved"]["taudis"][axis]) == 3

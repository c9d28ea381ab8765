"""Runs the study of docs/results: grids of `simulate`, part by part, with rows that are kept.

    OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.study DATA --runs FOLDER --part screening
        [--sets tools_bench] [--entries taudis,wse] [--seeds 0-1]

It runs `python -m taudis simulate` for each set of a part, in FOLDER/NAME, and adds the rows to
docs/results/rows/NAME.jsonl. Rows of docs/results that FOLDER lacks, for example from another
machine, are first copied to FOLDER. Several processes may share a FOLDER. The parts, sets,
strategies and seeds below were fixed before the sets of the part `test` were run
(docs/results/README.md). The last line is JSON: the number of rows of each set.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.accuracy import GROUPS
from taudis.errors import DataError
from taudis.files import draft_file
from taudis.simulation.claims import Lock
from taudis.simulation.jobs import Job
from taudis.simulation.row_log import Row, RowLog

ROWS = Path(__file__).resolve().parents[1] / "docs" / "results" / "rows"


@dataclass(frozen=True)
class Grid:
    """The settings that the rows of a set share, besides the product's recipe."""

    data: str  # folder of the data set
    steps: int
    images: int  # number of images of the seed set, and of each round
    rounds: int = 3
    split: int = 0  # seed of the division into training and test images
    precision: str = "fp32"  # so that any machine can continue the grid
    again: str = ""  # suffix that distinguishes it from an earlier grid of the same set

    @property
    def name(self) -> str:
        """The name of the set in rows and file names; for another division, with its seed."""
        division = f"split{self.split}" if self.split else ""
        return "-".join(filter(None, (self.data, self.again, division)))

    def options(self, data: Path, folder: Path) -> list[str]:
        """The options of `simulate`."""
        here = data / self.data
        group = GROUPS.get(self.data)
        return [
            *("--data", str(here / "instances.json"), "--images", str(here / "images")),
            *("--out", str(folder / self.name), "--name", self.name),
            *("--steps", str(self.steps), "--rounds", str(self.rounds)),
            *("--seed-images", str(self.images), "--budget", str(self.images)),
            *("--split-seed", str(self.split), "--precision", self.precision),
            *(("--group", group) if group else ()),
            "--all-labels",
        ]


@dataclass(frozen=True)
class Part:
    """A part of the study: its grids, the entries of --strategies, and its seeds."""

    grids: tuple[Grid, ...]
    entries: tuple[str, ...]
    seeds: str


BASELINES = ("random", "foreground_random", "wse", "taudis")
OWN_ENTRIES = ("taudis_scale_t03", "cost_scale_t03", "taudis_img_all")
"""The entries from which one is chosen, by `study_tables.choosing`."""
CHOSEN = "taudis_img_all"
"""The entry chosen on 2026-11-30, before any row of a strategy on the test sets."""
BY_ALL = "taudis_by_all:taudis@chooser=all"
"""TAUDIS with the pool scored by the model of all labels: an ablation."""
OWN_STEPS = 306  # of the product's recipe for 64 labelled images, the most of these grids
PARTS = {
    "first_look": Part(
        (Grid("tools_bench", steps=400, images=16, precision="bf16"),), BASELINES, "0-1"
    ),
    # given up: the seed set leaves no room
    "trial": Part(
        (
            Grid("oam_buildings", steps=400, images=8, rounds=2),
            Grid("highway_cam", steps=400, images=16, rounds=2),
        ),
        ("random",),
        "0-1",
    ),
    "choosing": Part(
        (
            Grid("oam_buildings", steps=400, images=4, rounds=2, again="4_images"),
            Grid("tools_bench", steps=400, images=16, rounds=2, again="400_steps"),
        ),
        ("random", *OWN_ENTRIES),
        "0-1",
    ),
    # The first division and the second.
    "test": Part(
        (Grid("highway_cam", steps=400, images=8, rounds=2, again="8_images"),
         Grid("facades", steps=400, images=16, rounds=2)),
        (*BASELINES, CHOSEN),
        "0-2",
    ),
    "test_again": Part(
        (Grid("highway_cam", steps=400, images=8, rounds=2, again="8_images", split=1),
         Grid("facades", steps=400, images=16, rounds=2, split=1)),
        (*BASELINES, CHOSEN),
        "3-5",
    ),
    # Every set gets five paired seeds. The last two entries are ablations.
    "five_seeds": Part(
        (
            Grid("tools_bench", steps=400, images=16, rounds=2, again="400_steps"),
            Grid("oam_buildings", steps=400, images=4, rounds=2, again="4_images"),
        ),
        (*BASELINES, CHOSEN, BY_ALL, "taudis_one"),
        "0-4",
    ),
    "screening": Part(
        (
            Grid("nuclei_dsb2018", steps=150, images=4),
            Grid("tools_bench", steps=OWN_STEPS, images=16, again="306_steps"),
        ),
        (
            *BASELINES,
            # what a candidate is: of the pool's own scale, sure ones, true ones, few an image
            "taudis_t03", "taudis_scale_t03", "taudis_objects", "taudis_one",
            # image for image instead of votes, with the cost of labels, beside what is labelled
            "cover_t03", "cost_scale_t03", "uncovered_scale",
            # the paper's other strategies, and one after ClaSP PE
            "core_set", "round_robin", "clasp_se",
            # the paper's own rules
            "taudis_paper",
        ),
        "0-1",
    ),
}  # fmt: skip


def folder_of(name: str) -> str:
    """The folder of the data set that a grid of this name divides."""
    return next(each.data for part in PARTS.values() for each in part.grids if each.name == name)


def add_rows(source: Path, target: Path) -> int:
    """Add the rows of a set to those of `target`, sorted, in a single write. Returns their number.

    An incomplete last line is left out. Raises DataError for a job with two different rows.
    """
    rows = _rows_of(target)
    for job, row in _rows_of(source).items():
        if rows.setdefault(job, row) != row:
            raise DataError(
                f"{target}: expected the row of {source} for {job}, got another one. Find out which"
                " one is right, and delete the other line."
            )
    target.parent.mkdir(parents=True, exist_ok=True)
    with draft_file(target) as draft:
        lines = [json.dumps(rows[job]) + "\n" for job in sorted(rows, key=_place)]
        draft.write_text("".join(lines), encoding="utf-8")
    return len(rows)


def _rows_of(path: Path) -> dict[Job, Row]:
    return RowLog(path, Lock(path.parent / "lock")).read()


def _place(job: Job) -> tuple[str, int, str, int]:
    """The sort key of a row: kind, seed, strategy, round."""
    return job.kind, job.seed, job.strategy or "", job.round or 0


def run(grid: Grid, entries: str, seeds: str, data: Path, folder: Path) -> int:
    """Run or continue a grid. Returns the number of rows.

    Raises CalledProcessError, and DataError for a job with two different rows.
    """
    rows, kept = folder / grid.name / "rows.jsonl", ROWS / f"{grid.name}.jsonl"
    rows.parent.mkdir(parents=True, exist_ok=True)
    add_rows(rows, kept)  # first, so that contradicting rows end the run before hours of work
    log = RowLog(rows, Lock(rows.parent / "lock"))
    for row in _rows_of(kept).values():
        log.append(row)
    command = [sys.executable, "-m", "taudis", "simulate", *grid.options(data, folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, "--strategies", entries, "--seeds", seeds],
                   check=True, env=environment, stdout=sys.stderr)  # fmt: skip
    return add_rows(rows, kept)


def main() -> None:
    """Run a part, set by set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--part", choices=PARTS, required=True)
    parser.add_argument("--sets", help="names, with commas between; default: all of the part")
    parser.add_argument("--entries", help="names, with commas between; default: those of the part")
    parser.add_argument("--seeds", help="default: those of the part")
    given = parser.parse_args()
    part = PARTS[given.part]
    names = given.sets.split(",") if given.sets else [grid.name for grid in part.grids]
    whole = {entry.partition(":")[0]: entry for entry in part.entries}
    asked = given.entries.split(",") if given.entries else [*whole]
    entries, seeds = ",".join(whole.get(each, each) for each in asked), given.seeds or part.seeds
    found = {
        grid.name: run(grid, entries, seeds, given.data, given.runs)
        for grid in part.grids
        if grid.name in names
    }
    print(json.dumps({"rows": found}))


if __name__ == "__main__":
    main()

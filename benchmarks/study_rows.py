"""Reads the rows of the study, and pairs each strategy with random."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from benchmarks.page_tables import Row
from taudis.simulation.comparison import Comparison, compare
from taudis.simulation.gate import closed_at_once, signal_of_rows
from taudis.simulation.paired_curves import Choice, PairedCurves, paired_curves
from taudis.simulation.result_rows import ResultRow, read_results
from taudis.simulation.row_format import KINDS

CHOICE = "contents of a choice"
"""The kind of a line of contents.jsonl for a choice; see benchmarks/study_contents.py."""
BESIDE = {"choices.jsonl": "choice", "contents.jsonl": "contents"}
"""Files beside the folder of rows -> the kind of their lines."""


def read(folder: Path) -> list[Row]:
    """All rows of a folder, file by file, and the lines of BESIDE. Each row has its file's name.

    Incomplete last lines are left out.
    """
    beside = {folder.parent / name: kind for name, kind in BESIDE.items()}
    return [
        {"kind": beside.get(path), **json.loads(line), "file": str(path)}
        for path in (*sorted(folder.glob("*.jsonl")), *filter(Path.exists, beside))
        for line in path.read_text(encoding="utf-8").split("\n")[:-1]
    ]


def by_set(rows: Iterable[Row], kinds: Iterable[str] = KINDS) -> dict[str, list[Row]]:
    """The rows of each set, by its name. kinds: of the rows; those of models are the default."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row["kind"] in kinds:
            found.setdefault(row["data"], []).append(row)
    return found


def strategies(rows: Iterable[Row]) -> list[str]:
    """The strategies of rows, without random, in the order of their names."""
    return sorted({row["strategy"] for row in rows if row["strategy"]} - {"random"})


def comparisons(rows: list[Row]) -> dict[str, Comparison]:
    """Each strategy of a set against random, on the seeds that both have finished."""
    files = read_results(sorted({Path(row["file"]) for row in rows}))
    return {
        name: compare(_paired(files.rows, name))
        for name in strategies(rows)
        if finished(rows, name) & finished(rows, "random")
    }


def _paired(rows: tuple[ResultRow, ...], name: str) -> PairedCurves:
    kept = [row for row in rows if row.strategy in (None, "random", name)]
    return paired_curves(kept, Choice(finished_only=True))[0]


def finished(rows: list[Row], name: str) -> set[int]:
    """The seeds of which a strategy has finished all rounds."""
    last = max(row["record"]["shared"]["rounds"] for row in rows)
    return {row["seed"] for row in rows if (row["strategy"], row["round"]) == (name, last)}


CLOSED = 0.9
"""If random's first round closes at least this share of the gap, a comparison makes no sense."""


def is_compared(rows: list[Row]) -> bool:
    """Whether the protocol compares strategies on these rows of one set."""
    closed = closed_at_once(rows)
    return signal_of_rows(rows).passed is True and closed is not None and closed < CLOSED


def compared(rows: list[Row]) -> tuple[ResultRow, ...]:
    """The rows of the sets that the protocol compares."""
    kept = {Path(row["file"]) for own in by_set(rows).values() if is_compared(own) for row in own}
    return read_results(sorted(kept)).rows if kept else ()

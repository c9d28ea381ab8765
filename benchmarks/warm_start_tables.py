"""Writes the table of warm starts in docs/weights.md from the rows of benchmarks/warm_start.py.

.venv/bin/python -m benchmarks.warm_start_tables [ROWS] [--write]
"""

from __future__ import annotations

from benchmarks.accuracy_tables import ROOT, with_interval
from benchmarks.page_tables import Row, Tables, read, run
from benchmarks.warm_start import compared

PAGE = ROOT / "docs" / "weights.md"
ROWS = ROOT / "benchmarks" / "rows" / "warm_start.jsonl"


def warm_starts(rows: list[Row]) -> str:
    """Sets and ways: steps, mAP50, and the difference to a training from the initial weights."""
    lines = [
        "| data | labelled images, before and now | second model | steps | mAP50"
        " | more than from initial weights |",
        "|---|---|---|---|---|---|",
    ]
    for found in compared(rows):
        same = [
            row
            for row in rows
            if (row["asked"]["data"], row["asked"]["way"], row["asked"]["share"])
            == (found["data"], found["way"], found["share"])
        ]
        asked, steps = same[0]["asked"], sum(row["steps"] for row in same) / len(same)
        reset = found["way"] == "reset"
        over = with_interval(found["over_reset"])
        lines.append(
            f"| {found['data']} | {asked['first']}, {asked['then']}"
            f" | {'from initial weights' if reset else 'from the first model'} | {steps:.0f}"
            f" | {with_interval(found['map50'])} | {'' if reset else over} |"
        )
    return "\n".join(lines)


TABLES: Tables = {"warm starts": warm_starts}


if __name__ == "__main__":
    run(__doc__, PAGE, TABLES, read, ROWS)

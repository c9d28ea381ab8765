"""Writes the table of docs/label_errors.md from the rows of benchmarks/label_errors.py.

.venv/bin/python -m benchmarks.label_errors_tables [ROWS] [--write]
"""

from __future__ import annotations

from statistics import mean

from benchmarks.accuracy import summary
from benchmarks.accuracy_tables import ROOT, with_interval
from benchmarks.label_errors import FIRST, PLANTED
from benchmarks.page_tables import Row, Tables, read, run

PAGE = ROOT / "docs" / "label_errors.md"
ROWS = ROOT / "benchmarks" / "rows" / "label_errors.jsonl"


def precision(rows: list[Row]) -> str:
    """Sets and rankings: planted errors named among the first 100, in all and by kind."""
    lines = [
        f"| set | seeds | objects, planted errors | ranking | right of the first {FIRST}"
        f" | {' | '.join(PLANTED)} |",
        "|---|---|---|---|---|" + "---|" * len(PLANTED),
    ]
    for data in sorted({row["asked"]["data"] for row in rows}):
        same = [row for row in rows if row["asked"]["data"] == data]
        about = f"{_mean(same, 'objects')}, {_mean(same, 'planted')}"
        for ranking in same[0]["precision"]:
            right = summary([FIRST * row["precision"][ranking] for row in same])
            kinds = [mean(row["kinds"][ranking][kind] for row in same) for kind in PLANTED]
            lines.append(
                f"| {data} | {len(same)} | {about} | {ranking} | {with_interval(right, digits=0)}"
                f" | {' | '.join(f'{kind:.0f}' for kind in kinds)} |"
            )
    return "\n".join(lines)


def _mean(rows: list[Row], key: str) -> str:
    return f"{mean(row[key] for row in rows):.0f}"


TABLES: Tables = {"precision": precision}


if __name__ == "__main__":
    run(__doc__, PAGE, TABLES, read, ROWS)

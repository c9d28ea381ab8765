"""Writes the tables of docs/evaluation.md from the rows of benchmarks/interval_coverage.py.

    .venv/bin/python -m benchmarks.interval_tables [ROWS] [--write]

Prints the tables as Markdown. --write puts them into docs/evaluation.md between their comments;
tests/benchmarks/test_interval_coverage.py compares the page with the rows.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.interval_coverage import ROWS
from benchmarks.page_tables import Row, Tables, filled, read, run

PAGE = Path(__file__).resolve().parents[1] / "docs" / "evaluation.md"


def _cells(rows: list[Row], kind: str) -> dict[tuple[str, int, int], dict[str, Row]]:
    """(set, labels, images) -> rule -> row, in the order of the rows."""
    found: dict[tuple[str, int, int], dict[str, Row]] = {}
    for row in rows:
        if row["kind"] == kind:
            found.setdefault((row["set"], row["labels"], row["images"]), {})[row["rule"]] = row
    return found


def coverage(rows: list[Row]) -> str:
    """The earlier interval and the current one, by set, labels and images."""
    lines = [
        "| set | labels | images | true mAP50 | mean mAP50 | holds the truth: before | now "
        "| truth below it: before | now | width: before | now | mAP50 at: before | now |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (name, labels, images), by in _cells(rows, "coverage").items():
        old, new = by["before"], by["now"]
        pairs = [
            f"{old[key]:.2f} | {new[key]:.2f}"
            for key in ("holds", "truth_below", "width", "point_share")
        ]
        lines.append(
            f"| {name} | {labels} | {images} | {new['truth']:.3f} | {new['point']:.3f}"
            f" | {' | '.join(pairs)} |"
        )
    return "\n".join(lines)


def rules(rows: list[Row]) -> str:
    """Every rule that was tried: means over the cells of the table above, by number of images."""
    cells = _cells(rows, "coverage")
    sizes = sorted({images for _, _, images in cells})
    lines = [
        f"| rule | holds the truth, {', '.join(map(str, sizes))} images | lowest | truth below it "
        "| truth above it | width | mAP50 at |",
        "|---|---|---|---|---|---|---|",
    ]
    for rule in next(iter(cells.values())):
        mine = [by[rule] for by in cells.values()]
        by_size = [
            f"{np.mean([row['holds'] for row in mine if row['images'] == size]):.2f}"
            for size in sizes
        ]
        means = [
            f"{np.mean([row[key] for row in mine]):.2f}"
            for key in ("truth_below", "truth_above", "width", "point_share")
        ]
        lowest = min(row["holds"] for row in mine)
        lines.append(f"| {rule} | {', '.join(by_size)} | {lowest:.2f} | {' | '.join(means)} |")
    return "\n".join(lines)


def gates(rows: list[Row]) -> str:
    """The errors of both gates, and the drop that the images detect, by set, labels and images."""
    lines = [
        "| set | labels | images | serving, worse: true mAP50 | equal model refused: before | now "
        "| worse model served: before | now | a drop is told from |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (name, labels, images), by in _cells(rows, "gate").items():
        old, new = by["before"], by["now"]
        lines.append(
            f"| {name} | {labels} | {images} | {new['serving']:.2f}, {new['worse']:.2f}"
            f" | {old['refuses_equal']:.3f} | {new['refuses_equal']:.3f}"
            f" | {old['serves_worse']:.2f} | {new['serves_worse']:.2f} | {new['reach']:.2f} |"
        )
    return "\n".join(lines)


def gates_by_size(rows: list[Row]) -> str:
    """Each gate's errors: means over the sets, by number of images."""
    cells = _cells(rows, "gate")
    lines = ["| images | gate | equal model refused | worse model served |", "|---|---|---|---|"]
    for size in sorted({images for _, _, images in cells}):
        for rule in next(iter(cells.values())):
            mine = [by[rule] for (_, _, images), by in cells.items() if images == size]
            refused, served = (
                np.mean([row[key] for row in mine]) for key in ("refuses_equal", "serves_worse")
            )
            lines.append(f"| {size} | {rule} | {refused:.3f} | {served:.2f} |")
    return "\n".join(lines)


TABLES: Tables = {
    "rules": rules,
    "coverage": coverage,
    "gates by size": gates_by_size,
    "gates": gates,
}


def written(page: str, rows: list[Row]) -> str:
    """The page with each table between its comments."""
    return filled(page, TABLES, rows)


if __name__ == "__main__":
    run(__doc__, PAGE, TABLES, read, ROWS)

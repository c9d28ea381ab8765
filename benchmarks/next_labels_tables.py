"""Writes the tables of docs/when_to_stop.md from the rows of benchmarks/next_labels.py.

    .venv/bin/python -m benchmarks.next_labels_tables [ROWS] [--write]

Prints the tables as Markdown. --write puts them into docs/when_to_stop.md between their comments;
tests/benchmarks/test_next_labels.py compares the page with the rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.next_labels import ROUNDS, ROWS
from benchmarks.page_tables import Row, Tables, filled, read, run

PAGE = Path(__file__).resolve().parents[1] / "docs" / "when_to_stop.md"


def _values(rows: Iterable[Row], key: str) -> list[Any]:
    """The different values of a key, in the order of the rows."""
    return list(dict.fromkeys(row[key] for row in rows))


def mean(rows: Iterable[Row], key: str) -> float:
    """The mean of a figure over rows, weighted by their numbers of predictions; NaN for none."""
    known = [(row[key], row.get("answered", 1)) for row in rows if row[key] is not None]
    weights = [weight for _, weight in known]
    return float(np.average([value for value, _ in known], weights=weights)) if known else np.nan


def answered(rows: list[Row]) -> float:
    """The share of curves with a prediction."""
    return sum(row["answered"] for row in rows) / sum(row["asked"] for row in rows)


def _cell(value: float, digits: int = 2) -> str:
    return "" if np.isnan(value) else f"{value:.{digits}f}"


def _rules(rows: list[Row]) -> str:
    """Every rule's figures by the number of models."""
    sizes = _values(rows, "models")
    lines = [
        f"| rule | answered, after {', '.join(map(str, sizes))} trainings | holds the true gain"
        " | width | mean error | holds the next measurement |",
        "|---|---|---|---|---|---|",
    ]
    for rule in _values(rows, "rule"):
        by = [[row for row in rows if (row["rule"], row["models"]) == (rule, n)] for n in sizes]
        columns = [
            ", ".join(_cell(answered(each)) for each in by),
            *(
                ", ".join(_cell(mean(each, key), digits) or "-" for each in by)
                for key, digits in (("holds", 2), ("width", 3), ("error", 3), ("holds_measured", 2))
            ),
        ]
        lines.append(f"| {rule} | {' | '.join(columns)} |")
    return "\n".join(lines)


def rules_made_up(rows: list[Row]) -> str:
    """The table of rules on made-up curves."""
    return _rules([row for row in rows if row["kind"] == "made_up"])


def rules_real(rows: list[Row]) -> str:
    """The table of rules on curves of the Learning Curve Database."""
    return _rules([row for row in rows if row["kind"] == "real" and row["set"] == "LCDB"])


def shapes(rows: list[Row]) -> str:
    """The product's rule by shape and number of models; means over the kinds of noise."""
    mine = [row for row in rows if row["kind"] == "made_up" and row["rule"] == "now"]
    sizes = _values(mine, "models")
    lines = [
        f"| shape | holds the true gain, after {', '.join(map(str, sizes))} trainings | below it"
        " | above it | bias | width |",
        "|---|---|---|---|---|---|",
    ]
    for shape in _values(mine, "shape"):
        every = [row for row in mine if row["shape"] == shape]
        by = [_cell(mean([r for r in every if r["models"] == n], "holds")) or "-" for n in sizes]
        rest = [_cell(mean(every, key)) for key in ("below", "above")]
        bias, width = (f"{mean(every, key):{form}}" for key, form in
                       (("bias", "+.3f"), ("width", ".3f")))  # fmt: skip
        lines.append(f"| {shape} | {', '.join(by)} | {' | '.join(rest)} | {bias} | {width} |")
    return "\n".join(lines)


def noises(rows: list[Row]) -> str:
    """The product's rule by the kind of noise; means over shapes and numbers of models."""
    mine = [row for row in rows if row["kind"] == "made_up" and row["rule"] == "now"]
    lines = [
        "| noise | answered | holds the true gain | holds the next measurement | width"
        " | width of the next measurement |",
        "|---|---|---|---|---|---|",
    ]
    for noise in _values(mine, "noise"):
        every = [row for row in mine if row["noise"] == noise]
        figures = [_cell(mean(every, key)) for key in ("holds", "holds_measured")]
        widths = [_cell(mean(every, key), 3) for key in ("width", "width_measured")]
        lines.append(f"| {noise} | {_cell(answered(every))} | {' | '.join(figures + widths)} |")
    return "\n".join(lines)


WAYS = {
    ("last step", "gain"): "last step below it",
    ("now", "gain"): "expected gain below it",
    ("now", "upper"): "upper end below it",
}
"""Stopping rules: (prediction, its value) -> name."""
FIGURES = (("early", 2), ("lost", 3), ("late", 1), ("never", 2))


def stops(rows: list[Row]) -> str:
    """The stops of the rules by shape; means over the kinds of noise, for a worth of 0.01."""
    mine = [row for row in rows if row["kind"] == "stop" and row["worth"] == 0.01]
    lines = [
        "| shape | right after | stops at the first | too early | mAP50 lost then | rounds too late"
        " | never |",
        "|---|---|---|---|---|---|---|",
    ]
    for shape in _values(mine, "shape"):
        for way, name in WAYS.items():
            every = [r for r in mine if (r["shape"], r["rule"], r["by"]) == (shape, *way)]
            cells = [_cell(mean(every, key), digits) for key, digits in FIGURES]
            right = every[0]["right"]
            after = f"{right} trainings" if right <= ROUNDS else "never"
            lines.append(f"| {shape} | {after} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def all_stops(rows: list[Row]) -> str:
    """The stops of the rules; means over shapes and kinds of noise."""
    mine = [row for row in rows if row["kind"] == "stop"]
    lines = [
        "| worth | stops at the first | too early | mAP50 lost then | rounds too late | never |",
        "|---|---|---|---|---|---|",
    ]
    for worth in _values(mine, "worth"):
        for way, name in WAYS.items():
            every = [r for r in mine if (r["worth"], r["rule"], r["by"]) == (worth, *way)]
            cells = [_cell(mean(every, key), digits) for key, digits in FIGURES]
            lines.append(f"| {worth} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


TABLES: Tables = {
    "rules on made-up curves": rules_made_up,
    "rules on real curves": rules_real,
    "shapes": shapes,
    "noises": noises,
    "all stops": all_stops,
    "stops": stops,
}


def written(page: str, rows: list[Row]) -> str:
    """The page with each table between its comments."""
    return filled(page, TABLES, rows)


if __name__ == "__main__":
    run(__doc__, PAGE, TABLES, read, ROWS)

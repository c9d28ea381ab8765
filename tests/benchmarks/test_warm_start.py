"""docs/weights.md says of warm starts what the rows say."""

from __future__ import annotations

from benchmarks.page_tables import filled, read
from benchmarks.warm_start_tables import PAGE, ROWS, TABLES, warm_starts


def row(way, share, seed, map50):
    asked = {"data": "cells", "seed": seed, "way": way, "share": share, "first": 4, "then": 8}
    return {"asked": asked, "steps": round(200 * share), "map50": map50}


def test_the_page_holds_the_table_of_the_rows():
    page = PAGE.read_text(encoding="utf-8")
    assert filled(page, TABLES, read(ROWS)) == page


def test_a_warm_start_is_compared_with_the_reset_of_its_seed():
    rows = [row("reset", 1.0, 0, 0.1), row("reset", 1.0, 1, 0.3)]
    rows += [row("warm", 0.5, 0, 0.2), row("warm", 0.5, 1, 0.4)]
    # Student's t for one degree of freedom: 12.706 * 0.1414 / sqrt(2)
    assert warm_starts(rows).splitlines()[2:] == [
        "| cells | 4, 8 | from initial weights | 200 | 0.200 ± 1.271 |  |",
        "| cells | 4, 8 | from the first model | 100 | 0.300 ± 1.271 | 0.100 ± 0.000 |",
    ]

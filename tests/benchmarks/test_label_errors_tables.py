"""docs/label_errors.md says what the rows of its benchmark say."""

from __future__ import annotations

from benchmarks.label_errors_tables import PAGE, ROWS, TABLES, precision
from benchmarks.page_tables import filled, read


def row(seed, right, doubles):
    kinds = {"label": right - doubles, "outline": 0, "missed": 0, "double": doubles}
    return {
        "asked": {"data": "cells", "seed": seed}, "planted": 200, "objects": 900,
        "precision": {"review": right / 100}, "kinds": {"review": kinds},
    }  # fmt: skip


def test_the_page_holds_the_table_of_the_rows():
    page = PAGE.read_text(encoding="utf-8")
    assert filled(page, TABLES, read(ROWS)) == page


def test_a_ranking_is_a_line_with_the_mean_of_the_seeds():
    # Student's t for one degree of freedom: 12.706 * 14.142 / sqrt(2)
    assert precision([row(0, 60, 40), row(1, 80, 50)]).splitlines()[2:] == [
        "| cells | 2 | 900, 200 | review | 70 ± 127 | 25 | 0 | 0 | 45 |"
    ]

"""Puts tables that are made from rows into a page of docs/, between the comments of each table.

A table named "by time" is between `<!-- by time -->` and `<!-- end of by time -->`. A test compares
each page with its rows.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Tables = Mapping[str, Callable[[list[Row]], str]]
"""Name -> the function that makes the table, as Markdown, from all rows."""


def read(path: Path) -> list[Row]:
    """The rows of a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def filled(page: str, tables: Tables, rows: list[Row]) -> str:
    """The text of a page with each table between its comments.

    Raises SystemExit if a comment is missing.
    """
    for name, table in tables.items():
        begin, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
        before, found, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise SystemExit(f"Expected {begin.strip()} and {end.strip()} in the page.")
        page = before + begin + table(rows) + end + after
    return page


def run(
    doc: str, page: Path, tables: Tables, reader: Callable[[Path], list[Row]], default: Path
) -> None:
    """The command line of a module: print its tables, or with --write, put them into the page."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("rows", type=Path, nargs="?", default=default)
    parser.add_argument("--write", action="store_true", help=f"put the tables into {page.name}")
    given = parser.parse_args()
    rows = reader(given.rows)
    if given.write:
        page.write_text(filled(page.read_text(encoding="utf-8"), tables, rows), encoding="utf-8")
        return
    for name, table in tables.items():
        print(f"{name}:\n{table(rows)}\n")

"""The warnings of a run's selections, counted by strategy and kind."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

NUMBER = re.compile(r"\d+(\.\d+)?")


def choice_warnings(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """A line for each strategy and kind of warning, with its number of selections and an example.

    Warnings that differ only in numbers are of one kind. A selection counts once for a kind. The
    example is the first in the order of seeds and rounds.

    Args:
        rows: rows of `simulate`; only those of rounds have selections.
    """
    rounds = sorted(
        (row for row in rows if row["kind"] == "round"),
        key=lambda row: (row["strategy"], row["seed"], row["round"]),
    )
    total: dict[str, int] = {}
    found: dict[tuple[str, str], list[str]] = {}
    for row in rounds:
        strategy = row["strategy"]
        total[strategy] = total.get(strategy, 0) + 1
        kinds: dict[str, str] = {}
        for text in (row.get("selection") or {}).get("warnings") or ():
            kinds.setdefault(NUMBER.sub("", text), text)
        for kind, text in kinds.items():
            where = f"seed {row['seed']}, round {row['round']}: {text}"
            found.setdefault((strategy, kind), []).append(where)
    return [
        f"{strategy}, {len(texts)} of {total[strategy]} selections, as {texts[0]}"
        for (strategy, _), texts in found.items()
    ]

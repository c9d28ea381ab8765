"""The CPU seconds of a run, with and without sharing of models and pools, from its rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def cost(rows: Iterable[Mapping[str, Any]]) -> dict[str, float | None]:
    """CPU seconds of the rounds, as run together and as they would be if run separately.

    `shared`: each model and each pool is made once. `strategies_alone`: each strategy and seed is
    run separately, with its own model of the seed set. `rows_alone`: each row of a round is made
    separately, as --rerun does, with the training of the model that chooses. The ratios are
    shared / separate; None without rounds. Models of all labels are not counted.
    """
    every = [row for row in rows if row["kind"] != "all"]
    known = {(row["strategy"], row["seed"], row["round"]): row for row in every}
    rounds = [row for row in every if row["kind"] == "round"]
    by_itself = sum(sum(_parts(row).values()) for row in rounds)

    starts = [known[None, seed, None] for _, seed in {(r["strategy"], r["seed"]) for r in rounds}]
    strategies = by_itself + sum(sum(_parts(row).values()) for row in starts)
    before = [
        known[row["strategy"], row["seed"], row["round"] - 1]
        if row["round"] > 1
        else known[None, row["seed"], None]
        for row in rounds
    ]
    alone = by_itself + sum(row["cpu_seconds"]["train"] for row in before)
    once: dict[object, float] = {}
    for row in every:
        for part, seconds in _parts(row).items():
            once.setdefault(part, seconds)
    shared = sum(once.values())
    return {
        "shared_cpu_seconds": shared,
        "strategies_alone_cpu_seconds": strategies,
        "rows_alone_cpu_seconds": alone,
        "ratio_to_strategies_alone": shared / strategies if strategies else None,
        "ratio_to_rows_alone": shared / alone if alone else None,
    }


def _parts(row: Mapping[str, Any]) -> dict[object, float]:
    """The CPU seconds of each part of a row. Rows with an equal key share this part."""
    spent = row["cpu_seconds"]
    pool = row.get("pool")
    return {
        ("model", row["model"]): spent["train"] + spent["evaluate"],
        ("pool", pool): spent["score"],
        ("labelled", pool, spent["score_labelled"] > 0): spent["score_labelled"],
        ("row", row["strategy"], row["seed"], row["round"]): spent["select"] + spent["correct"],
    }

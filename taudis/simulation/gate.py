"""The signal gate and the costs of a run, from its rows.

A comparison of strategies means something only where labels matter: a model of all labels must be
better than one of the seed set by more than SPREADS standard deviations over seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

SPREADS = 2.0
"""Standard deviations by which all labels must be better than the seed set."""

Rows = Iterable[Mapping[str, Any]]


def signal(rows: Rows) -> dict[str, Any]:
    """The gate: mean and sample standard deviation of mAP50 over seeds, and whether it passes.

    The larger of both deviations counts. `passes` is None where one of both has no row, or where
    neither has two.
    """
    found = {kind: _of_kind(rows, kind) for kind in ("seed_set", "all")}
    low, high = found["seed_set"]["mean"], found["all"]["mean"]
    spreads = [each["sd"] for each in found.values() if each["sd"] is not None]
    passes = None
    if low is not None and high is not None and spreads:
        passes = bool(high - low > SPREADS * max(spreads))
    return {**found, "passes": passes}


def _of_kind(rows: Rows, kind: str) -> dict[str, float | int | None]:
    values = [row["map50"] for row in rows if row["kind"] == kind]
    return {
        "mean": float(np.mean(values)) if values else None,
        "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "seeds": len(values),
    }


def sentence(gate: Mapping[str, Any]) -> str:
    """What the gate says, for a person; empty where it passes."""
    if gate["passes"]:
        return ""
    if gate["passes"] is None:
        return (
            "The signal gate was not run: nothing shows that labels matter here. Give --all-labels"
            " and at least two seeds before strategies are compared."
        )
    low, high = gate["seed_set"], gate["all"]
    return (
        f"The signal gate FAILED: mAP50 is {high['mean']:.3f} with all labels and"
        f" {low['mean']:.3f} with the seed set, not above it by more than {SPREADS:g} standard"
        f" deviations over seeds ({_spread(high)} and {_spread(low)}). Do not compare strategies on"
        " these rows: give a smaller seed set, more --steps, or pretrained --weights."
    )


def _spread(each: Mapping[str, float | int | None]) -> str:
    return "unknown" if each["sd"] is None else f"{each['sd']:.3f}"


def cost(rows: Rows) -> dict[str, float | None]:
    """CPU seconds of the rounds: in a shared run, and run one by one in two meanings.

    `shared`: each model and each pool once. `strategies_alone`: each strategy and seed by itself,
    with its own seed set and all parts of its rounds. `rows_alone`: each row of a round by itself,
    as --rerun does, with the training of the model that chose. The ratios are those of the shared
    run over each; None without rounds. Models of all labels count nowhere.
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
    """The CPU seconds of each part of a row, by what is done once however many rows share it."""
    spent = row["cpu_seconds"]
    pool = row.get("pool")
    return {
        ("model", row["model"]): spent["train"] + spent["evaluate"],
        ("pool", pool): spent["score"],
        ("labelled", pool, spent["score_labelled"] > 0): spent["score_labelled"],
        ("row", row["strategy"], row["seed"], row["round"]): spent["select"] + spent["correct"],
    }

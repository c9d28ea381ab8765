"""Rows of made-up learning curves, as `simulate` writes them."""

from __future__ import annotations

import json
from pathlib import Path

SEED_IMAGES, BUDGET = 10, 10
SEED_OBJECTS = 20
SEED_MAP50 = 0.1
RANDOM = (0.2, 0.3, 0.4, 0.5)
"""mAP50 after each round: a straight line that ends at 50 images."""
TWICE = (0.4, 0.6, 0.7, 0.8)
"""Reaches 0.5 between 20 and 30 images, at 25: half of what RANDOM needs."""

Rounds = dict[str, dict[int, tuple[float, ...]]]
"""Strategy -> seed -> mAP50 after each round."""


def on_seeds(count: int, **strategies: tuple[float, ...]) -> Rounds:
    """The same curve of each strategy on seeds 0, 1, ..."""
    return {name: dict.fromkeys(range(count), curve) for name, curve in strategies.items()}


def row(kind: str, seed: int, map50: float, images: int, objects: int, **more) -> dict:
    """One row."""
    plain = {
        "format": 1, "grid": "a1b2", "data": "cells", "kind": kind, "seed": seed, "strategy": None,
        "round": None, "labelled_images": images, "labelled_objects": objects,
        "labelled": list(range(images)), "map50": map50, "map": map50 / 2,
        "per_label": {"cell": map50, "rare": None}, "test_images": 30, "steps": 300,
        "cpu_seconds": {"train": 1.0, "evaluate": 1.0, "score": 1.0, "select": 0.1}, "record": {},
    }  # fmt: skip
    return {**plain, **more}


def result_rows(
    rounds: Rounds,
    *,
    objects: dict[str, int] | None = None,
    all_labels: tuple[float, ...] = (),
    corrections: dict[str, dict[str, int]] | None = None,
    **more,
) -> list[dict]:
    """The rows of whole strategies.

    objects: strategy -> objects of each round, 20 where not given. all_labels: mAP50 with all
    labels on seeds 0, 1, ... corrections: strategy -> those of each round. more: keys of all rows.
    """
    seeds = sorted({seed for by_seed in rounds.values() for seed in by_seed})
    found = [row("seed_set", each, SEED_MAP50, SEED_IMAGES, SEED_OBJECTS, **more) for each in seeds]
    found += [row("all", seed, map50, 200, 400, **more) for seed, map50 in enumerate(all_labels)]
    for name, by_seed in rounds.items():
        count = (objects or {}).get(name, 20)
        for seed, curve in by_seed.items():
            for number, map50 in enumerate(curve, start=1):
                images = SEED_IMAGES + number * BUDGET
                chosen = {
                    "strategy": name, "round": number, "chosen": list(range(BUDGET)),
                    "chosen_objects": count, "corrections": (corrections or {}).get(name),
                    "selection": {"warnings": []},
                }  # fmt: skip
                total = SEED_OBJECTS + number * count
                found.append(row("round", seed, map50, images, total, **chosen, **more))
    return found


def save_rows(path: Path, rows: list[dict], tail: str = "") -> Path:
    """Write rows, one a line, and a tail without an end."""
    path.write_text("".join(json.dumps(each) + "\n" for each in rows) + tail, encoding="utf-8")
    return path

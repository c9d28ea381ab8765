"""Writes the tables of docs/accuracy.md from the rows of benchmarks/accuracy.py.

    .venv/bin/python -m benchmarks.accuracy_tables [ROWS] [--write]

Prints the tables as Markdown. --write puts them into docs/accuracy.md between their comments;
tests/benchmarks/test_accuracy_tables.py compares the page with the rows. Intervals are 95 %
intervals of the mean (Student's t); with one seed there is none.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.accuracy import done, of_seeds, summary
from benchmarks.page_tables import Row, Tables, filled, run

ROOT = Path(__file__).resolve().parents[1]
ROWS = ROOT / "benchmarks" / "rows" / "accuracy.jsonl"
PAGE = ROOT / "docs" / "accuracy.md"
WEIGHTS = ("none", "imagenet")
BODY_STEPS = 300
BODIES = {
    "EfficientNet-lite0, ImageNet": ("imagenet", ""),
    "MobileNetV2, ImageNet": ("mobilenet_v2.pth", "mobilenet_v2"),
    "EfficientNet-lite0, random weights": ("none", "efficientnet_lite0"),
}
"""Column of the table of backbones -> (initial weights, backbone) of the runs."""


def with_interval(figures: dict[str, float | None], digits: int = 3) -> str:
    """Mean and half of the interval, such as "0.206 ± 0.012"; only the mean for one seed."""
    half = figures["half_interval"]
    form = f".{digits}f"
    return f"{figures['mean']:{form}}" + ("" if half is None else f" ± {half:{form}}")


def by_time(rows: Iterable[Row]) -> str:
    """The table of sets and CPU minutes: both weights, and their difference by seed."""
    kept = [
        row
        for row in rows
        if row["asked"]["minutes"] and row["asked"]["labels"] is None and not _changed(row)
    ]
    lines = [
        "| data | CPU minutes asked | random weights, ResNet-18 | minutes used, steps "
        "| ImageNet, EfficientNet-lite0 | minutes used, steps | difference by seed | seeds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    keys = sorted({(row["asked"]["data"], row["asked"]["minutes"]) for row in kept})
    for data, minutes in keys:
        runs = [_seeds(kept, weights=weights, data=data, minutes=minutes) for weights in WEIGHTS]
        cells = [cell for each in runs for cell in (_map50(each), _time(each))]
        lines.append(
            f"| {data} | {minutes:g} | {' | '.join(cells)} | {_difference(*runs)}"
            f" | {', '.join(str(len(each)) for each in runs)} |"
        )
    return "\n".join(lines)


def by_labels(rows: Iterable[Row]) -> str:
    """The table of sets and labelled images, with equal steps."""
    kept = [row for row in rows if row["asked"]["steps"] and not _changed(row)]
    lines = [
        "| data | labelled images | steps | random weights, ResNet-18 "
        "| ImageNet, EfficientNet-lite0 | seeds |",
        "|---|---|---|---|---|---|",
    ]
    keys = sorted({(r["asked"]["data"], r["asked"]["steps"], r["train_images"]) for r in kept})
    for data, steps, images in keys:
        same = [row for row in kept if row["train_images"] == images]
        runs = [_seeds(same, weights=weights, data=data, steps=steps) for weights in WEIGHTS]
        counts = ", ".join(str(len(each)) for each in runs)
        cells = " | ".join(map(_map50, runs))
        lines.append(f"| {data} | {images} | {steps} | {cells} | {counts} |")
    return "\n".join(lines)


def bodies(rows: Iterable[Row]) -> str:
    """The table of backbones and initial weights: equal steps, all images, CPU minutes."""
    kept = [
        row
        for row in rows
        if row["asked"]["steps"] == BODY_STEPS
        and row["asked"]["labels"] is None
        and not row["asked"]["change"]
    ]
    sets = sorted({row["asked"]["data"] for row in kept if row["asked"]["backbone"]})
    lines = [
        f"| data | {' | '.join(BODIES)} | CPU minutes | seeds |",
        f"|{'---|' * (len(BODIES) + 3)}",
    ]
    for data in sets:
        runs = [
            _seeds(kept, data=data, weights=weights, backbone=backbone)
            for weights, backbone in BODIES.values()
        ]
        minutes = [f"{of_seeds(list(r.values()))['cpu_minutes']:.1f}" if r else "" for r in runs]
        counts = ", ".join(str(len(each)) for each in runs)
        lines.append(
            f"| {data} | {' | '.join(map(_map50, runs))} | {', '.join(minutes)} | {counts} |"
        )
    return "\n".join(lines)


def variants(rows: Iterable[Row]) -> str:
    """The table of runs of a changed recipe, each beside the same run without the change."""
    rows = list(rows)
    lines = [
        "| data | labelled images | asked | weights | change | mAP50 | steps | without the change "
        "| steps | seeds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    fields = ("data", "labels", "minutes", "steps", "weights", "backbone", "change")
    keys = {
        tuple(row["asked"][field] for field in fields) for row in rows if row["asked"]["change"]
    }
    for key in sorted(keys, key=str):
        asked = dict(zip(fields, key, strict=True))
        runs = _seeds(rows, **asked)
        plain = _seeds(rows, **{**asked, "change": "", "backbone": ""})
        time = f"{asked['minutes']:g} min" if asked["minutes"] else f"{asked['steps']} steps"
        change = ", ".join(each for each in (asked["backbone"], asked["change"]) if each)
        lines.append(
            f"| {asked['data']} | {asked['labels'] or 'all'} | {time} | {asked['weights']}"
            f" | {change} | {_map50(runs)} | {_steps(runs)} | {_map50(plain)} | {_steps(plain)}"
            f" | {len(runs)}, {len(plain)} |"
        )
    return "\n".join(lines)


def _changed(row: Row) -> bool:
    """Whether a run has a changed recipe."""
    return bool(row["asked"]["change"] or row["asked"]["backbone"])


def _seeds(rows: Iterable[Row], **asked: Any) -> dict[int, Row]:
    """The runs with these options, by seed."""
    return {
        row["asked"]["seed"]: row
        for row in rows
        if all(row["asked"][key] == value for key, value in asked.items())
    }


def _map50(runs: dict[int, Row]) -> str:
    return with_interval(of_seeds(list(runs.values()))["map50"]) if runs else "not measured"


def _steps(runs: dict[int, Row]) -> str:
    return str(of_seeds(list(runs.values()))["train_steps"]) if runs else ""


def _time(runs: dict[int, Row]) -> str:
    return f"{of_seeds(list(runs.values()))['cpu_minutes']:.1f}, {_steps(runs)}" if runs else ""


def _difference(before: dict[int, Row], after: dict[int, Row]) -> str:
    """The mean difference over the seeds that both have."""
    pairs = [after[seed]["map50"] - before[seed]["map50"] for seed in before if seed in after]
    return with_interval(summary(pairs)) if pairs else ""


TABLES: Tables = {
    "by time": by_time,
    "by labels": by_labels,
    "bodies": bodies,
    "variants": variants,
}


def written(page: str, rows: list[Row]) -> str:
    """The page with each table between its comments."""
    return filled(page, TABLES, rows)


if __name__ == "__main__":
    run(__doc__, PAGE, TABLES, lambda path: list(done(path).values()), ROWS)

"""Runs a benchmark of two builds in turns, each in a separate process.

Used by `benchmarks.selection --before DIR`; DIR has the other build with its `benchmarks`. Other
processes may load the machine for minutes. So the builds take turns, and the medians of each figure
are compared.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]


def figures(found: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """(name, number) of every number in nested JSON objects; dots join the names."""
    for name, value in found.items():
        if isinstance(value, Mapping):
            yield from figures(value, f"{prefix}{name}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield f"{prefix}{name}", float(value)


def once(folder: Path, module: str, arguments: list[str]) -> dict[str, float]:
    """Run a build's benchmark, and return the figures in its last line, which is JSON."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder, check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return dict(figures(json.loads(done.stdout.splitlines()[-1])))


def side_by_side(
    before: Path, module: str, arguments: list[str], rounds: int
) -> dict[str, dict[str, float]]:
    """Medians over the rounds of every figure that both builds print, and now / before."""
    runs: dict[Path, list[dict[str, float]]] = {before: [], HERE: []}
    for number in range(rounds):
        for folder in (before, HERE) if number % 2 else (HERE, before):
            runs[folder].append(once(folder, module, arguments))
    reported: dict[str, dict[str, float]] = {}
    for name in runs[HERE][0]:
        if name in runs[before][0]:
            was, now = (
                statistics.median(run[name] for run in runs[folder]) for folder in (before, HERE)
            )
            reported[name] = {"before": round(was, 4), "now": round(now, 4)}
            if was:
                reported[name]["ratio"] = round(now / was, 3)
    return reported


def table(reported: Mapping[str, Mapping[str, float]]) -> str:
    """The figures as a Markdown table."""
    lines = ["| figure | before | now | now / before |", "|---|---|---|---|"]
    for name, each in reported.items():
        lines.append(f"| {name} | {each['before']} | {each['now']} | {each.get('ratio', '')} |")
    return "\n".join(lines)

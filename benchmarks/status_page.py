"""Measures the status page with many projects and rounds: milliseconds and bytes.

    .venv/bin/python -m benchmarks.status_page --projects 50 --rounds 200

It fills a store as rounds do, and requests from the web app the overview, a project's page, and the
parts that a page loads later. Images are not included. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from backend.settings import load_settings
from backend.store.database import Store
from backend.store.rounds import STEPS, rounds_table, steps_table
from backend.store.versions import versions_table
from backend.web.app import create_app

LABELS = [f"label {number}" for number in range(20)]
REASON = "16 labelled tasks changed (a round starts at 16)"
MESSAGE = (
    "mAP50 0.512, before 0.498; order by taudis; Labelled tasks left out: 2 (regions whose shape"
    " cannot be read: 2). First: Task 5: Region r1: the RLE is cut short"
)
KEPT = 4  # number of versions that are not pruned
BEGAN = 1_790_000_000.0  # time of the first round, seconds since 1970
MINUTES = 40  # between two rounds


def fill(store: Store, projects: int, rounds: int, title: str = "Cells, plate {}") -> None:
    """Make projects 1..`projects`, each with a first order and `rounds` - 1 trainings.

    It writes the tables in a single transaction, because the store's methods use one for each step.
    """
    for project in range(1, projects + 1):
        last = name_of(rounds)
        served = {"serving": last, "model": last if rounds > 1 else "", "changed": 5}
        store.update_project(
            project, origin="http://studio.example", title=title.format(project),
            armed={"sampling": "Uncertainty sampling"}, **served,
        )  # fmt: skip
    numbers = range(1, rounds + 1)
    many = [(project, number) for project in range(1, projects + 1) for number in numbers]
    ids = {place: row for row, place in enumerate(many, start=1)}
    with store.writing() as db:
        db.execute(rounds_table.insert(), [_round(ids[place], *place) for place in many])
        steps = [step for place in many for step in _steps(ids[place], place[1])]
        db.execute(steps_table.insert(), steps)
        versions = [_version(ids[place], *place, rounds) for place in many]
        db.execute(versions_table.insert(), versions)


def name_of(number: int) -> str:
    """The version that a round published."""
    return f"taudis-{number:04d}-65a1"


def _round(key: int, project: int, number: int) -> dict[str, Any]:
    started = BEGAN + 60 * MINUTES * number
    return {
        "id": key, "project": project, "number": number, "kind": "train" if number > 1 else "first",
        "reason": REASON, "started": started, "ended": started + 100 + number, "outcome": "served",
        "message": MESSAGE, "progress": "{}",
    }  # fmt: skip


def _steps(key: int, number: int) -> Iterator[dict[str, Any]]:
    results = _results(number)
    for row, step in enumerate(STEPS["train" if number > 1 else "first"]):
        result = json.dumps({"seconds": 3.5, **results.get(step, {})})
        yield {"round": key, "step": step, "result": result, "at": BEGAN + row}


def _results(number: int) -> dict[str, dict[str, Any]]:
    """The results of a round's steps that a page reads."""
    images, version = 13 * number, name_of(number)
    curve = [[pick, round(1 - math.exp(-pick / 20), 4)] for pick in range(1, 61)]
    return {
        "synced": {"labelled": 16 * number, "pool": 5000, "train": images,
                   "validation": 3 * number},
        "trained": {"images": images, "mean_instances": 3.5, "version": version},
        "evaluated": {
            "version": version, "metrics": _metrics(number), "serve": True, "reason": "",
            "compared_with": name_of(number - 1),
            "difference": {"map50": 0.01, "interval": [-0.01, 0.03]},
            "correction": {"corrected": 3.4, "by_hand": 3.5},
        },
        "selected": {
            "version": version, "strategy": "taudis", "warnings": [], "coverage_curve": curve,
            "diagnostics": {"sigma": 0.8, "coverage": 0.95, "coverable": 0.97},
        },
        "published": {"version": version, "tasks": 5000},
    }  # fmt: skip


def _metrics(number: int) -> dict[str, Any]:
    map50 = 0.7 * (1 - math.exp(-number / 30))
    return {
        "map50": map50, "map": map50 / 2, "interval": [map50 - 0.03, map50 + 0.03],
        "per_label": dict.fromkeys(LABELS, map50), "images": 3 * number, "instances": 10 * number,
        "confusion": [],
    }  # fmt: skip


def _version(key: int, project: int, number: int, rounds: int) -> dict[str, Any]:
    started = BEGAN + 60 * MINUTES * number
    return {
        "project": project, "version": name_of(number), "round": key, "tasks": 5000,
        "model": name_of(number) if number > 1 else "",
        "metrics": json.dumps(_metrics(number) if number > 1 else {}), "created": started,
        "pruned": started if number <= rounds - KEPT else None,
    }  # fmt: skip


def measure(projects: int, rounds: int, repeat: int, folder: Path) -> dict[str, dict[str, float]]:
    """Path -> bytes, and ms of the first call, and median and largest ms of the other calls.

    `cpu_ms` is the mean CPU time, which other programs on the machine hardly change.
    """
    app = create_app(load_settings(model_dir=folder))
    store = app.extensions["taudis"].store
    store.acquire()
    fill(store, projects, rounds)
    client, found = app.test_client(), {}
    for path in ("/", "/parts", "/projects/1", "/projects/1/parts"):
        times, cpu = [], time.process_time()
        for _ in range(repeat + 1):
            began = time.perf_counter()
            answer = client.get(path)
            times.append(1000 * (time.perf_counter() - began))
            if answer.status_code != 200:
                raise SystemExit(f"{path}: expected 200, got {answer.status_code}")
        found[path] = {
            "bytes": len(answer.data),
            "first_ms": round(times[0], 1),
            "median_ms": round(statistics.median(times[1:]), 1),
            "max_ms": round(max(times[1:]), 1),
            "cpu_ms": round(1000 * (time.process_time() - cpu) / len(times), 1),
        }
    store.close()
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--projects", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(given.projects, given.rounds, given.repeat, Path(folder))
    for path, figures in found.items():
        print(path, figures)
    print(json.dumps({"projects": given.projects, "rounds": given.rounds, "pages": found}))


if __name__ == "__main__":
    main()

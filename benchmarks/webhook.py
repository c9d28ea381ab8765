"""What a connected backend costs an annotator's Submit while a round trains.

    .venv/bin/python -m benchmarks.webhook

A real Label Studio, the real backend, a real training at work all the time. Submits alternate
between a project with the backend connected and an equal one without it, so that both see the same
machine; beside them, the webhook is rung directly. Last line: JSON, seconds as milliseconds.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import requests
from rich.console import Console

from backend.label_studio.client import Studio
from backend.label_studio.label_config import parse_label_config
from backend.store.database import Store
from demo.annotator import Truth
from demo.environment import BACKEND_USER, Options, Stage, label_config, set_stage, wait_for

SUBMITS = 200
WARM_UP = 10


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def _figures(seconds: list[float]) -> dict[str, float]:
    return {
        "median_ms": round(1000 * statistics.median(seconds), 1),
        "p90_ms": round(1000 * _quantile(seconds, 0.9), 1),
        "max_ms": round(1000 * max(seconds), 1),
        "count": len(seconds),
    }


def _training(store: Store, project: int) -> bool:
    """Whether the trainer is in the training step of a round right now."""
    return any(
        r.project == project and r.next_step == "trained" and r.progress.get("done", 0) > 0
        for r in store.open_rounds()
    )


def measure(stage: Stage, console: Console) -> dict[str, object]:
    """Submits with and without the backend, and webhooks, all while a round trains."""
    config = parse_label_config(stage.current()["label_config"])
    truth = Truth(stage.cast.samples, stage.cast.label_map, config)
    store = Store(stage.backend.data)
    without = stage.studio.create_project(
        "Without the backend", label_config(stage.cast.label_map, "brush")
    )
    files = [stage.cast.folder / stage.cast.samples.file_names[r] for r in stage.cast.pool]
    stage.studio.upload(without, files)
    client = Studio(stage.studio.url, stage.studio.admin.token)
    tasks = {p: client.tasks(p) for p in (stage.project, without)}
    for task in tasks[stage.project][:WARM_UP]:
        client.create_annotation(task["id"], truth.regions(task["data"]), project=stage.project)
    submits: dict[int, list[float]] = {stage.project: [], without: []}
    rings: list[float] = []
    session = requests.Session()
    session.auth = (BACKEND_USER, stage.backend.password)
    outside = 0
    for number in range(SUBMITS):
        if not _training(store, stage.project):
            stage.studio.start_training(stage.backend_id)
            wait_for(lambda: _training(store, stage.project), 120, "a training", pause=0.2)
        pair = (stage.project, without) if number % 2 else (without, stage.project)
        for project in pair:
            row = tasks[project][(number + WARM_UP) % len(tasks[project])]
            regions = truth.regions(row["data"])
            began = time.perf_counter()
            client.create_annotation(row["id"], regions, project=project)
            submits[project].append(time.perf_counter() - began)
        body = {"action": "ANNOTATION_CREATED", "project": {"id": stage.project}}
        began = time.perf_counter()
        answer = session.post(f"{stage.backend.url}/webhook", json=body, timeout=5)
        rings.append(time.perf_counter() - began)
        answer.raise_for_status()
        outside += not _training(store, stage.project)
        if number % 50 == 49:
            console.print(f"{number + 1} of {SUBMITS}")
    connected, alone = _figures(submits[stage.project]), _figures(submits[without])
    return {
        "webhook": _figures(rings),
        "submit_connected": connected,
        "submit_without": alone,
        "submit_median_difference_ms": round(connected["median_ms"] - alone["median_ms"], 1),
        "pairs_not_wholly_in_training": outside,
    }


def main() -> int:
    """Run the benchmark; the last line of the output is its JSON."""
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as folder:
        # A high threshold: only Start Training starts rounds, so that training never pauses long.
        options = Options(auto=True, folder=Path(folder), data=None, images=None, budget=5000)
        with set_stage(options, console.print) as stage:
            figures = measure(stage, console)
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())

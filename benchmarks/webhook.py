"""Measures how much longer an annotator's Submit takes with the backend while a round trains.

    .venv/bin/python -m benchmarks.webhook

It runs a real Label Studio and the real backend, which trains all the time. Submits alternate
between a project with the backend and an equal project without it, so both have the same load.
Webhooks are also posted directly. The last line is JSON, in milliseconds.
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
from backend.label_studio.new_project import label_config
from backend.store.database import Store
from demo.annotator import Truth
from demo.backend_process import BACKEND_USER
from demo.environment import Environment, start
from demo.options import Options
from demo.waiting import wait_for

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
    """Whether the worker is training a model."""
    return any(
        r.project == project and r.next_step == "trained" and r.progress.get("done", 0) > 0
        for r in store.open_rounds()
    )


def _project_without(environment: Environment) -> int:
    """Make a project with the same pictures, but without the backend; returns its id."""
    dataset = environment.dataset
    config = label_config(dataset.label_map, "brush")
    project = environment.studio.create_project("Without the backend", config)
    files = [dataset.folder / dataset.samples.file_names[row] for row in dataset.pool]
    environment.studio.upload(project, files)
    return project


def _start_training(environment: Environment, store: Store) -> None:
    """Start a training and wait until it runs, unless one runs already."""
    if not _training(store, environment.project):
        environment.studio.start_training(environment.backend_id)
        wait_for(lambda: _training(store, environment.project), 120, "a training", pause=0.2)


def _post_webhook(environment: Environment, session: requests.Session) -> float:
    """Seconds of one webhook, posted as Label Studio does."""
    body = {"action": "ANNOTATION_CREATED", "project": {"id": environment.project}}
    began = time.perf_counter()
    response = session.post(f"{environment.backend.url}/webhook", json=body, timeout=5)
    seconds = time.perf_counter() - began
    response.raise_for_status()
    return seconds


def measure(environment: Environment, console: Console) -> dict[str, object]:
    """Time submits with and without the backend, and webhooks, while a round trains."""
    config = parse_label_config(environment.current()["label_config"])
    truth = Truth(environment.dataset.samples, environment.dataset.label_map, config)
    store = Store(environment.backend.data)
    with_, without = environment.project, _project_without(environment)
    client = Studio(environment.studio.url, environment.studio.admin.token)
    tasks = {project: client.tasks(project) for project in (with_, without)}

    def submit(project: int, number: int) -> float:
        """Seconds of one submit of the truth."""
        task = tasks[project][number % len(tasks[project])]
        regions = truth.regions(task["data"])
        began = time.perf_counter()
        client.create_annotation(task["id"], regions, project=project)
        return time.perf_counter() - began

    for number in range(WARM_UP):
        submit(with_, number)
    submits: dict[int, list[float]] = {with_: [], without: []}
    webhooks: list[float] = []
    session = requests.Session()
    session.auth = (BACKEND_USER, environment.backend.password)
    outside = 0
    for number in range(SUBMITS):
        _start_training(environment, store)
        for project in (with_, without) if number % 2 else (without, with_):
            submits[project].append(submit(project, number + WARM_UP))
        webhooks.append(_post_webhook(environment, session))
        outside += not _training(store, with_)
        if number % 50 == 49:
            console.print(f"{number + 1} of {SUBMITS}")
    connected, alone = _figures(submits[with_]), _figures(submits[without])
    return {
        "webhook": _figures(webhooks),
        "submit_connected": connected,
        "submit_without": alone,
        "submit_median_difference_ms": round(connected["median_ms"] - alone["median_ms"], 1),
        "pairs_not_wholly_in_training": outside,
    }


def main() -> int:
    """Run the benchmark; the last line of the output is its JSON."""
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as folder:
        # With a high threshold, only Start Training starts rounds, so training never pauses long.
        options = Options(auto=True, folder=Path(folder), data=None, images=None, budget=5000)
        with start(options, console.print) as environment:
            figures = measure(environment, console)
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())

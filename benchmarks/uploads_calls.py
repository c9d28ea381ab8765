"""Times each call to Label Studio whose cost grows with the project, on the idle server."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from backend.label_studio import listings
from backend.label_studio.client import Studio
from benchmarks.uploads_record import Journal, recorded

PAGE_SIZES = (100, 250, 500, 900)
VERSION = "benchmark-1"
"""A version that the benchmark imports and deletes."""
EVER = "1970-01-01T00:00:00.000000Z"


def calls_of(client: Studio, project: int) -> dict[str, Callable[[], object]]:
    """The calls by name, ordered so that each has the data it needs."""
    tasks = client.tasks(project)
    newest, number = client.newest_change(project), len(tasks)
    served = str(client.project(project)["model_version"])
    rows = [
        {"task": task["id"], "result": [], "score": rank / number, "model_version": VERSION}
        for rank, task in enumerate(tasks, start=1)
    ]
    return {
        "tasks": lambda: client.tasks(project),
        "tasks_touched_since, all": lambda: client.tasks_touched_since(project, EVER),
        "tasks_touched_since, none": lambda: client.tasks_touched_since(project, newest),
        "tasks_changed_since, all": lambda: client.tasks_changed_since(project, EVER),
        "tasks_changed_since, none": lambda: client.tasks_changed_since(project, newest),
        "export_annotated": lambda: client.export_annotated(project),
        "newest_change": lambda: bool(client.newest_change(project)),
        "project": lambda: client.project(project),
        "model_versions": lambda: client.model_versions(project),
        "next_task": lambda: client.next_task(project),
        "import_predictions, scores only": lambda: client.import_predictions(project, rows),
        "patch_project, the new version": lambda: client.patch_project(
            project, model_version=VERSION
        ),
        "patch_project, back": lambda: client.patch_project(project, model_version=served),
        "delete_predictions, 40": lambda: client.delete_predictions(project, VERSION, at_most=40),
        "delete_version": lambda: client.delete_version(project, VERSION),
    }


def growing_calls(client: Studio, project: int, journal: Journal) -> list[dict[str, Any]]:
    """Make each call once; rows of seconds, requests and MB (10^6 bytes)."""
    found = []
    for name, call in calls_of(client, project).items():
        with recorded() as made:
            began = time.monotonic()
            result = call()
            seconds = time.monotonic() - began
        count = len(result) if isinstance(result, list) else result
        row = {
            "call": name,
            "rows": count if isinstance(count, int) and not isinstance(count, bool) else "",
            "requests": len(made),
            "seconds": round(seconds, 2),
            "slowest_s": round(max((request.seconds for request in made), default=0.0), 2),
            "mb_sent": round(sum(request.sent for request in made) / 1e6, 2),
            "mb_received": round(sum(request.received for request in made) / 1e6, 2),
        }
        found.append(row)
        journal.add(f"call {name}", row)
    return found


def page_sizes(client: Studio, project: int, journal: Journal) -> list[dict[str, Any]]:
    """Seconds to list all tasks at several page sizes; the faster of two runs each."""
    found, usual = [], listings.PAGE["tasks"]
    try:
        for size in PAGE_SIZES:
            listings.PAGE["tasks"] = size
            seconds = []
            for _ in range(2):
                began = time.monotonic()
                tasks = client.tasks(project)
                seconds.append(time.monotonic() - began)
            found.append({"page": size, "tasks": len(tasks), "seconds": round(min(seconds), 2)})
    finally:
        listings.PAGE["tasks"] = usual
    journal.add("page sizes", found)
    return found

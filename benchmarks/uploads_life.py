"""The running parts of `benchmarks.uploads`, and its measurements by phase."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.label_studio.client import Studio
from backend.store import predictions
from benchmarks.uploads_record import Journal, Memory, waits
from demo.annotator import Annotator, Truth
from demo.backend_process import Backend
from demo.records import Served
from demo.studio import LabelStudio


@dataclass(frozen=True)
class Options:
    """The options of the command line."""

    tasks: int
    later: int
    labels: int
    steps: int
    size: int
    pause: float
    annotators: int
    alone: float
    prune_seconds: float
    nice: int
    folder: Path
    out: Path


@dataclass
class Life:
    """The running parts, and the measurements so far."""

    options: Options
    studio: LabelStudio
    backend: Backend
    journal: Journal
    memory: Memory
    project: int
    truth: Truth
    files: list[Path]
    client: Studio
    annotators: list[Annotator] = field(default_factory=list)
    spans: dict[str, tuple[float, float]] = field(default_factory=dict)
    orders: dict[str, dict[int, float]] = field(default_factory=dict)  # version -> task -> rank
    looked_at: list[Served] = field(default_factory=list)
    """The tasks that the benchmark itself asked for. Label Studio locks them for its account."""

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[dict[str, Any]]:
        """Measure the seconds, memory and load of a phase; the caller adds to the yielded row."""
        row: dict[str, Any] = {}
        self.memory.reset()
        began = time.time()  # the clock of the annotators' records
        try:
            yield row
        finally:
            ended = time.time()
            self.spans[name] = (began, ended)
            row["seconds"] = round(ended - began, 2)
            row["peak_mb"] = self.memory.reset()
            row["load"] = round(os.getloadavg()[0], 1)
            row |= self.waited(name)
            self.journal.add(name, row)

    def waited(self, name: str) -> dict[str, Any]:
        """The annotators' waits for `next` and Submit in a phase."""
        began, ended = self.spans[name]
        served = [
            s for person in self.annotators for s in person.served if began <= s.asked < ended
        ]
        done = [d for person in self.annotators for d in person.done if began <= d.sent < ended]
        if not served and not done:
            return {}
        return {
            "next_s": waits([s.answered - s.asked for s in served]),
            "submit_s": waits([d.answered - d.sent for d in done]),
        }

    def phase_at(self, moment: float) -> str:
        """The phase of a moment, seconds since 1970; "" between phases."""
        found = (name for name, (began, ended) in self.spans.items() if began <= moment < ended)
        return next(found, "")

    def version(self) -> str:
        """The version that Label Studio serves."""
        return str(self.client.project(self.project)["model_version"] or "")

    def next_task(self) -> dict[str, Any] | None:
        """The task that Label Studio serves to the benchmark's own account."""
        asked = time.time()
        task = self.client.next_task(self.project)
        if task is not None:
            self.looked_at.append(Served("benchmark", asked, time.time(), int(task["id"])))
        return task

    def keep_order(self) -> None:
        """Keep the order of the version that is served, to check what the annotators met."""
        version = self.version()
        places = predictions.order(predictions.path_of(self.backend.data, self.project, version))
        self.orders[version] = {place.task: float(rank) for rank, place in enumerate(places)}

    def annotate_together(self, pause: float, most: int | None = None) -> list[Annotator]:
        """Start as many annotators as the options say. most: labels of all together."""
        count = self.options.annotators
        each = None if most is None else -(-most // count)
        return [self.annotate(pause, each) for _ in range(count)]

    def annotate(self, pause: float, most: int | None = None) -> Annotator:
        """Start another annotator, with a new account."""
        name = f"person{len(self.annotators) + 1}"
        login = self.studio.create_user(f"{name}@demo.example")
        person = Annotator(
            self.studio.url, login.token, self.project, self.truth, name, pause=pause, most=most
        )
        self.annotators.append(person)
        person.start()
        return person

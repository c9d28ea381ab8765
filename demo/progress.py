"""Follows a running demonstration: reads orders, measures models, draws the live table."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from rich.console import Console
from rich.table import Table

from backend.label_studio.client import Studio
from backend.store.database import Store
from backend.store.rounds import Round
from backend.store.state import ProjectState
from backend.web.status.now import running_round
from demo.annotators import Annotators
from demo.environment import Environment
from demo.errors import DemoError
from demo.history import History
from demo.options import Options
from demo.records import Counted, Records, Snapshot
from demo.report import RoundRecord
from taudis.detector.checkpoint import load_checkpoint
from taudis.detector.registry import TrainedDetector
from taudis.evaluation.matching import EvaluatedImage
from taudis.evaluation.metrics import Metrics, evaluate
from taudis.evaluation.thresholds import Savings, with_visible_masks
from taudis.evaluation.visible import CARD_KEY, thresholds_for
from taudis.types import Detection, Target

EXAMPLES = 2
"""Held-out pictures whose pre-annotations the summary draws."""
KEPT_ROUNDS = 5
"""Newest training rounds whose snapshots are checked."""
LOG_SECONDS = 60.0
"""Seconds between two lines if the output is no terminal, where no table can be redrawn."""


@dataclass
class Progress:
    """The current state of a run."""

    options: Options
    environment: Environment
    console: Console
    annotators: Annotators
    orders: dict[str, dict[int, float]] = field(default_factory=dict)  # version -> task -> score
    records: list[RoundRecord] = field(default_factory=list)  # the first order, then the rounds
    started: float = field(default_factory=time.monotonic)
    last_line: tuple[str, float] = ("", 0.0)  # the last line of a log, and its time

    def __post_init__(self) -> None:
        self.store = Store(self.environment.backend.data)
        rows = self.environment.dataset.held_out
        self.held_out = self.environment.dataset.samples.subset(rows)
        crowded = sorted(range(len(rows)), key=lambda r: -len(self.held_out.target(r)))
        self.examples = [crowded[len(crowded) // 4 + i] for i in range(min(EXAMPLES, len(rows)))]

    # --- state of the backend and Label Studio ----------------------------------------------

    def finished(self) -> list[Round]:
        """Training rounds that ended, oldest first. Raises DemoError if one failed."""
        rounds = self.store.rounds(self.environment.project)[::-1]
        failed = next((row for row in rounds if row.outcome == "failed"), None)
        if failed is not None:
            raise DemoError(f"Round {failed.number} failed: {failed.message}")
        return [row for row in rounds if row.kind == "train" and row.ended is not None]

    def annotated(self) -> int:
        """Tasks with an annotation, counted by Label Studio."""
        studio = self.environment.studio
        tasks = Studio(studio.url, studio.admin.token).tasks(self.environment.project)
        return sum(task["total_annotations"] > 0 for task in tasks)

    def in_snapshot(self, round_: Round) -> int:
        """Tasks in exactly one of training and validation of a round's snapshot."""
        seen = Counter(entry.task for entry in self._snapshot(round_).entries)
        return sum(count == 1 for count in seen.values())

    def _snapshot(self, round_: Round) -> Snapshot:
        """The labels that a round used; it read them between its start and its end."""
        folder = self.environment.backend.data / "rounds" / str(self.environment.project)
        rows = json.loads((folder / f"{round_.number:04d}" / "snapshot.json").read_text())
        entries = tuple(
            Counted(row["task_id"], row["annotation_id"], row["split"], row["updated_at"])
            for row in rows["entries"]
        )
        return Snapshot(round_.number, round_.started, round_.ended or math.inf, entries)

    def history(self) -> History:
        """The records of the annotators and of the newest training rounds."""
        newest = self.finished()[-KEPT_ROUNDS:]  # the backend deletes the files of older rounds
        snapshots = [self._snapshot(round_) for round_ in newest]
        records = Records(self.annotators.served, self.annotators.done, snapshots=snapshots)
        return History(records, self.orders)

    # --- records ----------------------------------------------------------------------------

    def read_order(self) -> None:
        """Read a new order back from Label Studio, before a later round can prune it there."""
        version = str(self.environment.current().get("model_version") or "")
        if version.startswith("taudis-") and version not in self.orders:
            self.orders[version] = self.environment.order(version)

    def record_rounds(self) -> None:
        """Record the first order, and measure every newly finished round's model."""
        if not self.records:
            self.read_order()
            first = next(iter(self.orders))
            self.records.append(RoundRecord(first, 0, None, 0.0, self._ordered(first)))
        for round_ in self.finished()[len(self.records) - 1 :]:
            self.read_order()
            self.records.append(self._measure(round_))

    def _ordered(self, version: str) -> list[int]:
        """Task ids of a version, first-served first."""
        order = self.orders.get(version, {})
        return sorted(order, key=order.__getitem__)

    def _measure(self, round_: Round) -> RoundRecord:
        """Measure the model that serves after a round on the held-out pictures."""
        model = round_.steps["evaluated"]["version"]
        folder = self.environment.backend.data / "models" / str(self.environment.project) / model
        if not round_.steps["evaluated"]["serve"]:
            folder = folder.parent / self._state().model
        detector, card = load_checkpoint(folder)
        metrics, cost = self._evaluate(detector, card.get(CARD_KEY, {}))
        pictures = [self.held_out.image(row) for row in self.examples]
        version = round_.steps["published"]["version"]
        return RoundRecord(
            version,
            round_.steps["synced"]["labelled"],
            metrics.map50,
            round_.seconds,
            self._ordered(version),
            self.annotators.labelled,
            detector.detect(pictures),
            cost,
        )

    def _evaluate(
        self, detector: TrainedDetector, thresholds: Mapping[str, float]
    ) -> tuple[Metrics, tuple[float, float]]:
        """Metrics on the held-out pictures, and drawings a picture: corrected, and by hand.

        `thresholds`: label name -> lowest score at which annotators see a detection of the model.
        """
        seen: list[EvaluatedImage] = []

        def keep(target: Target, detection: Detection) -> None:
            seen.append(with_visible_masks(target, detection))

        metrics = evaluate(detector, self.held_out, bootstrap=0, on_image=keep)
        labels = detector.label_map
        savings = Savings.of(seen, len(labels))
        nothing = np.full(len(labels), np.inf)
        return metrics, (savings.cost(thresholds_for(labels, thresholds)), savings.cost(nothing))

    def _state(self) -> ProjectState:
        project = self.store.project(self.environment.project)
        return ProjectState() if project is None else project.state

    # --- display ----------------------------------------------------------------------------

    def table(self) -> Table:
        """The live table: one row for each round."""
        studio, backend = self.environment.studio, self.environment.backend
        title = f"{self.environment.dataset.name}: {studio.url}, status page {backend.url}"
        table = Table(title=title, caption=self.caption())
        for name in ("round", "labels", "mAP50 (held-out)", "state"):
            table.add_column(name)
        for number, row in enumerate(self.records):
            map50 = "" if row.map50 is None else f"{row.map50:.3f}"
            state = "first order" if row.map50 is None else f"{row.seconds:.0f} s"
            table.add_row(str(number), str(row.labels), map50, state)
        for open_ in self.store.open_rounds():
            table.add_row(str(len(self.records)), "", "", in_words(open_))
        return table

    def write_line(self) -> None:
        """If the output is no terminal, write a line at each new step and every minute."""
        if self.console.is_terminal:
            return
        now = time.monotonic()
        open_ = self.store.open_rounds()[:1]
        step = f"round {open_[0].number}, {open_[0].next_step}" if open_ else "between rounds"
        if step != self.last_line[0] or now - self.last_line[1] >= LOG_SECONDS:
            self.last_line = step, now
            state = f"round {open_[0].number}, {in_words(open_[0])}" if open_ else step
            self.console.print(f"{state}; {self.caption()}")

    def caption(self) -> str:
        """Seconds since the start, and each annotator's number of tasks."""
        seconds = time.monotonic() - self.started
        return f"{seconds:.0f} s; submitted or skipped: {self.annotators.in_words()}"


def in_words(round_: Round) -> str:
    """An open round's step as the status page says it, with its progress and the time left."""
    return running_round(round_).line

"""DEMO=auto: two simulated annotators label until several rounds have run; then the summary."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.table import Table

from backend.label_studio.client import Studio
from backend.label_studio.label_config import parse_label_config
from backend.store.database import Round, Store
from demo import report
from demo.annotator import Annotator, Truth
from demo.environment import Options, Stage, wait_for
from demo.order_check import MEANING, Judged, judge
from demo.report import RoundRecord
from demo.studio import DemoError
from taudis.detector.checkpoint import load_checkpoint
from taudis.evaluation.metrics import evaluate

THRESHOLD = 0.5  # from which score the picture draws an instance; the backend's default
EXAMPLES = 2
FAST, SLOW = 1.0, 12.0  # seconds a simulated annotator looks at a task: between rounds, during one
ROUND_LIMIT = 900.0
TOLD_EVERY = 60.0  # seconds between lines where no table can be drawn over, as in a file


@dataclass
class Show:
    """A running demonstration: what happened so far."""

    options: Options
    stage: Stage
    console: Console
    orders: dict[str, dict[int, float]] = field(default_factory=dict)
    records: list[RoundRecord] = field(default_factory=list)
    annotators: list[Annotator] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    told: tuple[str, float] = ("", 0.0)  # the last line for a log, and when it was written

    def __post_init__(self) -> None:
        self.store = Store(self.stage.backend.data)
        rows = self.stage.cast.held_out
        self.held_out = self.stage.cast.samples.subset(rows)
        crowded = sorted(range(len(rows)), key=lambda r: -len(self.held_out.target(r)))
        self.examples = [crowded[len(crowded) // 4 + i] for i in range(min(EXAMPLES, len(rows)))]

    # --- watching ---------------------------------------------------------------------------

    def finished(self) -> list[Round]:
        """Training rounds that ended, oldest first. Raises DemoError if one failed."""
        rounds = self.store.rounds(self.stage.project)[::-1]
        failed = next((row for row in rounds if row.outcome == "failed"), None)
        if failed is not None:
            raise DemoError(f"Round {failed.number} failed: {failed.message}")
        return [row for row in rounds if row.kind == "train" and row.ended is not None]

    def labelled(self) -> set[int]:
        """Tasks that a simulated annotator submitted."""
        return {act.task for who in self.annotators for act in who.done if not act.skipped}

    def note_order(self) -> None:
        """Read a newly served order back from Label Studio before it can be pruned there."""
        version = str(self.stage.current().get("model_version") or "")
        if version.startswith("taudis-") and version not in self.orders:
            self.orders[version] = self.stage.order(version)

    def note_rounds(self) -> None:
        """Measure every newly finished round on the held-out pictures."""
        if not self.records:
            self.note_order()
            first = next(iter(self.orders))
            self.records.append(RoundRecord(first, 0, None, 0.0, self._ordered(first)))
        done = self.finished()
        for round_ in done[len(self.records) - 1 :]:
            self.note_order()
            self.records.append(self._measure(round_))

    def _ordered(self, version: str) -> list[int]:
        order = self.orders.get(version, {})
        return sorted(order, key=order.__getitem__)

    def _measure(self, round_: Round) -> RoundRecord:
        """A round's model on the pictures that nobody labels."""
        model = round_.steps["judged"]["version"]
        folder = self.stage.backend.data / "models" / str(self.stage.project) / model
        if not round_.steps["judged"]["serve"]:
            folder = folder.parent / str(self._state("model"))
        detector, _ = load_checkpoint(folder)
        metrics = evaluate(detector, self.held_out, bootstrap=0)
        pictures = [self.held_out.image(row) for row in self.examples]
        return RoundRecord(
            round_.steps["published"]["version"],
            round_.steps["synced"]["labelled"],
            metrics.map50,
            float((round_.ended or 0) - round_.started),
            self._ordered(round_.steps["published"]["version"]),
            self.labelled(),
            detector.detect(pictures),
        )

    def _state(self, key: str) -> Any:
        project = self.store.project(self.stage.project)
        return None if project is None else project.state.get(key)

    # --- showing ----------------------------------------------------------------------------

    def table(self) -> Table:
        """The live display."""
        shown = Table(title=f"{self.stage.cast.name}: {self.stage.studio.url}")
        for name in ("round", "labels", "mAP50 (held-out)", "state"):
            shown.add_column(name)
        for number, row in enumerate(self.records):
            map50 = "" if row.map50 is None else f"{row.map50:.3f}"
            state = "first order, seeded random" if row.map50 is None else f"{row.seconds:.0f} s"
            shown.add_row(str(number), str(row.labels), map50, state)
        for open_ in self.store.open_rounds():
            shown.add_row(str(len(self.records)), "", "", in_words(open_))
        return shown

    def tell(self) -> None:
        """A line where no table can be drawn over: when a round moves on, and every minute."""
        if self.console.is_terminal:
            return
        now = time.monotonic()
        open_ = self.store.open_rounds()[:1]
        at = f"round {open_[0].number}, {open_[0].next_step}" if open_ else "between rounds"
        if at != self.told[0] or now - self.told[1] >= TOLD_EVERY:
            self.told = at, now
            state = f"round {open_[0].number}, {in_words(open_[0])}" if open_ else at
            self.console.print(f"{state}; {self.caption()}")

    def caption(self) -> str:
        """What the annotators do."""
        counts = ", ".join(f"{who.name} {len(who.done)}" for who in self.annotators)
        return f"{time.monotonic() - self.started:.0f} s; submitted or skipped: {counts}"


def in_words(round_: Round) -> str:
    """Where an open round stands."""
    progress = round_.progress
    text = f"{round_.next_step}"
    if progress.get("total"):
        text += f" {progress['done']}/{progress['total']}"
    if progress.get("eta_s") is not None and math.isfinite(progress["eta_s"]):
        text += f", {progress['eta_s']:.0f} s left"
    return text


def perform(options: Options, stage: Stage, console: Console) -> dict[str, Any]:
    """Label by itself for the asked number of rounds; returns the summary (the JSON line).

    The last round is started with Start Training once the annotators have stopped, so that its
    snapshot can be held against every annotation that Label Studio acknowledged.
    """
    show = Show(options, stage, console)
    config = parse_label_config(stage.current()["label_config"])
    truth = Truth(stage.cast.samples, stage.cast.label_map, config)
    log = options.folder / "run" / "annotators.jsonl"
    for person, name in zip(stage.people, ("ada", "ben"), strict=False):
        show.annotators.append(
            Annotator(
                stage.studio.url, person.token, stage.project, truth, name,
                pause=FAST, skip_part=0.04, log=log,
            )
        )  # fmt: skip
    show.note_rounds()
    with Live(console=console, refresh_per_second=2, transient=False) as live:

        def until(done: Callable[[], bool], within: float, what: str) -> None:
            def look() -> bool:
                _check_annotators(show)
                _pace(show)
                show.note_order()
                live.update(_display(show))
                show.tell()
                return done()

            wait_for(look, within, what, pause=0.5)

        for who in show.annotators:
            who.start()
        for number in range(1, options.rounds):
            until(partial(_has_finished, show, number), ROUND_LIMIT, f"round {number}")
            show.note_rounds()
        wanted = len(show.labelled()) + options.budget
        until(lambda: len(show.labelled()) >= wanted or _idle(show), 300, "labels after the round")
        for who in show.annotators:
            who.stop()
        stage.studio.start_training(stage.backend_id)
        _finish(show, until)
        live.update(_display(show))
    return _summary(show)


def _has_finished(show: Show, rounds: int) -> bool:
    return len(show.finished()) >= rounds


def _finish(show: Show, until: Callable[[Callable[[], bool], float, str], None]) -> None:
    """Wait until a round has seen every annotation, and look what is served then."""
    total = _acknowledged(show)

    def complete() -> bool:
        last = show.finished()[-1:]
        return bool(last) and not show.store.open_rounds() and _in_snapshot(show, last[0]) >= total

    until(complete, ROUND_LIMIT, "the last round")
    show.note_rounds()
    for who in show.annotators:  # one more look each: the last order is served, too
        who.look()


def _display(show: Show) -> Table:
    table = show.table()
    table.caption = show.caption()
    return table


def _check_annotators(show: Show) -> None:
    """Raise DemoError when somebody had to give up."""
    for who in show.annotators:
        if who.failure:
            raise DemoError(f"Annotator {who.name} gave up: {who.failure}")
    if not show.stage.backend.running:
        raise DemoError("The backend ended; its log is backend.log in the run's folder.")


def _pace(show: Show) -> None:
    """Label fast until a round starts, then at a person's pace; at most a budget during a round."""
    open_ = [round_ for round_ in show.store.open_rounds() if round_.kind == "train"]
    taken = open_[0].steps.get("synced", {}).get("labelled") if open_ else None
    enough = taken is not None and len(show.labelled()) >= taken + show.options.budget
    for who in show.annotators:
        who.pause = SLOW if open_ else FAST
        (who.hold.set if enough else who.hold.clear)()


def _idle(show: Show) -> bool:
    """Whether nothing is left to label."""
    return all(who.resting.is_set() for who in show.annotators)


def _acknowledged(show: Show) -> int:
    """Tasks with an annotation that Label Studio acknowledged, asked of Label Studio."""
    client = Studio(show.stage.studio.url, show.stage.studio.admin.token)
    rows = client.tasks(show.stage.project)
    return sum(row["total_annotations"] > 0 for row in rows)


def _in_snapshot(show: Show, round_: Round) -> int:
    """Tasks in exactly one of training and validation of a round's snapshot."""
    folder = show.stage.backend.data / "rounds" / str(show.stage.project)
    snapshot = json.loads((folder / f"{round_.number:04d}" / "snapshot.json").read_text())
    seen = Counter(entry["task_id"] for entry in snapshot["entries"])
    return sum(count == 1 for count in seen.values())


def _summary(show: Show) -> dict[str, Any]:
    """The table, the picture, and the JSON line."""
    served = [one for who in show.annotators for one in who.served]
    done = [act for who in show.annotators for act in who.done]
    verdicts = judge(served, done, show.orders)
    counts = Counter(found.verdict for found in verdicts)
    defects = counts["out_of_order"] + counts["unranked"]
    apart = {k: counts[k] for k in ("changed_meanwhile", "locked_before_flip", "double")}
    picture = draw(show)
    rounds = [row for row in show.records if row.map50 is not None]
    _print_table(show, verdicts)
    show.console.print(f"Picture: {picture}")
    return {
        "rounds": len(rounds),
        "map50": [round(float(row.map50 or 0), 4) for row in rounds],
        "labels": [row.labels for row in rounds],
        "round_seconds": [round(row.seconds, 1) for row in rounds],
        "served": counts["in_order"] + defects,
        "served_in_order": counts["in_order"],
        "served_by": dict(Counter(f.served.annotator for f in verdicts)),
        "apart": apart,
        "annotations": _acknowledged(show),
        "annotations_in_last_snapshot": _in_snapshot(show, show.finished()[-1]),
        "skips": sum(act.skipped for act in done),
        "control": show.stage.control,
        "data": show.stage.cast.name,
        "seconds": round(time.monotonic() - show.started, 1),
    }


def _print_table(show: Show, verdicts: list[Judged]) -> None:
    """What happened, for people; what was out of order or counted apart is listed."""
    show.console.print(show.table())
    for found in verdicts:
        if found.verdict != "in_order":
            one = found.served
            better = "" if found.better is None else f"; task {found.better} was free and better"
            show.console.print(
                f"{one.annotator} was served task {one.task} under {one.version_before}{better}:"
                f" {MEANING[found.verdict]}"
            )


def draw(show: Show) -> Path:
    """The PNG of the demonstration."""
    cast = show.stage.cast
    names = {Path(cast.samples.file_names[row]).name: row for row in cast.pool}
    client = Studio(show.stage.studio.url, show.stage.studio.admin.token)
    thumbnails = {}
    for task in client.tasks(show.stage.project):
        name = str(task["data"]["image"]).rpartition("/")[2].partition("-")[2]
        if name in names:
            thumbnails[int(task["id"])] = cast.samples.image(names[name])
    blank = np.full((8, 8, 3), 200, np.uint8)
    shown = {t: thumbnails.get(t, blank) for row in show.records for t in row.order}
    path = show.options.folder / "summary.png"
    pictures = [show.held_out.image(row) for row in show.examples]
    title = f"TAUDIS in Label Studio: {cast.name}"
    report.draw(path, show.records, shown, pictures, title, THRESHOLD)
    return path

"""The worker process does everything that takes longer than a web request may.

Four threads share one lease:
- The scheduler connects projects, acknowledges events and opens rounds. Because a webhook may be
  lost, it also polls Label Studio for changes.
- The first runner runs first rounds, so that a new project gets an order while another project
  trains. A first round reads every image, which is too slow for the scheduler's thread.
- The round runner runs all other open rounds, one at a time, the oldest first.
- The cleaner has three jobs (CLEANER_JOBS), each with its own pauses.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.exc import OperationalError

from backend.errors import BackendError, LeaseLost, StudioNotFound, StudioUnreachable
from backend.label_studio.listings import shared_sizes
from backend.logs import lines_of_round
from backend.process import limit_memory, lower_priority
from backend.settings import Settings
from backend.store import disk
from backend.store.database import Store
from backend.store.events import Event
from backend.store.lease import Lease
from backend.store.projects import Project
from backend.store.rounds import Round
from backend.store.transactions import WORKER_BUSY_MS
from backend.worker import (
    connection,
    gone,
    operate,
    prune,
    publish,
    queue_head,
    triggers,
    watermark,
)
from backend.worker.context import RoundContext, origin_seen
from backend.worker.due import at_last_step
from backend.worker.round import Heartbeat, run_round
from taudis import files

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.5
RETRY_SECONDS = (5.0, 300.0)  # first and longest pause after a failure
LONGEST_ASKED = 3600.0  # most seconds of a Retry-After that are obeyed at once
CLEANER_JOBS: dict[str, Callable[[RoundContext], int]] = {  # the words are for people
    "delete old predictions": prune.delete_some_in_studio,  # a few rows at a time
    "fill in pre-annotations": publish.extend_head,  # that one post could not carry
    "draw the next images": queue_head.refresh,  # on the status page
}


@dataclass
class Pause:
    """Backoff of one project in one thread after a failure."""

    until: float = 0.0
    seconds: float = RETRY_SECONDS[0]

    def longer(self, asked: float = 0.0) -> None:
        """Pause now, for the seconds that Label Studio asked for at least; double the next one."""
        self.until = time.monotonic() + max(self.seconds, min(asked, LONGEST_ASKED))
        self.seconds = min(self.seconds * 2, RETRY_SECONDS[1])


@dataclass
class Worker:
    """Runs until `stop` is set. The lease allows one working worker per data directory."""

    settings: Settings
    store: Store
    stop: threading.Event = field(default_factory=threading.Event)
    _pauses: dict[tuple[str, int], Pause] = field(default_factory=dict)
    _polled: dict[int, float] = field(default_factory=dict)
    _switching: threading.Lock = field(default_factory=threading.Lock)
    _recording: threading.Lock = field(default_factory=threading.Lock)
    """Held while a thread reads a project's reasons and writes them with its own."""

    def run(self) -> None:
        """Wait for the lease, work, and release it; wait again if another worker took it."""
        while not self.stop.is_set():
            lease = self._acquired()
            if lease is None:
                self.stop.wait(TICK_SECONDS)
                continue
            logger.info("Working with lease %s", lease.token)
            with Heartbeat(self.store, lease) as heartbeat:
                self._work(lease, heartbeat)

    def _acquired(self) -> Lease | None:
        """The lease, if it is free and the store can be written."""
        try:
            return self.store.acquire()
        except OperationalError as error:
            logger.warning("The lease cannot be taken: %s", error.orig)
            return None

    def _work(self, lease: Lease, heartbeat: Heartbeat) -> None:
        """Run all threads until the worker is stopped or the lease is lost."""
        done = threading.Event()

        def loop(turn: Callable[[Lease], None]) -> None:
            while not (self.stop.is_set() or done.is_set() or heartbeat.lost.is_set()):
                try:
                    turn(lease)
                except LeaseLost as error:
                    logger.warning("%s", error)
                    done.set()
                except Exception:
                    logger.exception("The worker goes on after an unexpected error")
                    self.store.count_error("unexpected")
                    self.stop.wait(RETRY_SECONDS[0])
                self.stop.wait(TICK_SECONDS)

        turns = {
            "first_runner": self.first_turn,
            "round_runner": self.runner_turn,
            "cleaner": self.cleaner_turn,
        }
        others = [
            threading.Thread(target=loop, args=(turn,), name=name, daemon=True)
            for name, turn in turns.items()
        ]
        for thread in others:
            thread.start()
        loop(self.scheduler_turn)
        done.set()
        for thread in others:
            thread.join()

    # --- the two runners -------------------------------------------------------------------------

    def first_turn(self, lease: Lease) -> None:
        """Run the open first rounds of projects that are not paused."""
        for round_ in self.store.open_rounds():
            if round_.kind == "first" and not self._paused("first_runner", round_.project):
                self._run("first_runner", lease, round_)

    def runner_turn(self, lease: Lease) -> None:
        """Run the oldest open round whose project is not paused. Comparisons of arms come last."""
        for round_ in sorted(self.store.open_rounds(), key=at_last_step):
            if round_.kind != "first" and not self._paused("round_runner", round_.project):
                self._run("round_runner", lease, round_)
                return

    def _run(self, who: str, lease: Lease, round_: Round) -> None:
        """Run one round until it ends, fails or must wait."""
        context = self._context(lease, round_.project)
        patience, guard = _Patience(self, who, round_.project), files.guarded(context.check_lease)
        with lines_of_round(round_.project, round_.number), patience, guard:
            run_round(context, round_)

    # --- the cleaner ------------------------------------------------------------------------

    def cleaner_turn(self, lease: Lease) -> None:
        """Each job of the cleaner for each project; one that fails does not stop the others."""
        deleted = 0
        for project in self.store.projects():
            jobs = CLEANER_JOBS if project.state.armed and not project.state.gone else {}
            context = self._context(lease, project.id)
            for name, job in jobs.items():
                if not self._paused(name, project.id):
                    with _Patience(self, name, project.id), files.guarded(context.check_lease):
                        done = job(context)
                        deleted += done if job is prune.delete_some_in_studio else 0
        if not deleted:
            self.stop.wait(min(self.settings.poll_seconds, 30.0))

    # --- the scheduler --------------------------------------------------------------------------

    def scheduler_turn(self, lease: Lease) -> None:
        """Handle all pending events, and poll Label Studio for projects whose poll is due."""
        events: dict[int, list[Event]] = {}
        for event in self.store.pending_events():
            events.setdefault(event.project, []).append(event)
        busy = {round_.project: round_ for round_ in self.store.open_rounds()}
        for project in self._by_waiting(events):
            if self._paused("scheduler", project.id):
                continue
            pending = events.get(project.id, [])
            due = time.monotonic() - self._polled.get(project.id, -1e9) > self.settings.poll_seconds
            if pending or due or project.state.asked:
                with _Patience(self, "scheduler", project.id):
                    self._handle(lease, project, pending, busy.get(project.id), due)

    def _by_waiting(self, events: dict[int, list[Event]]) -> list[Project]:
        """Projects in the order of their oldest pending event, then those without events."""
        never = time.time() + 1.0
        return sorted(
            self.store.projects(),
            key=lambda p: min((event.since for event in events.get(p.id, [])), default=never),
        )

    def _handle(
        self, lease: Lease, project: Project, pending: list[Event], open_: Round | None, due: bool
    ) -> None:
        """Handle the events of one project, unless Label Studio does not show the project."""
        context = self._context(lease, project.id)
        kinds = {event.kind for event in pending}
        if due:
            self._polled[project.id] = time.monotonic()
        for event in pending:
            # Events that arrive during a round stay pending and start one follow-up round.
            if event.kind in ("setup", "config") or (event.kind == "changed" and open_ is None):
                self.store.acknowledge(event)
        if project.state.gone and "setup" not in kinds and not (due and gone.is_back(context)):
            return
        try:
            self._serve(context, project, pending, open_, due)
        except StudioNotFound:
            gone.check(context)
            raise

    def _serve(
        self,
        context: RoundContext,
        project: Project,
        pending: list[Event],
        open_: Round | None,
        due: bool,
    ) -> None:
        """Connect or repair a project, carry out its request, and open a round if one is due."""
        kinds = {event.kind for event in pending}
        if not project.state.armed:
            if not triggers.may_connect(context, asked=due or "setup" in kinds):
                if due:
                    connection.finish_disarm(context)
                return
            connection.arm(context)
        elif due or kinds & {"setup", "config"}:
            if connection.was_removed(context):
                connection.disarm(context, connection.REMOVED)
                return
            (connection.arm if "setup" in kinds else connection.repair)(context)
            watermark.note_jumps(context)
        if project.state.asked:
            operate.carry_out(context)
        if open_ is None:
            self._open_round(context, pending, thorough=due)
        elif due and open_.kind != "first":
            triggers.count_changed(context, thorough=True)  # the page shows labels not in the round

    def _open_round(self, context: RoundContext, pending: list[Event], *, thorough: bool) -> None:
        """Open a round if one is due, and acknowledge its Start Training events with it."""
        call = triggers.round_due(context, pending, thorough=thorough)
        if call is None:
            return
        training = [event for event in pending if event.kind == call.kind == "train"]
        project = context.project_id
        opened = self.store.open_round(context.lease, project, call.kind, call.reason, training)
        with lines_of_round(project, opened.number):
            logger.info("Project %s: round %s opens: %s", project, opened.number, call.reason)

    def _context(self, lease: Lease, project: int) -> RoundContext:
        return RoundContext(self.settings, self.store, lease, project, switching=self._switching)

    def _paused(self, who: str, project: int) -> bool:
        return time.monotonic() < self._pauses.setdefault((who, project), Pause()).until


@dataclass
class _Patience:
    """Turns an error of one project into a reason and a pause, so other projects continue."""

    worker: Worker
    who: str  # thread, or job of the cleaner
    project: int

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        pause = self.worker._pauses.setdefault((self.who, self.project), Pause())
        if error is None:
            pause.seconds = RETRY_SECONDS[0]
            self._set_reason("")
            return False
        if isinstance(error, LeaseLost) or not isinstance(error, Exception):
            return False
        pause.longer(error.wait if isinstance(error, StudioUnreachable) else 0.0)
        self.worker.store.count_failure(error)
        data = self.worker.settings.model_dir
        reason = str(error) if isinstance(error, BackendError) else disk.refusal(error, data)
        if reason:
            logger.warning("Project %s (%s) waits: %s", self.project, self.who, reason)
            self._set_reason(reason)
        else:
            logger.error("Project %s (%s) waits", self.project, self.who, exc_info=error)
            self._set_reason(f"Unexpected {type(error).__name__}; the log has the details.")
        return True

    def _set_reason(self, reason: str) -> None:
        """Show the reason on the status page and /ready until this thread continues."""
        try:
            with self.worker._recording:
                self._record(reason)
        except OperationalError:  # the next failure shows it again; /ready reports a full disk
            logger.warning("Project %s: the store cannot be written", self.project, exc_info=True)

    def _record(self, reason: str) -> None:
        store = self.worker.store
        if (known := store.project(self.project)) is None:
            return
        if self.who in CLEANER_JOBS:
            if reason != (waits := known.state.cleaner_waits).get(self.who, ""):
                store.update_project(self.project, cleaner_waits={**waits, self.who: reason})
            return
        pages = shared_sizes(self.worker.settings.label_studio_url or origin_seen(known)).notice
        if pages != known.state.pages:
            store.update_project(self.project, pages=pages)
        reasons = {**known.state.waiting_reasons, self.who: reason}
        if reasons != (known.state.waiting_reasons or {self.who: ""}):
            first = next((text for text in reasons.values() if text), "")
            store.update_project(self.project, waiting_reasons=reasons, waiting_reason=first)


def run(settings: Settings) -> None:
    """Run the worker process at low priority until SIGTERM or SIGINT.

    The next start goes on at a round's first unfinished step, training at its last checkpoint.
    """
    import torch

    lower_priority(settings.nice)
    # Two spinning OpenMP threads on shared cores are several times slower than one.
    torch.set_num_threads(settings.torch_threads)
    limit_memory(training=True)
    worker = Worker(settings, Store(settings.model_dir, busy_ms=WORKER_BUSY_MS))

    def leave(_signal: int, _frame: Any) -> None:
        logger.info("Stopping; a round that is open goes on at the next start")
        worker.stop.set()
        # A training step cannot be interrupted, and it can be repeated.
        threading.Timer(5.0, os._exit, args=(0,)).start()

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    worker.run()
    os._exit(0)  # the round runner thread may still be in a step

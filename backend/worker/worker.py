"""The worker process: everything slow.

Three threads under one lease. The clerk answers bells, asks Label Studio for news once in a while
(a webhook may be lost), arms projects, publishes first orders, and opens rounds. The trainer runs
the open rounds, one at a time, the project that waits longest first. The janitor deletes what is
old in Label Studio a little at a time, and fills in what one post could not carry.
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

from backend.errors import BackendError, LeaseLost, StudioNotFound
from backend.label_studio.listings import shared_sizes
from backend.process import limit_memory
from backend.settings import Settings
from backend.store.database import WORKER_BUSY_MS, Bell, Lease, Project, Round, Store
from backend.worker import connection, prune, publish, triggers
from backend.worker.context import Desk, origin_seen
from backend.worker.round import Heartbeat, run_round

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.5
RETRY_SECONDS = (5.0, 300.0)  # first and longest pause after Label Studio could not be used


@dataclass
class Pause:
    """Backoff of one project while Label Studio cannot be used."""

    until: float = 0.0
    seconds: float = RETRY_SECONDS[0]

    def longer(self) -> None:
        """Wait twice as long as last time, up to the limit."""
        self.until = time.monotonic() + self.seconds
        self.seconds = min(self.seconds * 2, RETRY_SECONDS[1])


@dataclass
class Worker:
    """Runs until `stop` is set. One at a time on a data directory (the lease)."""

    settings: Settings
    store: Store
    stop: threading.Event = field(default_factory=threading.Event)
    _pauses: dict[tuple[str, int], Pause] = field(default_factory=dict)
    _polled: dict[int, float] = field(default_factory=dict)

    def run(self) -> None:
        """Wait for the lease, work, and give it back; wait again if another worker took it."""
        while not self.stop.is_set():
            lease = self.store.acquire()
            if lease is None:
                self.stop.wait(TICK_SECONDS)
                continue
            logger.info("Working with lease %s", lease.token)
            with Heartbeat(self.store, lease) as heartbeat:
                self._work(lease, heartbeat)
            self.store.release(lease)

    def _work(self, lease: Lease, heartbeat: Heartbeat) -> None:
        """All threads until stopped or the lease is lost."""
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
                    self.stop.wait(RETRY_SECONDS[0])
                self.stop.wait(TICK_SECONDS)

        turns = {"trainer": self.train_turn, "janitor": self.janitor_turn}
        others = [
            threading.Thread(target=loop, args=(turn,), name=name, daemon=True)
            for name, turn in turns.items()
        ]
        for thread in others:
            thread.start()
        loop(self.clerk_turn)
        done.set()
        for thread in others:
            thread.join()

    # --- the trainer ------------------------------------------------------------------------

    def train_turn(self, lease: Lease) -> None:
        """Run the oldest open round whose project is not paused."""
        for round_ in self.store.open_rounds():
            if round_.kind != "first" and not self._paused("trainer", round_.project):
                self._run("trainer", lease, round_)
                return

    def _run(self, who: str, lease: Lease, round_: Round) -> None:
        """One round as far as it goes."""
        desk = Desk(self.settings, self.store, lease, round_.project)
        with _Patience(self, who, round_.project):
            ended = run_round(desk, round_)
            logger.info(
                "Project %s, round %s: %s. %s",
                ended.project,
                ended.number,
                ended.outcome,
                ended.message,
            )

    # --- the janitor ------------------------------------------------------------------------

    def janitor_turn(self, lease: Lease) -> None:
        """For each project in turn: pre-annotations ahead of the queue's head, and a few rows of
        old versions deleted in Label Studio.
        """
        deleted = 0
        for project in self.store.projects():
            if project.state.get("armed") and not self._paused("janitor", project.id):
                desk = Desk(self.settings, self.store, lease, project.id)
                with _Patience(self, "janitor", project.id):
                    deleted += prune.delete_some_in_studio(desk)
                    publish.extend_head(desk)
        if not deleted:
            self.stop.wait(min(self.settings.poll_seconds, 30.0))

    # --- the clerk --------------------------------------------------------------------------

    def clerk_turn(self, lease: Lease) -> None:
        """Answer every bell, ask for news where it is time, publish first orders."""
        bells: dict[int, list[Bell]] = {}
        for bell in self.store.bells():
            bells.setdefault(bell.project, []).append(bell)
        busy = {round_.project: round_ for round_ in self.store.open_rounds()}
        for project in self._by_waiting(bells):
            if self._paused("clerk", project.id):
                continue
            rung = bells.get(project.id, [])
            due = time.monotonic() - self._polled.get(project.id, -1e9) > self.settings.poll_seconds
            if rung or due:
                with _Patience(self, "clerk", project.id):
                    self._look(lease, project, rung, busy.get(project.id), due)
        for round_ in self.store.open_rounds():
            if round_.kind == "first" and not self._paused("clerk", round_.project):
                self._run("clerk", lease, round_)

    def _by_waiting(self, bells: dict[int, list[Bell]]) -> list[Project]:
        """Projects, the one whose oldest bell waits longest first."""
        never = time.time() + 1.0
        return sorted(
            self.store.projects(),
            key=lambda p: min((bell.since for bell in bells.get(p.id, [])), default=never),
        )

    def _look(
        self, lease: Lease, project: Project, rung: list[Bell], open_: Round | None, due: bool
    ) -> None:
        """One project's bells and news."""
        desk = Desk(self.settings, self.store, lease, project.id)
        kinds = {bell.kind for bell in rung}
        if due:
            self._polled[project.id] = time.monotonic()
        for bell in rung:
            # A train or changed bell during a round stays news, and calls for one follow-up.
            if bell.kind in ("setup", "config") or (bell.kind == "changed" and open_ is None):
                self.store.hear(bell)
        if project.state.get("gone") and "setup" not in kinds:
            return
        try:
            self._serve(desk, project, rung, open_, due)
        except StudioNotFound:
            self._check_gone(desk)
            raise

    def _check_gone(self, desk: Desk) -> None:
        """Stop asking for a project that Label Studio does not show to our user (any more)."""
        try:
            desk.studio.project(desk.project_id)
        except StudioNotFound:
            logger.warning(
                "Project %s is gone or hidden; it waits for a new /setup", desk.project_id
            )
            desk.store.update_project(desk.project_id, gone=True)

    def _serve(
        self, desk: Desk, project: Project, rung: list[Bell], open_: Round | None, due: bool
    ) -> None:
        """What a living project needs."""
        kinds = {bell.kind for bell in rung}
        if "setup" in kinds or not project.state.get("armed"):
            if not triggers.may_arm(desk, asked=due or "setup" in kinds):
                return
            connection.arm(desk)
            desk.store.update_project(project.id, gone=False)
        elif due or "config" in kinds:
            if connection.was_removed(desk):
                connection.disarm(desk)
                desk.store.update_project(project.id, note=connection.REMOVED)
                return
            connection.repair(desk)
        if open_ is None:
            self._open_round(desk, rung, thorough=due)

    def _open_round(self, desk: Desk, rung: list[Bell], *, thorough: bool) -> None:
        """Open a round if one is called for, taking in the bells that called."""
        call = triggers.round_called_for(desk, rung, thorough=thorough)
        if call is None:
            return
        training = [bell for bell in rung if bell.kind == "train"] if call.kind == "train" else []
        round_ = self.store.open_round(
            desk.lease, desk.project_id, call.kind, call.reason, training
        )
        logger.info("Project %s: round %s opens: %s", round_.project, round_.number, call.reason)

    def _paused(self, who: str, project: int) -> bool:
        return time.monotonic() < self._pauses.setdefault((who, project), Pause()).until


@dataclass
class _Patience:
    """Turns what stops one project into words and a pause, so that the others go on."""

    worker: Worker
    who: str  # thread
    project: int

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        pause = self.worker._pauses.setdefault((self.who, self.project), Pause())
        if error is None:
            pause.seconds = RETRY_SECONDS[0]
            self._tell("")
            return False
        if isinstance(error, LeaseLost) or not isinstance(error, Exception):
            return False
        pause.longer()
        if isinstance(error, BackendError):
            logger.warning("Project %s (%s) waits: %s", self.project, self.who, error)
            self._tell(str(error))
        else:
            logger.error("Project %s (%s) waits", self.project, self.who, exc_info=error)
            self._tell(f"Unexpected {type(error).__name__}; the log has the details.")
        return True

    def _tell(self, trouble: str) -> None:
        """What people see on the status page and /ready, until this thread goes on."""
        store = self.worker.store
        known = store.project(self.project)
        if known is None or self.who == "janitor":
            return
        pages = shared_sizes(self.worker.settings.label_studio_url or origin_seen(known)).notice
        if pages != (known.state.get("pages") or ""):
            store.update_project(self.project, pages=pages)
        troubles = {**(known.state.get("troubles") or {}), self.who: trouble}
        if troubles != (known.state.get("troubles") or {self.who: ""}):
            shown = next((text for text in troubles.values() if text), "")
            store.update_project(self.project, troubles=troubles, trouble=shown)


def run(settings: Settings) -> None:
    """The worker process: low priority, one thread for torch, until SIGTERM or SIGINT.

    A round in progress is left where it is; the next start goes on at its first unfinished step,
    training at its last periodic checkpoint.
    """
    os.nice(settings.nice)
    _limit_threads(settings.torch_threads)
    limit_memory(training=True)
    worker = Worker(settings, Store(settings.model_dir, busy_ms=WORKER_BUSY_MS))

    def leave(_signal: int, _frame: Any) -> None:
        logger.info("Stopping; an open round goes on at the next start")
        worker.stop.set()
        # Training cannot be interrupted politely in the middle of a step, and need not be.
        threading.Timer(5.0, os._exit, args=(0,)).start()

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    worker.run()
    os._exit(0)  # the trainer thread may still be in a step


def _limit_threads(threads: int) -> None:
    """Two spinning OpenMP threads on shared cores are several times slower than one."""
    import torch

    torch.set_num_threads(threads)

"""The round: a sequence of steps that the next worker resumes after a kill.

    sync → train → judge → score → select → publish → flip → prune → compare

Before the first model, `embed` replaces train, judge and score. The last step does nothing without
a control arm.

A step takes the context, the round and a progress callback. It writes its files and returns a small
JSON result, which this module records as the step's row. Each step can be repeated from its start.
After a kill at any instant, the next worker finds the round open and continues at the first step
without a row. Steps read the state of Label Studio, never the payload of a webhook.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from sqlalchemy.exc import OperationalError

from backend.errors import (
    BackendError,
    DiskRefused,
    ImageGone,
    LeaseLost,
    RoundStopped,
    RoundWaits,
    StudioAuthError,
    StudioNotFound,
    StudioUnreachable,
)
from backend.label_studio.left_out import Summary
from backend.store import disk, first_order
from backend.store.database import Store
from backend.store.lease import Lease
from backend.store.rounds import Round
from backend.store.serving import serving_model
from backend.worker import gone, memory_kills
from backend.worker.anytime import in_words
from backend.worker.common import Report, Result
from backend.worker.compare_arms import compare_arms
from backend.worker.context import RoundContext
from backend.worker.embed import embed
from backend.worker.judge import judge
from backend.worker.prune import prune
from backend.worker.publish import flip, publish, require_armed
from backend.worker.score import score
from backend.worker.select import select
from backend.worker.sync import sync
from backend.worker.train import train
from taudis.detector.memory import is_out_of_memory
from taudis.errors import TaudisError

logger = logging.getLogger(__name__)

Step = Callable[[RoundContext, Round, Report], Result]
STEP_FUNCTIONS: Mapping[str, Step] = {
    "synced": sync,
    "embedded": embed,
    "trained": train,
    "evaluated": judge,
    "scored": score,
    "selected": select,
    "published": publish,
    "flipped": flip,
    "pruned": prune,
    "compared": compare_arms,
}
RENEW_SECONDS = 15.0
OUTSIDE = (
    LeaseLost,
    StudioUnreachable,
    StudioAuthError,
    DiskRefused,
    ImageGone,
    OperationalError,
)
"""Failures that are not the round's: it stays open and goes on later."""


def run_round(context: RoundContext, round_: Round) -> Round:
    """Run the steps that have no row yet, and close the round.

    If a step fails, the round is closed as failed with the reason, and the previous order stays. A
    round that gives way to another project's round is returned open. If a person disconnects the
    project before the order is switched, the round ends within seconds as stopped.

    Raises:
        LeaseLost: another worker took over; nothing more was written.
        StudioUnreachable, StudioAuthError: Label Studio cannot be used now. The round stays open,
            and the next call continues here.
        DiskRefused, OperationalError: the same for the disk (full, read-only) and the store (busy).
        ImageGone: the same for an image that a step has read and cannot read again now.
    """
    done = _run(context, round_)
    state = done.outcome or "open"
    logger.info("Project %s, round %s: %s. %s", done.project, done.number, state, done.message)
    return done


def _run(context: RoundContext, round_: Round) -> Round:
    """`run_round` without the line about its end."""
    try:
        while (step := round_.next_step) is not None:
            with disk.refusals(context.data):
                round_ = _run_with_retry(context, round_, step)
    except OUTSIDE:
        raise  # the round stays open: the failure lies outside it
    except RoundWaits as error:
        logger.info("Project %s, round %s waits: %s", round_.project, round_.number, error)
        return round_
    except RoundStopped as error:
        logger.info("Project %s, round %s stops: %s", round_.project, round_.number, error)
        return context.store.end_round(context.lease, round_.id, "stopped", str(error))
    except StudioNotFound as error:
        return _fail(context, round_, f"Label Studio no longer has what the round needs: {error}")
    except (BackendError, TaudisError) as error:
        return _fail(context, round_, str(error))
    except Exception as error:
        if is_out_of_memory(error):
            logger.warning("Out of memory", exc_info=True)
            words = "Out of memory. Give the worker more, or set a smaller recipe."
            return _fail(context, round_, words)
        logger.exception("Round %s of project %s", round_.number, round_.project)
        context.store.count_error("unexpected")
        return _fail(
            context, round_, f"Unexpected {type(error).__name__}; the log has the details."
        )
    return _close(context, round_)


def _run_with_retry(context: RoundContext, round_: Round, step: str) -> Round:
    """Run one step, and after a 404 once more: a proxy answers 404 while Label Studio restarts.

    Raises:
        StudioNotFound: 404 again, while Label Studio shows the project.
        StudioUnreachable: Label Studio does not show the project either.
    """
    try:
        return _run_step(context, round_, step)
    except StudioNotFound as error:
        gone.require_visible(context)
        logger.warning("Project %s: %s is run again after: %s", round_.project, step, error)
        context.store.count_error("step_repeated")
    try:
        return _run_step(context, round_, step)
    except StudioNotFound:
        gone.require_visible(context)
        raise


def _run_step(context: RoundContext, round_: Round, step: str) -> Round:
    """Run one step, log its time and store its row."""
    started = time.monotonic()
    deaths = memory_kills.deaths(round_, step, context.lease)
    if deaths > int(round_.progress.get("oom_deaths", 0)):
        context.store.count_error("worker_killed")
    flipped = "flipped" in round_.steps
    stop = None if flipped else partial(require_armed, context)
    reporter = Reporter(context.store, context.lease, round_.id, deaths, stop)
    memory_kills.check(deaths)
    reporter({"step": step, "done": 0, "total": 0}, force=True)
    result = STEP_FUNCTIONS[step](context, round_, reporter)
    seconds = round(time.monotonic() - started, 3)
    logger.info("Project %s, round %s: %s in %.1f s", round_.project, round_.number, step, seconds)
    return context.store.finish_step(context.lease, round_.id, step, {**result, "seconds": seconds})


def _close(context: RoundContext, round_: Round) -> Round:
    """End a round whose steps are all done, with a message for people."""
    verdict = round_.steps.get("evaluated", {})
    flip = round_.steps["flipped"]
    stand_in = str(round_.steps.get("scored", {}).get("stand_in") or "")
    parts = [str(verdict.get("reason") or ""), stand_in, str(flip["why"])]
    trained = round_.steps.get("trained", {})
    parts += [str(trained.get("started_from") or ""), _unused_labels(trained)]
    parts.append(str(round_.steps.get("synced", {}).get("scores_only") or ""))
    parts.append(in_words(round_))
    parts.append(str(round_.steps.get("embedded", {}).get("why") or ""))
    chosen = round_.steps["selected"]
    warnings = [str(each).rstrip(".") for each in chosen["warnings"]]
    parts += [_order(context, round_), *warnings]
    parts += [str(chosen.get("hint") or ""), *_left_out(round_)]
    parts.append(str(round_.steps.get("compared", {}).get("words") or ""))
    outcome = "served" if flip["flipped"] and verdict.get("serve", True) else "kept"
    message = "; ".join(part for part in parts if part)
    return context.store.end_round(context.lease, round_.id, outcome, message)


def _order(context: RoundContext, round_: Round) -> str:
    """How the order was made, and before the first model what comes next, in words."""
    strategy = str(round_.steps["selected"]["strategy"])
    if round_.kind == "first" and not serving_model(context.load_project().state):
        return first_order.message(strategy, context.settings.changes_per_round)
    return f"order by {strategy}"


def _unused_labels(trained: Mapping[str, Any]) -> str:
    """The labels without a training object, in words; '' if there are none."""
    unused = trained.get("unused_labels")
    if not unused:
        return ""
    # A model that the training started from may have learnt them before.
    so = "" if trained.get("start") else ", which the model cannot find"
    return f"labels without an object to train on{so}: {', '.join(unused)}"


def _left_out(round_: Round) -> list[str]:
    """What the round left out of the labelled and of the unlabelled tasks, in words."""
    said = []
    names = {"trained": "Labelled", "embedded": "Unlabelled", "scored": "Unlabelled"}
    for step, name in names.items():
        found = round_.steps.get(step, {}).get("left_out")
        said.append(Summary.from_json(found).in_words(f"{name} tasks") if found else "")
    return said


def _fail(context: RoundContext, round_: Round, reason: str) -> Round:
    """End a round as failed."""
    logger.warning("Project %s, round %s failed: %s", round_.project, round_.number, reason)
    return context.store.end_round(context.lease, round_.id, "failed", reason)


class Reporter:
    """Writes progress to the store at most once a second.

    Raises LeaseLost without the lease, and what `check` raises.
    """

    def __init__(
        self,
        store: Store,
        lease: Lease,
        round_id: int,
        deaths: int = 0,
        check: Callable[[], None] | None = None,
    ) -> None:
        """`deaths`: result of `memory_kills.deaths`, recorded for the next worker.

        `check` is called after each record. It may raise to end the step.
        """
        self._store, self._lease, self._round, self._deaths = store, lease, round_id, deaths
        self._check, self._next = check, 0.0

    def __call__(self, progress: Mapping[str, Any], *, force: bool = False) -> None:
        """Record progress unless the last record is younger than a second."""
        now = time.monotonic()
        if force or now >= self._next:
            self._next = now + 1.0
            counts = memory_kills.to_report(self._deaths, self._lease)
            self._store.report(self._lease, self._round, {**counts, **progress, "at": time.time()})
            if self._check is not None:
                self._check()


class Heartbeat:
    """Renews the lease in a background thread, and releases it at the end.

    `lost` is set when another worker has taken the lease.
    """

    def __init__(self, store: Store, lease: Lease) -> None:
        self._store, self._lease = store, lease
        self._stop = threading.Event()
        self.lost = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        try:
            self._store.release(self._lease)
        except OperationalError:  # a full disk: other workers wait until the lease expires
            logger.warning("The lease could not be given back", exc_info=True)

    def _run(self) -> None:
        while not self._stop.wait(RENEW_SECONDS):
            try:
                self._store.renew(self._lease)
            except LeaseLost:
                self.lost.set()
                return
            except Exception:
                logger.warning("The lease could not be renewed just now", exc_info=True)

"""Decides whether a project needs a round now, and of which kind.

It compares Label Studio with what the last round read. Triggers are changed labels, tasks without a
place in the order, deleted predictions, and Start Training.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from backend.clock import elapsed
from backend.errors import RoundError
from backend.label_studio.label_config import parse_label_config
from backend.store.events import Event
from backend.store.rounds import Round, RoundKind
from backend.store.serving import serving_model
from backend.store.state import ProjectState
from backend.worker import changed_labels, watermark
from backend.worker.anytime import unscored
from backend.worker.changed_labels import Changed
from backend.worker.connection import our_backend
from backend.worker.context import RoundContext, read_json
from backend.worker.dataset import Snapshot, choose_annotation, fingerprint
from backend.worker.inventory import inventory
from backend.worker.made import nothing_to_order
from backend.worker.serving import any_fits

logger = logging.getLogger(__name__)

AFTER_FAILURE_SECONDS = 60.0  # doubled with each failure in a row, up to an hour
SMALL = 1_000  # an order of at most so many tasks may be replaced at any time
SECONDS_A_TASK = 0.2
"""A larger order stays for this time per task, even if new tasks were imported. The cleaner deletes
a prediction in 0.1 to 0.15 s, so old orders do not accumulate in Label Studio."""


@dataclass(frozen=True)
class Call:
    """A round that should start, and why, in words."""

    kind: RoundKind
    reason: str


def may_connect(context: RoundContext, *, asked: bool) -> bool:
    """Whether a project may be armed: not after `disconnect`, unless it was connected again."""
    state = context.load_project().state
    if not state.disconnected:
        return True
    if not asked:
        return False
    try:
        fresh = bool(our_backend(context)["id"] != state.backend_id)
    except RoundError:
        return False
    if fresh:
        context.store.update_project(context.project_id, disconnected=False)
    return fresh


def round_due(context: RoundContext, pending: list[Event], *, thorough: bool) -> Call | None:
    """The round that a project needs now, or None.

    Start Training always starts a training, and so do enough label changes since the last training.
    Tasks without a place in the order get one by a refresh, or by a first order if there is no
    model. Such tasks, deleted predictions and deleted annotations are searched for only if
    `thorough` (at a poll).
    """
    if any(event.kind == "train" for event in pending):
        return Call("train", "Start Training")
    waits = backing_off(context, "train")
    changed = count_changed(context, thorough=thorough, waits=waits)
    wanted = context.settings.changes_per_round
    if changed >= wanted and not waits:
        return Call("train", f"{changed} labelled tasks changed (a round starts at {wanted})")
    state = context.load_project().state
    promoted = bool(state.promoted and state.reorder)
    return _order_due(context) if thorough or promoted else None


def _order_due(context: RoundContext) -> Call | None:
    """A round for tasks without a place, a prediction or a score, for a promotion, or after a new
    connection.

    It trains only if no model has the labels of the config.
    """
    found, rest = inventory(context), unscored(context)
    placeless = found.placeless
    if placeless and _may_wait(context, placeless):
        placeless = 0
    state = context.load_project().state
    wanted = placeless or found.rowless
    if state.reorder and not wanted and nothing_to_order(context):
        context.store.update_project(context.project_id, lease=context.lease, reorder=False)
        return None
    if not (wanted or rest or state.reorder):
        return None
    reason = _reason(state, placeless, found.rowless, rest)
    kind: RoundKind = "refresh"
    if not serving_model(state):
        kind = "first"
    elif not _model_fits(context):
        labelled = bool(context.studio.export_annotated(context.project_id))
        # If a training has just failed, a first order gives new tasks their places without a model.
        kind = "train" if labelled and not backing_off(context, "train") else "first"
        reason = f"{reason}; no model can be read that has the labels of the config"
    return None if backing_off(context, kind) else Call(kind, reason)


def _reason(state: ProjectState, placeless: int, rowless: int, rest: int) -> str:
    """Why a new order is due, in words."""
    if placeless and not (state.serving or serving_model(state)):
        return f"{placeless} task{'' if placeless == 1 else 's'} to put in a first order"
    if placeless:
        tasks = "1 task has" if placeless == 1 else f"{placeless} tasks have"
        return f"{tasks} no place in the order yet"
    if rowless:
        return f"{rowless} predictions of {state.serving} were deleted in Label Studio"
    if state.reorder:
        return f"{state.promoted} was promoted" if state.promoted else "connected anew"
    return f"{rest} images are not scored yet"


def _may_wait(context: RoundContext, placeless: int) -> bool:
    """Whether `placeless` tasks must wait because the newest order is large and recent.

    Tasks imported all day would otherwise replace the order at every poll. They do not wait if they
    are as many as the tasks of the order: orders then grow so fast that old orders do not matter.
    """
    newest = next(iter(context.store.versions(context.project_id)), None)
    if newest is None or newest.tasks <= SMALL or placeless >= newest.tasks:
        return False
    return elapsed(newest.created) < newest.tasks * SECONDS_A_TASK


def _model_fits(context: RoundContext) -> bool:
    """Whether the serving model, or one that can stand in for it, has the config's labels."""
    config = parse_label_config(context.load_project().state.label_config)
    return any_fits(context, config.label_map)


def count_changed(context: RoundContext, *, thorough: bool, waits: bool = False) -> int:
    """Count the tasks that changed since the last training, and record them in the project's row.

    `waits`: no training may start now, whatever the count.
    """
    last = last_training(context)
    if last is None and waits:
        # Counting changes would read every label. No training starts before the pause ends, so
        # Label Studio's counter is good enough until then.
        counter = context.studio.project(context.project_id)["finished_task_number"]
        found = Changed(int(counter), 0, None)
    else:
        found = changed_tasks(context, last, thorough=thorough)
    changed_labels.note(context, found)
    return found.count


def changed_tasks(
    context: RoundContext, last: tuple[Round, Snapshot] | None, *, thorough: bool
) -> Changed:
    """Tasks whose counting annotation was added, edited or deleted since the last training.

    Deleted annotations are found only if `thorough`. `last`: the result of `last_training`.
    """
    if last is None:
        annotated = context.studio.export_annotated(context.project_id)
        labelled = [task for task in annotated if choose_annotation(task) is not None]
        return Changed(len(labelled), 0, labelled)
    round_, snapshot = last
    seen = {entry.task_id: (entry.annotation_id, entry.updated_at) for entry in snapshot.entries}
    tasks = {
        int(task["id"]): task
        for task in watermark.since(context, round_, context.studio.tasks_changed_since)
        if fingerprint(task) != seen.get(int(task["id"]))
    }
    changed = set(tasks)
    if thorough:
        touched = watermark.since(context, round_, context.studio.tasks_touched_since)
        changed |= {
            int(task["id"])
            for task in touched
            if not task["total_annotations"] and int(task["id"]) in seen
        }
    return Changed(len(changed), round_.number, list(tasks.values()))


def last_training(context: RoundContext) -> tuple[Round, Snapshot] | None:
    """The newest training that read its labels and did not fail or stop, with its snapshot."""
    round_ = context.store.last_training(context.project_id)
    if round_ is None:
        return None
    path = context.round_dir(round_) / "snapshot.json"
    try:
        return round_, Snapshot.from_json(read_json(path))
    except (OSError, ValueError, KeyError) as error:
        logger.warning("Project %s: %s cannot be read: %s", context.project_id, path.name, error)
        return None


def backing_off(context: RoundContext, kind: RoundKind) -> bool:
    """Whether the next round of a kind waits after recent failures. Start Training never waits."""
    failures = list[Round]()
    for round_ in context.store.rounds(context.project_id, limit=20):
        if round_.kind != kind:
            continue
        if round_.outcome != "failed":
            break
        failures.append(round_)
    if not failures:
        return False
    pause: float = min(AFTER_FAILURE_SECONDS * 2 ** (len(failures) - 1), 3600.0)
    return elapsed(failures[0].ended or 0.0) < pause

"""What Label Studio holds that a round has not seen yet, and which round it calls for."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from backend import predictions, task_queue
from backend.connect import our_backend
from backend.dataset import Snapshot, choose_annotation
from backend.desk import Desk, read_json, state_of
from backend.errors import RoundError, StoreError
from backend.store import Bell, Round, RoundKind

logger = logging.getLogger(__name__)

AFTER_FAILURE_SECONDS = 60.0  # doubled with each failure in a row, up to an hour
HEAD = 200  # predictions filled in place at a time, where one post could not carry all


@dataclass(frozen=True)
class Call:
    """A round that should start, and why, in words."""

    kind: RoundKind
    reason: str


def may_arm(desk: Desk, *, asked: bool) -> bool:
    """Whether a project may be armed: not after `disconnect`, unless it was connected anew."""
    state = desk.project.state
    if not state.get("disconnected"):
        return True
    if not asked:
        return False
    try:
        fresh = bool(our_backend(desk)["id"] != state.get("backend_id"))
    except RoundError:
        return False
    if fresh:
        desk.store.update_project(desk.project_id, disconnected=False)
    return fresh


def round_called_for(desk: Desk, rung: list[Bell]) -> Call | None:
    """The round that a project needs now, or None.

    Start Training always trains; labels train when enough changed since the last training; tasks
    without a place in the order get one by a refresh, or by a first order before any model.
    """
    if any(bell.kind == "train" for bell in rung):
        return Call("train", "Start Training")
    failing = _failures_in_a_row(desk)
    if failing and time.time() < failing[0] + _backoff(failing[1]):
        return None
    changed = changed_tasks(desk)
    desk.store.update_project(desk.project_id, changed=changed)
    wanted = desk.settings.changes_per_round
    if changed >= wanted:
        return Call("train", f"{changed} labelled tasks changed (a round starts at {wanted})")
    placeless = tasks_without_place(desk)
    if placeless:
        kind: RoundKind = "refresh" if state_of(desk.project, "model", "") else "first"
        return Call(kind, f"{placeless} tasks have no place in the order yet")
    return None


def changed_tasks(desk: Desk) -> int:
    """Tasks whose counting annotation is new, edited or gone since the last training's snapshot."""
    last = last_training(desk)
    if last is None:
        annotated = desk.studio.export_annotated(desk.project_id)
        return sum(choose_annotation(task) is not None for task in annotated)
    round_, snapshot = last
    seen = {entry.task_id: (entry.annotation_id, entry.updated_at) for entry in snapshot.entries}
    tasks = desk.studio.tasks_changed_since(desk.project_id, _just_before(round_))
    return sum(fingerprint(task) != seen.get(int(task["id"])) for task in tasks)


def _just_before(round_: Round) -> str:
    """Two seconds before the newest change that a round has read: edits may end out of order."""
    newest = str(round_.steps["synced"]["watermark"])
    if not newest:
        return "1970-01-01T00:00:00.000000Z"  # there was no task
    moment = (datetime.fromisoformat(newest) - timedelta(seconds=2)).astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")  # the one form that Label Studio reads


def fingerprint(task: dict[str, Any]) -> tuple[int, str] | None:
    """Which annotation of a task counts, and since when; None if none does."""
    chosen = choose_annotation(task)
    return None if chosen is None else (int(chosen["id"]), str(chosen["updated_at"]))


def last_training(desk: Desk) -> tuple[Round, Snapshot] | None:
    """The newest training round that read its labels, with its snapshot."""
    for round_ in desk.store.rounds(desk.project_id):
        path = desk.round_dir(round_) / "snapshot.json"
        if round_.kind == "train" and "synced" in round_.steps and path.exists():
            return round_, Snapshot.from_json(read_json(path))
    return None


def tasks_without_place(desk: Desk) -> int:
    """Unlabelled tasks that the current order does not hold: imported or unlabelled since."""
    last = desk.store.last_step(desk.project_id, "synced")
    published = desk.store.versions(desk.project_id)
    if last is None or not published:
        return sum(not task["is_labeled"] for task in desk.studio.tasks(desk.project_id))
    # The newest published order, served or held back by a pin, is the one that must be whole.
    newest = predictions.path_of(desk.data, desk.project_id, published[0].version)
    try:
        placed = predictions.ranks(newest)
    except StoreError as error:
        logger.warning("Project %s: %s", desk.project_id, error)
        placed = {}
    tasks = desk.studio.tasks_changed_since(desk.project_id, _just_before(last[0]))
    return sum(not task["is_labeled"] and int(task["id"]) not in placed for task in tasks)


def _failures_in_a_row(desk: Desk) -> tuple[float, int] | None:
    """When the last round failed and how many did in a row; None if the last one did not."""
    failed = 0
    ended = 0.0
    for round_ in desk.store.rounds(desk.project_id, limit=10):
        if round_.outcome != "failed":
            break
        ended = max(ended, round_.ended or 0.0)
        failed += 1
    return (ended, failed) if failed else None


def _backoff(failures: int) -> float:
    """Seconds without automatic rounds after failures in a row; Start Training works at once."""
    return float(min(AFTER_FAILURE_SECONDS * 2 ** (failures - 1), 3600.0))


def extend_head(desk: Desk) -> int:
    """Fill in regions of tasks that come near the head of the queue. Returns how many.

    Only where one bulk post could not carry every task's regions (`QueuePlan.filled`).
    """
    state = desk.project.state
    serving, filled = str(state.get("serving") or ""), state.get("filled")
    if not serving or filled is None:
        return 0
    path = predictions.path_of(desk.data, desk.project_id, serving)
    ranks = predictions.ranks(path)
    if filled >= len(ranks):
        return 0
    ahead = {rank for rank in ranks.values() if rank <= filled}
    labelled = {
        ranks[int(task["id"])]
        for task in desk.studio.tasks(desk.project_id)
        if task["is_labeled"] and int(task["id"]) in ranks
    }
    if len(ahead - labelled) >= HEAD:
        return 0
    done = 0
    for prediction in predictions.in_order(path):
        if filled < prediction.rank <= filled + HEAD and prediction.rank not in labelled:
            done += _fill(desk, serving, prediction)
    desk.store.update_project(desk.project_id, filled=filled + HEAD)
    return done


def _fill(desk: Desk, version: str, prediction: predictions.Prediction) -> int:
    """Give a score-only prediction its regions, in place."""
    row = task_queue.prediction_row(prediction, version)
    for there in desk.studio.predictions_of(prediction.task):
        if there["model_version"] == version:
            desk.studio.patch_prediction(there["id"], result=row["result"])
            return 1
    return 0

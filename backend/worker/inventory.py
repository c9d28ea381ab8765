"""Compares the newest order with the current state of Label Studio, at each poll.

Most changes set a task's `updated_at`, so the tasks touched since the order's round are listed. Two
changes do not set it: "Annotations per task" and the overlap cohort re-open labelled tasks by bulk
updates, and the Data Manager's action "Delete Predictions" deletes rows. Label Studio's counters
reveal both, at one request each. All tasks are listed only if the counters show re-opened tasks, or
cannot exclude them because tasks were deleted.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.errors import StoreError
from backend.store import predictions
from backend.store.rounds import Round
from backend.store.versions import Version
from backend.worker import watermark
from backend.worker.context import RoundContext

logger = logging.getLogger(__name__)

Row = dict[str, Any]


@dataclass(frozen=True)
class Inventory:
    """Numbers of tasks and predictions that the newest order lacks."""

    placeless: int
    """Unlabelled tasks without a place: imported, re-opened or made unlabelled since."""
    rowless: int = 0
    """Predictions of the order deleted in Label Studio; 0 if a new order would not serve."""


def inventory(context: RoundContext) -> Inventory:
    """Compare the newest published order with Label Studio, even if a pin holds it back."""
    published = context.store.versions(context.project_id)
    if not published:
        # Only the count, because listing 10,000 tasks takes 7 s.
        return Inventory(context.studio.unlabelled(context.project_id))
    newest = published[0]
    # Including pruned versions: an order without tasks is not kept, but its round read the tasks.
    last = context.store.versions(context.project_id, pruned=True)[0]
    made = context.store.round(newest.round if last.tasks else last.round)
    placed = _placed(context, newest)
    # Read before the tasks are counted: a task deleted in between then counts as deleted, so its
    # predictions are not reported as missing.
    rows = context.studio.model_versions(context.project_id)
    # Not since the last round: a later, failed round read tasks without giving them a place.
    touched = watermark.since(context, made, context.studio.tasks_touched_since)
    # Read after the listing, because a task labelled in between then only lowers the count.
    project = context.studio.project(context.project_id)
    placeless = sum(not task["is_labeled"] and int(task["id"]) not in placed for task in touched)
    deleted = _deleted(made, touched, project)
    if placed:
        held = placed if made.id == newest.round else ()
        placeless += _reopened(context, made, held, placed, touched, project, deleted or 0)
    known = deleted if made.id == newest.round else None
    return Inventory(placeless, _rowless(context, newest, project, rows, known))


def _placed(context: RoundContext, version: Version) -> Collection[int]:
    """The tasks of an order; empty if its file cannot be read."""
    try:
        path = predictions.path_of(context.data, context.project_id, version.version)
        return predictions.ranks(path).keys()
    except StoreError as error:
        logger.warning("Project %s: %s", context.project_id, error)
        return ()


def _deleted(made: Round, touched: Sequence[Row], project: Row) -> int | None:
    """Number of tasks deleted since a round read them; None for a round of an older build.

    Task ids increase, and an imported task counts as touched.
    """
    synced = made.steps.get("synced", {})
    if "tasks" not in synced:
        return None
    last = int(synced["last_task"])
    imported = sum(int(task["id"]) > last for task in touched)
    return max(0, int(synced["tasks"]) + imported - int(project["task_number"]))


# --- tasks re-opened by a bulk update -------------------------------------------------------------


@dataclass(frozen=True)
class _Listed:
    """The result of the last listing of all tasks, for one round."""

    round: int
    deleted: int = 0  # tasks that were deleted by then
    correction: int = 0  # number of re-opened tasks minus the number by the counters
    found: int = 0  # re-opened tasks


_listed: dict[int, _Listed] = {}
"""Project id -> result, kept in memory only: a restarted worker lists again."""


# long: half of the lines are arguments
def _reopened(
    context: RoundContext,
    made: Round,
    held: Collection[int],
    placed: Collection[int],
    touched: Sequence[Row],
    project: Row,
    deleted: int,
) -> int:
    """Number of unlabelled tasks without a place that nobody touched since the round `made`.

    The expected count of unlabelled tasks is that of the untouched tasks that the round found
    unlabelled, plus that of the touched unlabelled tasks. Label Studio counts more if tasks were
    re-opened, and fewer if unlabelled tasks were deleted. Only a listing can distinguish deleted
    unlabelled tasks from deleted labelled tasks.

    Args:
        context: the project's context.
        made: the round that read the tasks.
        held: the tasks that the round found unlabelled.
        placed: the tasks that have a place.
        touched: the tasks that were touched since.
        project: Label Studio's row, with its counters.
        deleted: the number of tasks deleted since.
    """
    moved = {int(task["id"]) for task in touched}
    untouched = sum(task not in moved for task in held)
    expected = untouched + sum(not task["is_labeled"] for task in touched)
    more = unlabelled(project) - expected
    known = _listed.get(context.project_id, _Listed(made.id))
    if known.round != made.id:
        known = _Listed(made.id)
    newly_deleted = deleted - known.deleted
    bound = more + known.correction + newly_deleted
    if bound <= 0:
        return 0
    if not newly_deleted and bound <= known.found:
        return bound
    tasks = context.studio.tasks(context.project_id)
    found = sum(
        not task["is_labeled"] and int(task["id"]) not in placed and int(task["id"]) not in moved
        for task in tasks
    )
    _listed[context.project_id] = _Listed(made.id, deleted, found - more, found)
    return found


# --- deleted predictions --------------------------------------------------------------------------


def _rowless(
    context: RoundContext,
    newest: Version,
    project: Row,
    rows: Mapping[str, int],
    deleted: int | None,
) -> int:
    """Lower bound of the number of the served order's predictions deleted in Label Studio.

    Args:
        context: the project's context.
        newest: the newest published order.
        project: Label Studio's row.
        rows: version -> number of its predictions in Label Studio.
        deleted: number of tasks deleted since the newest order, with their predictions; None if
            unknown.
    """
    state = context.load_project().state
    if not state.serving or state.pinned or not unlabelled(project):
        return 0
    if (project.get("model_version") or state.serving) != state.serving:
        return 0  # a person chose another version, which a new order would not replace
    there = rows.get(state.serving, 0)
    if newest.version != state.serving or deleted is None:
        return 0 if there else newest.tasks
    return max(0, newest.tasks - there - deleted)


def unlabelled(project: Mapping[str, Any]) -> int:
    """How many tasks Label Studio still serves, by the project's counters."""
    return int(project["task_number"]) - int(project["finished_task_number"])

"""Compares the newest order with what Label Studio holds now.

The worker asks at each poll. Most changes set a task's `updated_at`, so it lists the tasks that
were touched since the order's round. Two changes do not set it. "Annotations per task" and the
overlap cohort re-open labelled tasks by bulk updates, and the Data Manager's action "Delete
Predictions" deletes rows. Both are found by numbers that Label Studio counts; each costs one
request. All tasks are listed only where these numbers say that tasks were re-opened, or cannot
exclude it because tasks were deleted.
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
    """What the newest order lacks."""

    placeless: int
    """Unlabelled tasks that it does not hold: imported, unlabelled or re-opened since."""
    rowless: int = 0
    """Its predictions that were deleted in Label Studio; 0 where a new order would not serve."""


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
    # Before the tasks are counted: a task deleted in between then counts as deleted, so that its
    # predictions are not missed.
    rows = context.studio.model_versions(context.project_id)
    # Not since the last round: a later, failed round read tasks without giving them a place.
    touched = watermark.since(context, made, context.studio.tasks_touched_since)
    # After the listing, because a task labelled in between then only lowers the count.
    project = context.studio.project(context.project_id)
    placeless = sum(not task["is_labeled"] and int(task["id"]) not in placed for task in touched)
    deleted = _deleted(made, touched, project)
    if placed:
        held = placed if made.id == newest.round else ()
        placeless += _reopened(context, made, held, placed, touched, project, deleted or 0)
    known = deleted if made.id == newest.round else None
    return Inventory(placeless, _rowless(context, newest, project, rows, known))


def _placed(context: RoundContext, version: Version) -> Collection[int]:
    """The tasks of an order; none where its file cannot be read."""
    try:
        path = predictions.path_of(context.data, context.project_id, version.version)
        return predictions.ranks(path).keys()
    except StoreError as error:
        logger.warning("Project %s: %s", context.project_id, error)
        return ()


def _deleted(made: Round, touched: Sequence[Row], project: Row) -> int | None:
    """Tasks that a round has read and that were deleted since; None for a round of older builds.

    Ids grow, and an imported task counts as touched.
    """
    synced = made.steps.get("synced", {})
    if "tasks" not in synced:
        return None
    imported = sum(int(task["id"]) > synced["last_task"] for task in touched)
    return max(0, int(synced["tasks"]) + imported - int(project["task_number"]))


# --- tasks that a bulk update has re-opened -------------------------------------------------------


@dataclass(frozen=True)
class _Listed:
    """What the last listing of all tasks has shown, for one round."""

    round: int
    deleted: int = 0  # tasks that were deleted by then
    correction: int = 0  # re-opened tasks less those that the counts had shown
    found: int = 0  # re-opened tasks


_listed: dict[int, _Listed] = {}
"""By project; a worker that is started again lists again."""


# long: half of it are arguments
def _reopened(
    context: RoundContext,
    made: Round,
    held: Collection[int],
    placed: Collection[int],
    touched: Sequence[Row],
    project: Row,
    deleted: int,
) -> int:
    """Unlabelled tasks without a place that nobody touched since the round `made`.

    Untouched tasks that the round found unlabelled are so still. So Label Studio should count
    these and the touched unlabelled ones. It counts re-opened tasks on top. It counts fewer where
    unlabelled tasks were deleted, which only a listing can tell from labelled ones.

    Args:
        context: of the project.
        made: the round that read the tasks.
        held: the tasks that it found unlabelled.
        placed: the tasks that have a place.
        touched: the tasks that were touched since.
        project: Label Studio's row, with its counters.
        deleted: how many tasks were deleted since.
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


# --- predictions that were deleted ----------------------------------------------------------------


def _rowless(
    context: RoundContext,
    newest: Version,
    project: Row,
    rows: Mapping[str, int],
    deleted: int | None,
) -> int:
    """How many predictions of the served order were deleted in Label Studio, at least.

    Args:
        context: of the project.
        newest: the newest published order.
        project: Label Studio's row.
        rows: version -> number of its predictions in Label Studio.
        deleted: tasks that were deleted since the newest order, with their predictions; None: not
            known.
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


def unlabelled(project: Row) -> int:
    """How many tasks Label Studio still serves, by the project's own counters."""
    return int(project["task_number"]) - int(project["finished_task_number"])

"""The tab "TAUDIS review" of the Data Manager: tasks with labels that are likely wrong.

The command `review` fills it, and `disconnect` removes it. A mark in a task's data puts the task
into the tab (`backend.label_studio.marks`). The store keeps which annotation each mark is about.
When that annotation is changed or deleted, the scheduler removes the mark.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.errors import RoundError, StudioError, StudioNotFound, StudioRejected
from backend.label_studio.listings import Row
from backend.label_studio.marks import MARK, Columns
from backend.label_studio.tabs import DEFAULT, REVIEW, REVIEW_TITLE
from backend.store.state import JsonObject
from backend.worker.context import RoundContext
from backend.worker.dataset import Task, fingerprint

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Mark:
    """The text of a task in the tab, and the annotation that the text is about."""

    task: int
    text: str  # begins with the suspicion, with three decimals: the tab orders by the text
    annotation: tuple[int, str]  # its id, and the time of its last change


@dataclass(frozen=True)
class Listed:
    """Numbers of tasks after `publish`."""

    tasks: int  # in the tab now
    changed: int  # not in the tab: changed, deleted or confirmed by a person meanwhile
    gone: int  # not in the tab: Label Studio no longer has the task
    before: int  # marks of an earlier run that were removed


def publish(
    context: RoundContext, marks: Sequence[Mark], on_mark: Callable[[], None] = lambda: None
) -> Listed:
    """Make the tab list exactly these marks. `on_mark` is called after each mark.

    An interrupted run leaves marks that the scheduler or the next run removes.

    Raises:
        RoundError: a person disconnected the project meanwhile. No mark and no tab stays.
        StudioError: Label Studio cannot be reached, or refuses the marks or the tab.
    """
    project, calls = context.project_id, context.studio.tabs.marks
    known = {str(mark.task): list(mark.annotation) for mark in marks}
    state = context.load_project().state
    connected, review = not state.disconnected, state.review or {}
    tab = review.get("tab")
    _remember(context, {**review, "tab": tab, "since": "", "annotations": known})
    there = {int(task["id"]): task for task in calls.tasks(project, [mark.task for mark in marks])}
    fresh = [mark for mark in marks if mark.task in there and _fits(there[mark.task], known)]
    old = [task for task in calls.marked(project) if str(task["id"]) not in known]
    columns, written = calls.columns(project), 0
    for mark in fresh:
        written += _written(context, there[mark.task], mark.text, columns)
        on_mark()
        _give_way_to_disconnect(context, connected)
    before = _clear(context, old)
    since = context.studio.newest_change(project)
    # Read anew: a person may have confirmed tasks since the beginning.
    confirmed = (context.load_project().state.review or {}).get("confirmed", {})
    known = {task: found for task, found in known.items() if confirmed.get(task) != found}
    there_now = calls.marked(project)
    listed = len(there_now) - _clear(context, [row for row in there_now if not _fits(row, known)])
    changes = {"tab": _tab(context, tab), "since": since, "annotations": known}
    _remember(context, {**review, **changes, "confirmed": confirmed})
    _give_way_to_disconnect(context, connected)
    gone = sum(mark.task not in there for mark in marks) + len(fresh) - written
    return Listed(listed, len(marks) - gone - listed, gone, before)


def _give_way_to_disconnect(context: RoundContext, connected: bool) -> None:
    """Remove everything and raise RoundError if a person disconnected the project meanwhile.

    `disconnect` runs in another process, and may have removed the marks before the last ones came.
    connected: whether the project was connected when the run began.
    """
    if connected and context.load_project().state.disconnected:
        remove(context)
        raise RoundError(
            f"Project {context.project_id} was disconnected meanwhile. The tab {REVIEW_TITLE!r} and"
            " its marks were removed. Connect the project and run the command again."
        )


def confirm(context: RoundContext, tasks: Sequence[int]) -> int:
    """Remove tasks with correct labels from the tab, and from later lists while the labels stay.

    If Label Studio fails, the same call finishes the work. Returns the number of tasks. Raises
    RoundError for a task that the tab does not list.
    """
    review = context.load_project().state.review or {}
    known, confirmed = dict(review.get("annotations", {})), dict(review.get("confirmed", {}))
    unknown = [task for task in tasks if str(task) not in {*known, *confirmed}]
    if unknown:
        raise RoundError(
            f"Expected numbers of tasks in the tab {REVIEW_TITLE!r}, got {unknown}. Nothing was"
            " confirmed. The column ID has the numbers."
        )
    chosen = list(dict.fromkeys(tasks))
    confirmed |= {str(task): known.pop(str(task)) for task in chosen if str(task) in known}
    _remember(context, {**review, "annotations": known, "confirmed": confirmed})
    rows = context.studio.tabs.marks.tasks(context.project_id, chosen)
    _clear(context, [row for row in rows if MARK in row["data"]])
    return len(chosen)


def unconfirmed(context: RoundContext, marks: Sequence[Mark]) -> list[Mark]:
    """The marks whose annotation nobody has confirmed."""
    review = context.load_project().state.review or {}
    confirmed = review.get("confirmed", {})
    return [mark for mark in marks if confirmed.get(str(mark.task)) != list(mark.annotation)]


def settle(context: RoundContext) -> int:
    """Remove the marks whose annotation was changed or deleted. Returns how many.

    Called at every poll. If Label Studio's clock went back, a change may be missed until the same
    task changes again.
    """
    review = context.load_project().state.review
    if not review or "since" not in review:  # no tab; perhaps confirmed tasks of an earlier one
        return 0
    rows = context.studio.tabs.marks.marked(context.project_id, str(review["since"]))
    # Read after the rows, because a run that began meanwhile may have written these marks.
    review = context.load_project().state.review or review
    return _clear(context, [task for task in rows if not _fits(task, review["annotations"])])


def remove(context: RoundContext) -> int:
    """Remove the tab and every mark, even of an interrupted run. Returns the number of marks.

    Confirmed tasks stay off later lists.
    """
    tabs = context.studio.tabs
    review = context.load_project().state.review or {}
    known = review.get("tab")
    for tab in _ours(tabs.of(context.project_id), known):
        tabs.remove(tab)
    count = _clear(context, tabs.marks.marked(context.project_id))
    if MARK in tabs.marks.columns(context.project_id):
        _recount(context)
    confirmed = review.get("confirmed")
    kept = {"confirmed": confirmed} if confirmed else None
    context.store.update_project(context.project_id, review=kept)
    return count


def _tab(context: RoundContext, known: int | None) -> int:
    """The id of the tab. Adds the tab if it is missing, and before it the default tab."""
    project, tabs = context.project_id, context.studio.tabs
    there = tabs.of(project)
    if ours := _ours(there, known):
        return ours[0]
    if not there:
        tabs.add(project, DEFAULT)
    return tabs.add(project, REVIEW)


def _ours(tabs: Sequence[Mapping[str, Any]], known: int | None) -> list[int]:
    """The id `known` if that tab exists, renamed or not; else the ids of tabs with our title."""
    ids = [int(row["id"]) for row in tabs]
    if known in ids:
        return [known]
    titles = zip(ids, tabs, strict=True)
    return [number for number, row in titles if row["data"].get("title") == REVIEW_TITLE]


def _fits(task: Task, annotations: Mapping[str, Sequence[Any]]) -> bool:
    """Whether a task's counting annotation is still the annotation that its mark is about."""
    found = fingerprint(task)
    return found is not None and list(found) == list(annotations.get(str(task["id"]), ()))


def _written(context: RoundContext, task: Row, text: str, columns: Columns) -> bool:
    """Write a mark; False if the task is gone."""
    try:
        context.studio.tabs.marks.write(task, text, columns)
    except StudioNotFound:
        return False
    return True


def _clear(context: RoundContext, tasks: Iterable[Row]) -> int:
    """Remove the marks of tasks. Returns how many; refusals are logged."""
    columns, count = None, 0
    for task in tasks:
        columns = columns or context.studio.tabs.marks.columns(context.project_id)
        try:
            count += _written(context, task, "", columns)
        except StudioRejected as error:  # a leftover mark harms no round
            logger.warning("Project %s: a mark stays: %s", context.project_id, error)
    return count


def _recount(context: RoundContext) -> None:
    """Remove the unused column of the marks. On an error, an empty column stays."""
    try:
        context.studio.tabs.marks.recount(context.project_id)
    except StudioError as error:
        logger.warning("Project %s: an empty column stays: %s", context.project_id, error)


def _remember(context: RoundContext, review: JsonObject) -> None:
    context.store.update_project(context.project_id, review=review)

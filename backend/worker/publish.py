"""The steps `published` and `flipped`: give Label Studio a new order, then switch the queue to it.

`published` posts one prediction for each task under a new version, which is not served yet.
`flipped` changes the project's `model_version`, so all annotators get the new order at once. A
rollback, a version chosen by a person, or a disconnect prevents the switch (`backend.store.serving`
decides).
"""

from __future__ import annotations

import json
import logging
import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from backend.errors import RoundStopped, StudioNotFound, StudioRejected
from backend.label_studio import queue
from backend.store import predictions, serving
from backend.store.rounds import Round
from backend.worker import late_switches
from backend.worker.attempts import Attempts
from backend.worker.common import Report, Result
from backend.worker.context import RoundContext
from backend.worker.made import labelled_since, maker
from backend.worker.serving import is_later_promotion, scoring_version

logger = logging.getLogger(__name__)

HEAD = 200  # predictions that get regions together, if one post could not carry all regions


def require_armed(context: RoundContext) -> None:
    """Raise RoundStopped if the project was disconnected while the round ran."""
    if not context.load_project().state.armed:
        raise RoundStopped("The project was disconnected, so the round made no new order.")


def publish(context: RoundContext, round_: Round, report: Report) -> Result:
    """Post every unlabelled task's prediction under a new version, in one bulk request.

    An interrupted attempt leaves predictions under a version that is never served. The next attempt
    uses another version, because of two predictions with the same version the older one would win.
    """
    require_armed(context)
    written = round_.steps["selected"]
    path = predictions.path_of(context.data, context.project_id, written["version"])
    try:
        done = _post(context, round_, path)
    except (StudioRejected, StudioNotFound):
        # Label Studio rejects the whole post if one of its tasks was deleted meanwhile.
        if not _leave_out_deleted(context, path):
            raise
        done = _post(context, round_, path)
    verdict = round_.steps.get("evaluated", {})
    context.store.add_version(
        context.lease,
        context.project_id,
        done.version,
        round_id=round_.id,
        model=scoring_version(context, round_) if round_.kind != "first" else "",
        tasks=done.tasks,
        metrics=verdict.get("metrics", {}) if verdict.get("serve") else {},
    )
    return {"version": done.version, "tasks": done.tasks, "filled": done.filled}


def _leave_out_deleted(context: RoundContext, path: Path) -> int:
    """Remove tasks from the order that Label Studio no longer has. Returns how many."""
    order = predictions.order(path)
    there = {int(task["id"]) for task in context.studio.tasks(context.project_id)}
    kept = [place for place in order if place.task in there]
    if gone := len(order) - len(kept):
        logger.info("Project %s: %s tasks are gone", context.project_id, gone)
        total = len(kept)
        predictions.set_order(
            path,
            (
                replace(place, rank=rank, score=queue.score_of(rank, total))
                for rank, place in enumerate(kept, start=1)
            ),
        )
    return gone


@dataclass(frozen=True)
class Posted:
    """The predictions that were posted to Label Studio."""

    version: str
    tasks: int
    filled: int  # tasks with regions, from rank 1 on; the others have only a score


def _post(context: RoundContext, round_: Round, path: Path) -> Posted:
    """Make one publish attempt, unless an earlier attempt is complete in Label Studio."""
    with predictions.Stored.opened(path) as stored:
        rows = stored.sizes()
        filled = head_within(queue.POST_BYTES, [size for _, _, size in rows])
        attempts = Attempts(context, round_)
        held = context.studio.model_versions(context.project_id)
        version = attempts.complete(held, len(rows)) or attempts.begin()
        if rows and held.get(version, 0) == 0:
            post = bulk_post(stored, version, rows, filled)
            context.store.renew(context.lease)  # a worker that lost its lease stops here
            attempts.post(post)
    return Posted(version, len(rows), filled)


def head_within(allowed: int, sizes: Sequence[int]) -> int:
    """The number of tasks, from the first on, whose regions together fit into `allowed` bytes.

    Args:
        allowed: bytes of one post.
        sizes: bytes of each task's regions as JSON, rank 1 first.
    """
    return bisect_right(list(accumulate(sizes)), allowed)


def bulk_post(
    stored: predictions.Stored, version: str, rows: Sequence[tuple[int, float, int]], filled: int
) -> queue.BulkPost:
    """The post of an order, with regions for the first `filled` tasks. `rows`: `Stored.sizes()`."""
    return queue.bulk_post(
        version,
        (
            (task, score, stored.result(task) if place < filled else predictions.NO_REGIONS)
            for place, (task, score, _) in enumerate(rows)
        ),
    )


def flip(context: RoundContext, round_: Round, report: Report) -> Result:
    """Switch all annotators to the new order with one PATCH, unless a person decided otherwise."""
    step = round_.steps["published"]
    model = scoring_version(context, round_) if round_.kind != "first" else ""
    require_armed(context)
    if not step["tasks"]:
        context.store.update_project(context.project_id, lease=context.lease, model=model)
        _order_is_made(context, round_)
        return {"version": "", "flipped": False, "why": "every task is labelled"}
    with context.switching:
        why = _switch(context, step, model)
    _order_is_made(context, round_)
    return {"version": step["version"], "flipped": not why, "why": why}


def _order_is_made(context: RoundContext, round_: Round) -> None:
    """Clear the request for a new order (`reorder`): the order exists, or there is none to make.

    An order that is held back clears it too, because another order would also be held back. If a
    model was promoted too late for this order, the request is set again. The promotion is read
    after `reorder` was cleared, so a promotion in between is not lost.
    """
    context.store.update_project(context.project_id, lease=context.lease, reorder=False)
    if is_later_promotion(round_, context.load_project().state.promoted):
        context.store.update_project(context.project_id, lease=context.lease, reorder=True)


def _switch(context: RoundContext, step: Mapping[str, Any], model: str) -> str:
    """Switch to a published order and record it. Returns why it is not served, '' if it is."""
    held = why_not_flip(context, step["version"])
    if held:
        context.store.update_project(
            context.project_id, lease=context.lease, changed_by_person=held
        )
        return held
    late_switches.announce(context, step["version"])
    context.studio.patch_project(context.project_id, model_version=step["version"])
    if _overruled(context):
        return why_not_flip(context, step["version"])
    context.store.update_project(
        context.project_id,
        lease=context.lease,
        serving=step["version"],
        model=model,
        flipped_at=time.time(),
        changed_by_person="",
        switching=None,
    )
    if _overruled(context):  # a rollback wrote its pin between the first check and our row
        return why_not_flip(context, step["version"])
    return ""


def _overruled(context: RoundContext) -> bool:
    """Whether a rollback came between our check and our PATCH. If so, restores its version.

    Raises:
        RoundStopped: the project was disconnected meanwhile. Its earlier version is restored.
    """
    state = context.load_project().state
    decision = serving.after_switch(state, _current(context) if state.pinned else "")
    if decision == "disconnected":
        context.studio.patch_project(context.project_id, model_version=state.restored_version)
        raise RoundStopped(
            "The project was disconnected while the order was switched, so the switch was undone."
        )
    if decision == "the new order":
        return False
    context.studio.patch_project(context.project_id, model_version=state.pinned)
    models = {row.version: row.model for row in context.store.versions(context.project_id)}
    context.store.update_project(
        context.project_id, serving=state.pinned, model=models.get(state.pinned, "")
    )
    return True


def _current(context: RoundContext) -> str:
    """The version that Label Studio serves now."""
    return str(context.studio.project(context.project_id).get("model_version") or "")


def why_not_flip(context: RoundContext, wanted: str) -> str:
    """Why the project must stay on its version, in words; '' if it may be switched."""
    state, current, titles = context.load_project().state, "", set[str | None]()
    if not state.pinned:  # a pin decides whatever Label Studio says
        current = _current(context)
        state = context.load_project().state  # read after `current`: it has our announced switch
        if current in late_switches.of(state, context.lease):
            current = state.serving  # a late switch, not a person's choice
        titles = {row.get("title") for row in context.studio.ml_backends(context.project_id)}
    return serving.why_to_stay(
        state,
        current,
        wanted,
        titles=titles,
        published=_names_published(context),
    )


def _names_published(context: RoundContext) -> set[str]:
    return {row.version for row in context.store.versions(context.project_id, pruned=True)}


def extend_head(context: RoundContext) -> int:
    """Add regions to the predictions of tasks near the head of the queue. Returns how many.

    Only needed if one post could not carry the regions of every task (`Posted.filled`).
    """
    served = context.load_project().state.serving
    made = maker(context, served) if served else None
    filled = None if made is None else _filled(context, made, served)
    if made is None or filled is None:
        return 0
    path = predictions.path_of(context.data, context.project_id, served)
    ranks = predictions.ranks(path)
    if filled >= len(ranks):
        return 0
    done = labelled_since(context, made)
    ahead = {task: rank for task, rank in ranks.items() if task not in done}
    rows = context.studio.model_versions(context.project_id).get(served, 0)
    deleted = max(len(ranks) - rows, 0)  # tasks; all of them may have been near the head
    if sum(rank <= filled for rank in ahead.values()) - deleted >= HEAD:
        return 0
    near = [task for task, rank in ahead.items() if filled < rank <= filled + HEAD]
    with predictions.Stored.opened(path) as stored:
        count = sum(
            _fill(context, served, task, json.loads(stored.result(task)))
            for task in sorted(near, key=ranks.__getitem__)
        )
    kept = {row.version for row in context.store.versions(context.project_id)}
    known = context.load_project().state.filled
    now = {version: rank for version, rank in known.items() if version in kept}
    context.store.update_project(context.project_id, filled={**now, served: filled + HEAD})
    return count


def _filled(context: RoundContext, made: Round, version: str) -> int | None:
    """The rank up to which a version's tasks have regions in Label Studio; None if unknown.

    The row of the step `published` has the posted rank, also for an order that was held back. The
    project's state has the rank that `extend_head` has reached since.
    """
    posted = made.steps.get("published", {}).get("filled")
    return context.load_project().state.filled.get(version, posted)


def _fill(context: RoundContext, version: str, task: int, regions: list[predictions.Region]) -> int:
    """Add regions to a prediction in Label Studio. Returns 1, or 0 if it or its task is gone."""
    try:
        rows = context.studio.predictions_of(task)
    except (StudioRejected, StudioNotFound):  # Label Studio says 400 for a task that was deleted
        return 0
    for there in rows:
        if there["model_version"] == version:
            with suppress(StudioNotFound):  # deleted since the line above
                context.studio.patch_prediction(there["id"], result=regions)
                return 1
    return 0

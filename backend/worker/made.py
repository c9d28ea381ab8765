"""Finds the round that made an order, the tasks labelled since, and whether any was left."""

from __future__ import annotations

from backend.store.rounds import Round
from backend.worker import watermark
from backend.worker.context import RoundContext


def maker(context: RoundContext, version: str) -> Round | None:
    """The round that published a version; None if the store does not know the version."""
    versions = context.store.versions(context.project_id)
    number = next((row.round for row in versions if row.version == version), None)
    return None if number is None else context.store.round(number)


def labelled_since(context: RoundContext, made: Round) -> set[int]:
    """Tasks that were labelled since the round `made` read Label Studio."""
    if "synced" not in made.steps:
        return set()
    touched = watermark.since(context, made, context.studio.tasks_touched_since)
    return {int(task["id"]) for task in touched if task["is_labeled"]}


def nothing_to_order(context: RoundContext) -> bool:
    """Whether the newest published order has no tasks, because all tasks are labelled."""
    # Including pruned versions, because an order without tasks is not kept.
    published = context.store.versions(context.project_id, pruned=True)
    return bool(published) and not published[0].tasks

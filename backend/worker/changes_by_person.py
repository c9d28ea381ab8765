"""Finds changes by a person in Label Studio that keep our order from being served."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backend.label_studio.queue import SAMPLING
from backend.store.state import ProjectState
from backend.worker.inventory import unlabelled


def changes_by_person(
    project: Mapping[str, Any], state: ProjectState, titles: set[str], rows: Mapping[str, int]
) -> str:
    """Changes in Label Studio that keep our order from being served, in words; '' if none.

    Args:
        project: Label Studio's row.
        state: the project's state.
        titles: the titles of the project's ML backends.
        rows: version -> number of its predictions in Label Studio.
    """
    served = state.serving
    found = []
    if project.get("sampling") != SAMPLING:
        found.append(
            f"task sampling is {project.get('sampling')!r}: the order is not used. Choose"
            " Uncertainty sampling in Settings > Annotation, or `disconnect`"
        )
    if gone := order_deleted(project, state, rows):
        found.append(gone)
    elif served and project.get("model_version") != served:
        found.append(
            f"the project serves {project.get('model_version')!r}, not {served!r}. Choose it in"
            " Settings > Annotation, or run `unpin`"
        )
    if served in titles:
        found.append(
            f"a backend is titled {served!r} like the version, so the queue is random. Give it"
            " another title in Settings > Model"
        )
    return "; ".join(found)


def order_deleted(project: Mapping[str, Any], state: ProjectState, rows: Mapping[str, int]) -> str:
    """That all predictions of the served order were deleted in Label Studio, and what follows.

    '' if some are there, or no task is unlabelled. The arguments are those of `changes_by_person`.
    """
    served, current = state.serving, project.get("model_version") or ""
    if not served or rows.get(served) or not unlabelled(project):
        return ""
    gone = f"the predictions of the order {served!r} were deleted in Label Studio"
    if state.pinned:
        return f"{gone}, and a rollback holds it, so the queue is random. Run `unpin`"
    if current not in ("", served):
        return f"{gone}, and the project serves {current!r}. Run `unpin` to serve an order of ours"
    return f"{gone}, so the queue is random. The worker makes a new order"

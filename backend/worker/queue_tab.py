"""The tab "TAUDIS queue" of the Data Manager: added at connect, removed at disconnect."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from backend.errors import StudioNotFound, StudioRejected
from backend.label_studio.tabs import DEFAULT, QUEUE, TITLE
from backend.worker.context import RoundContext

logger = logging.getLogger(__name__)


def added(context: RoundContext) -> int | None:
    """Add the tab once, and return its id; None if Label Studio refuses it.

    A tab that a person removed stays removed until the project is disconnected. A project without
    tabs gets the default tab first, because Label Studio adds that only to a project without tabs.
    """
    armed = context.load_project().state.armed or {}
    if "tab" in armed:
        return None if armed["tab"] is None else int(armed["tab"])
    project, tabs = context.project_id, context.studio.tabs
    try:
        there = tabs.of(project)
        if ours := _ours(there):  # an earlier attempt added it, but its answer was lost
            return ours[0]
        if not there:
            tabs.add(project, DEFAULT)
        return tabs.add(project, QUEUE)
    except (StudioRejected, StudioNotFound) as error:  # the queue works without the tab
        logger.warning("Project %s: no tab of the queue: %s", project, error)
        return None


def remove(context: RoundContext, armed: Mapping[str, Any]) -> None:
    """Remove the tab that `armed` names; if it names none, the tab with our title."""
    tabs = context.studio.tabs
    named = [armed["tab"]] if "tab" in armed else _ours(tabs.of(context.project_id))
    for tab in named:
        if tab is not None:
            tabs.remove(int(tab))


def _ours(tabs: Sequence[Mapping[str, Any]]) -> list[int]:
    """Ids of the tabs that have our title."""
    return [int(row["id"]) for row in tabs if row["data"].get("title") == TITLE]

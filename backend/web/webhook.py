"""Turns a webhook of Label Studio into an event for the worker.

`EVENTS` says which actions count. `record` adds one to the counter of the project's events of that
kind, and does nothing else: Label Studio waits one second for the answer.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Literal

from backend.store.database import Store
from backend.store.events import EventKind
from backend.web.requests import project_id

logger = logging.getLogger(__name__)

Outcome = Literal["recorded", "ignored", "unknown project"]
EVENTS: Mapping[str, EventKind] = {
    "ANNOTATION_CREATED": "changed",
    "ANNOTATIONS_CREATED": "changed",
    "ANNOTATION_UPDATED": "changed",
    "ANNOTATION_DELETED": "changed",
    "ANNOTATIONS_DELETED": "changed",
    "PROJECT_UPDATED": "config",
    "START_TRAINING": "train",
}


def project_of(body: Mapping[str, Any], query: str | None) -> int:
    """The project of an event: that of our webhook's address (`?project=`), else the body's.

    Raises RequestRefused (400) where neither names one.
    """
    return project_id(query if query is not None else body.get("project"))


def record(store: Store, event: str, project: int) -> Outcome:
    """Record an event of a project that was set up here. Returns what was done with it."""
    kind = EVENTS.get(event)
    if kind is None:
        return "ignored"
    if store.project(project) is None:
        logger.info("Event %s of project %s, which is not connected here", event, project)
        return "unknown project"
    store.record_event(project, kind)
    return "recorded"

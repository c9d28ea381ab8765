"""Turns a webhook of Label Studio into an event for the worker.

`EVENTS` lists the actions that count. `record` only adds one to the project's counter for that kind
of event, because Label Studio waits just 1 s for the answer.
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
    """The project of an event: `?project=` of our webhook's address, else the body's project.

    Raises RequestRefused (400) if neither names a project.
    """
    return project_id(query if query is not None else body.get("project"))


def record(store: Store, event: str, project: int) -> Outcome:
    """Record an event of a project that was set up here. Returns what was done."""
    kind = EVENTS.get(event)
    if kind is None:
        return "ignored"
    if store.project(project) is None:
        logger.info("Event %s of project %s, which is not connected here", event, project)
        return "unknown project"
    store.record_event(project, kind)
    return "recorded"

"""Handles projects that Label Studio hides from our user, permanently or for a while.

A proxy answers 404 while Label Studio restarts behind it. Each poll therefore checks whether a gone
project has returned.
"""

from __future__ import annotations

import logging

from backend.errors import StudioNotFound, StudioUnreachable
from backend.worker.context import RoundContext

logger = logging.getLogger(__name__)


def check(context: RoundContext) -> None:
    """Mark the project as gone if Label Studio does not show it. Polls then only check for it."""
    try:
        context.studio.project(context.project_id)
    except StudioNotFound:
        logger.warning(
            "Project %s is gone or hidden; each poll checks whether it has returned",
            context.project_id,
        )
        context.store.update_project(context.project_id, gone=True)


def require_visible(context: RoundContext) -> None:
    """Raise StudioUnreachable if Label Studio does not show the project."""
    try:
        context.studio.project(context.project_id)
    except StudioNotFound as error:
        raise StudioUnreachable(
            f"{error} Label Studio may be restarting behind a proxy, or the project was deleted or"
            " hidden from our user. The round goes on once the project is there again."
        ) from error


def is_back(context: RoundContext) -> bool:
    """Whether a gone project has returned; if so, it is no longer marked as gone."""
    try:
        context.studio.project(context.project_id)
    except StudioNotFound:
        return False
    logger.info("Project %s has returned", context.project_id)
    context.store.update_project(context.project_id, gone=False)
    return True

"""Projects that Label Studio does not show to our user, for good or for a while.

A proxy answers 404 while Label Studio restarts behind it, so each poll looks whether a project that
was gone is there again.
"""

from __future__ import annotations

import logging

from backend.errors import StudioNotFound, StudioUnreachable
from backend.worker.context import RoundContext

logger = logging.getLogger(__name__)


def check(context: RoundContext) -> None:
    """Leave the project alone if Label Studio does not show it (any more)."""
    try:
        context.studio.project(context.project_id)
    except StudioNotFound:
        logger.warning(
            "Project %s is gone or hidden; each poll looks whether it is there again",
            context.project_id,
        )
        context.store.update_project(context.project_id, gone=True)


def require_visible(context: RoundContext) -> None:
    """Raise StudioUnreachable if Label Studio does not show the project itself."""
    try:
        context.studio.project(context.project_id)
    except StudioNotFound as error:
        raise StudioUnreachable(
            f"{error} Label Studio may be restarting behind a proxy, or the project was deleted or"
            " hidden from our user. The round goes on once the project is there again."
        ) from error


def is_back(context: RoundContext) -> bool:
    """Whether a project that was gone is there again."""
    try:
        context.studio.project(context.project_id)
    except StudioNotFound:
        return False
    logger.info("Project %s is there again", context.project_id)
    context.store.update_project(context.project_id, gone=False)
    return True

"""The watermark of a round: the newest change in Label Studio that the round has read.

Later looks ask Label Studio for what changed after it. Label Studio stamps changes by its own
clock. If that clock goes back, new changes get stamps before the watermark, for as long as the jump
was. So a watermark is never later than the clock, and one that the clock has gone back behind is
given up: until the next round, everything is read and compared.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from backend.label_studio.clock import in_words
from backend.store.rounds import Round
from backend.worker.context import RoundContext

logger = logging.getLogger(__name__)

EVER = "1970-01-01T00:00:00.000000Z"
MARGIN = timedelta(seconds=2)
"""Edits may end out of order, so changes of this time before the watermark are read again."""

Rows = list[dict[str, Any]]


def newest(context: RoundContext) -> str:
    """The watermark for a round that reads its labels now; '' in a project without tasks."""
    studio = context.studio
    found = studio.newest_change(context.project_id)
    return studio.clock.stamp() if studio.clock.is_before(found) else found


def since(context: RoundContext, round_: Round, ask: Callable[[int, str], Rows]) -> Rows:
    """The rows that changed since a round has read its labels.

    Args:
        context: of the project.
        round_: a round whose `synced` step is done.
        ask: asks Label Studio for the rows of a project that changed after a moment.
    """
    mark = str(round_.steps["synced"]["watermark"])
    if not mark or round_.id <= context.load_project().state.clock_back:
        return ask(context.project_id, EVER)
    rows = ask(context.project_id, in_words(datetime.fromisoformat(mark) - MARGIN))
    if not context.studio.clock.is_before(mark):
        return rows
    logger.warning(
        "Project %s: Label Studio's clock went back behind %s; until the next round every label is"
        " read to find the changed ones",
        *(context.project_id, mark),
    )
    context.store.update_project(context.project_id, clock_back=round_.id)
    return ask(context.project_id, EVER)

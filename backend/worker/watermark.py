"""The watermark of a round: the newest change in Label Studio that the round has read.

Later queries ask Label Studio for changes after the watermark. Label Studio stamps changes with its
own clock. If that clock goes back by some time, new changes have stamps before the watermark for
that time. A watermark is therefore never later than the clock. If the clock goes back after a round
has read its labels, the watermark is discarded: until the next round, all labels are read and
compared.

Each answer of Label Studio shows its clock (`JumpsBack`). The scheduler checks for jumps at each
poll, even during a round, and records them in the project's row.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from backend.label_studio.clock import in_words
from backend.store.rounds import Round
from backend.worker.context import RoundContext

logger = logging.getLogger(__name__)

EVER = "1970-01-01T00:00:00.000000Z"
MARGIN = timedelta(seconds=2)
"""Edits may be saved out of order, so changes within this time before the watermark are reread."""

_writing = threading.RLock()
"""Held while `clock_back` is read and written, because two threads may handle one project."""

Rows = list[dict[str, Any]]


def newest(context: RoundContext, round_: Round) -> str:
    """The watermark for a round that reads its labels now; '' for a project without tasks."""
    clock = context.studio.clock
    count = clock.jumps.count
    found = context.studio.newest_change(context.project_id)
    # Jumps before this request do not affect the round's watermark.
    note_jumps(context, count, before=round_)
    return clock.stamp() if clock.is_before(found) else found


def since(context: RoundContext, round_: Round, ask: Callable[[int, str], Rows]) -> Rows:
    """The rows that changed since a round read its labels.

    Args:
        context: the project's context.
        round_: the round. If it has no `synced` step, all rows are returned.
        ask: asks Label Studio for the rows of a project that changed after a time.
    """
    mark = str(round_.steps.get("synced", {}).get("watermark", ""))
    if not mark or _given_up(context, round_):
        return ask(context.project_id, EVER)
    rows = ask(context.project_id, in_words(datetime.fromisoformat(mark) - MARGIN))
    note_jumps(context)
    if context.studio.clock.is_before(mark):  # the clock went back while no worker was running
        _give_up(context, round_.id)
    return ask(context.project_id, EVER) if _given_up(context, round_) else rows


def note_jumps(
    context: RoundContext, count: int | None = None, *, before: Round | None = None
) -> None:
    """Discard a project's watermarks if Label Studio's clock went back since the last call.

    Args:
        context: the project's context.
        count: the number of the last jump to consider; None for all jumps seen by this process.
        before: a round that reads its labels after these jumps and therefore keeps its watermark.
    """
    jumps = context.studio.clock.jumps
    count = jumps.count if count is None else count
    if count <= jumps.noted.get(context.project_id, 0):
        return
    # The newest round may be reading its labels now, so it counts too.
    newest = context.store.rounds(context.project_id, limit=1, steps=())
    last = before.id - 1 if before else max((round_.id for round_ in newest), default=0)
    _give_up(context, last)
    jumps.noted[context.project_id] = count


def _given_up(context: RoundContext, round_: Round) -> bool:
    return round_.id <= context.load_project().state.clock_back


def _give_up(context: RoundContext, last: int) -> None:
    """Discard the watermarks of a project's rounds up to the id `last`."""
    with _writing:
        if last <= context.load_project().state.clock_back:
            return
        context.store.update_project(context.project_id, clock_back=last)
    logger.warning(
        "Project %s: Label Studio's clock went back; until the next round every label is read to"
        " find the changed ones",
        context.project_id,
    )

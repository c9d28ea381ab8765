"""Tells the comparison of the arms, which may wait, whether another round is due."""

from __future__ import annotations

import logging
from time import monotonic

from backend.errors import RoundWaits, StudioUnreachable
from backend.store.rounds import Round
from backend.worker.context import RoundContext
from backend.worker.triggers import round_due

logger = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
"""Pause between two queries of the store."""


class RoundDue:
    """Says whether the next round of a project is due. The answer True is final.

    Like the scheduler, it asks Label Studio after each event and every POLL_SECONDS.
    """

    def __init__(self, context: RoundContext, round_: Round) -> None:
        self._context, self._round = context, round_
        self._next = self._polled = monotonic()
        self._due = False

    def __call__(self) -> bool:
        """Whether a round of this project is due, or the project was disconnected.

        Raises:
            RoundWaits: another project's round goes first; this round continues after it.
        """
        now = monotonic()
        if self._due or now < self._next:
            return self._due
        self._next = now + LOOK_SECONDS
        for other in self._context.store.open_rounds():
            if other.id != self._round.id and self._goes_first(other):
                raise RoundWaits(f"Round {other.number} of project {other.project} goes first.")
        self._due = self._find_out(now)
        return self._due

    def _goes_first(self, other: Round) -> bool:
        """Whether another project's round is to run before this comparison."""
        if other.kind == "first" or at_last_step(other):
            return False
        project = self._context.store.project(other.project)
        if project is None:
            return True
        # The round of a gone project cannot run, and one that waits may wait for days.
        return not (project.state.gone or project.state.waiting_reasons.get("round_runner"))

    def _find_out(self, now: float) -> bool:
        """Whether a round is due, by pending events and the state of Label Studio."""
        context = self._context
        if not context.load_project().state.armed:
            return True
        mine = [e for e in context.store.pending_events() if e.project == context.project_id]
        poll = now - self._polled > context.settings.poll_seconds
        if not (mine or poll):
            return False
        self._polled = now if poll else self._polled
        try:
            return round_due(context, mine, thorough=poll) is not None
        except StudioUnreachable as error:
            logger.warning("Project %s: %s", context.project_id, error)
            return False


def at_last_step(round_: Round) -> bool:
    """Whether only the comparison of the arms is left of a round. Other rounds then go first."""
    return round_.next_step == "compared"

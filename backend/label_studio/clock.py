"""Label Studio's clock, as the Date header of its answers shows it.

Label Studio stamps every change with its own clock, so `updated_at` orders changes only until that
clock is set back.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

TOLERANCE = timedelta(seconds=2)
"""A Date header has whole seconds."""


class StudioClock:
    """Label Studio's clock at its newest answer; unknown while no answer had a Date header."""

    def __init__(self) -> None:
        self._now: datetime | None = None

    def read(self, date: str | None) -> None:
        """Take the Date header of an answer; one that is missing or broken changes nothing."""
        try:
            found = parsedate_to_datetime(date or "")
        except ValueError:
            return
        self._now = found if found.tzinfo else found.replace(tzinfo=UTC)

    def is_before(self, moment: str) -> bool:
        """Whether the clock was behind a stamp that Label Studio had given before: it went back."""
        if self._now is None or not moment:
            return False
        return self._now + TOLERANCE < datetime.fromisoformat(moment)

    def stamp(self) -> str:
        """The clock's moment, written as Label Studio writes `updated_at`; '' if unknown."""
        return "" if self._now is None else in_words(self._now)


def in_words(moment: datetime) -> str:
    """A moment in the one form that Label Studio reads."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

"""Label Studio's clock, read from the Date header of its answers.

Label Studio stamps every change with its own clock, so `updated_at` orders changes only until that
clock is set back. `JumpsBack` detects this by comparison with this process's monotonic clock, even
if Label Studio's clock has passed the old time again.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

TOLERANCE = timedelta(seconds=2)
"""Tolerance of a comparison, because a Date header has whole seconds."""


class JumpsBack:
    """Counts how often one Label Studio's clock went back; safe to share between threads.

    An answer is written between its request and its arrival. This bounds the offset of Label
    Studio's clock from the monotonic clock. If the upper bound of an answer is below the lower
    bound of an earlier answer, the clock went back between them.
    """

    def __init__(self) -> None:
        self.count = 0
        self.noted: dict[int, int] = {}
        """Project -> the number of jumps that are recorded in its row of the store."""
        self._ahead = -float("inf")
        self._lock = threading.Lock()

    def see(self, now: datetime, asked: float) -> None:
        """Use the clock of an answer that has just arrived.

        Args:
            now: Label Studio's clock, in whole seconds.
            asked: when the request was sent, in seconds of `time.monotonic`.
        """
        seconds = now.timestamp()
        with self._lock:
            lower = seconds - time.monotonic()
            if seconds + 1 - asked < self._ahead - TOLERANCE.total_seconds():
                self.count += 1
                self._ahead = lower
            self._ahead = max(self._ahead, lower)


_jumps: dict[str, JumpsBack] = {}


def shared_jumps(url: str) -> JumpsBack:
    """The counter of this process for the Label Studio at `url`."""
    return _jumps.setdefault(url.rstrip("/"), JumpsBack())


class StudioClock:
    """Label Studio's clock at its newest answer; unknown until an answer has a Date header."""

    def __init__(self) -> None:
        self._now: datetime | None = None
        self.jumps = JumpsBack()

    def read(self, date: str | None, asked: float) -> None:
        """Use the Date header of an answer. A missing or invalid header changes nothing.

        `asked`: when the request was sent, in seconds of `time.monotonic`.
        """
        try:
            found = parsedate_to_datetime(date or "")
            found = (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):  # the year or the offset is too large
            return
        self._now = found
        self.jumps.see(found, asked)

    def is_before(self, moment: str) -> bool:
        """Whether the clock is behind an earlier stamp of Label Studio, so it went back."""
        if self._now is None or not moment:
            return False
        return self._now < datetime.fromisoformat(moment) - TOLERANCE

    def stamp(self) -> str:
        """The clock's time in the format of `updated_at`; '' if unknown."""
        return "" if self._now is None else in_words(self._now)


def in_words(moment: datetime) -> str:
    """A time in the only format that Label Studio reads."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

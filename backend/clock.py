"""Spans of time that outlive a jump of the system's clock.

A span within one process is measured by `time.monotonic`. A moment in a row of the store is of the
system's clock, which a person or NTP may set an hour back or forward: `elapsed` says how long ago
it was. `Unchanged` needs no clock of another process at all.
"""

from __future__ import annotations

import math
import time
from collections.abc import Hashable


def elapsed(since: float) -> float:
    """Seconds since a moment that was recorded by the system's clock, in seconds since 1970.

    Infinite for a moment that is still to come: the clock has gone back since, and whoever waits
    must not wait for it to come again.
    """
    passed = time.time() - since
    return passed if passed >= 0 else float("inf")


class Unchanged:
    """For how long values have not changed, by this process's monotonic clock."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, tuple[object, float, float]] = {}  # value, since, last look

    def seconds(self, key: Hashable, value: object, *, at_first: float = 0.0) -> float:
        """Seconds since `value` came under `key`.

        `at_first`: how long a value that is seen for the first time is taken to be there already.
        It is at most the time since the look before, which saw another value.
        """
        now = time.monotonic()
        old, since, looked = self._seen.get(key, (None, now, -math.inf))
        if key not in self._seen or old != value:
            since = now - min(at_first, now - looked)
        self._seen[key] = value, since, now
        return now - since

"""Durations that stay correct after a jump of the system clock.

`time.monotonic` measures durations within one process. Times in the store come from the system
clock, which a person or NTP may set back or forward: `elapsed` returns how long ago such a time
was. `Unchanged` does not need the clock of another process at all.
"""

from __future__ import annotations

import math
import time
from collections.abc import Hashable


def elapsed(since: float) -> float:
    """Seconds since a time of the system clock, given in seconds since 1970.

    Infinite for a time in the future: the clock has gone back since, and the caller must not wait
    until the clock reaches that time again.
    """
    passed = time.time() - since
    return passed if passed >= 0 else float("inf")


class Unchanged:
    """Measures for how long values have not changed, by this process's monotonic clock."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, tuple[object, float, float]] = {}  # value, since, last call

    def seconds(self, key: Hashable, value: object, *, at_first: float = 0.0) -> float:
        """Seconds for which `key` has had this `value`.

        `at_first`: the assumed age of a value that is new in this call. It is limited to the time
        since the previous call, which saw another value.
        """
        now = time.monotonic()
        old, since, looked = self._seen.get(key, (None, now, -math.inf))
        if key not in self._seen or old != value:
            since = now - min(at_first, now - looked)
        self._seen[key] = value, since, now
        return now - since

"""Spans of time that outlive a jump of the system's clock.

A span within one process is measured by `time.monotonic`. A moment in a row of the store is of the
system's clock, which a person or NTP may set an hour back or forward: `elapsed` says how long ago
it was. `Unchanged` needs no clock of another process at all.
"""

from __future__ import annotations

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
        self._seen: dict[Hashable, tuple[object, float]] = {}

    def seconds(self, key: Hashable, value: object, *, at_first: float = 0.0) -> float:
        """Seconds since `value` was first seen under `key`; `at_first`: those before that."""
        now = time.monotonic()
        known = self._seen.get(key)
        if known is None or known[0] != value:
            known = self._seen[key] = value, now - (at_first if known is None else 0.0)
        return now - known[1]

"""Estimates how long a running job still takes, from its speed over the last minute."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

RECENT_SECONDS = 60.0
"""The speed of the last so many seconds counts: a machine may become slower or faster."""


class TimeLeft:
    """The remaining seconds of a job that does one unit after another.

    The time until the first report of progress does not count: it has the start of the job, such as
    compiled kernels, which may take a hundred times as long as a unit.

    Args:
        done: units done before the start, as by a training that is resumed.
        clock: the time in seconds.
    """

    def __init__(self, done: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._before = done
        self._start: tuple[float, int] | None = None  # time and units done, at the first progress
        self._points: deque[tuple[float, int]] = deque()  # the same; the first is a minute old

    def after(self, done: int, total: int) -> float | None:
        """Record the progress. Returns the estimated remaining seconds; None at the first unit.

        In the first minute, and if the last minute did no unit, the speed since the start counts.

        Args:
            done: units done.
            total: all units.
        """
        now = self._clock()
        if self._start is None:
            if done > self._before:
                self._start = (now, done)
                self._points.append(self._start)
            return 0.0 if done >= total else None
        self._points.append((now, done))
        while self._points[1][0] <= now - RECENT_SECONDS and len(self._points) > 2:
            self._points.popleft()
        for before, units in (self._points[0], self._start):
            if done > units:
                return (now - before) / (done - units) * max(0, total - done)
        return 0.0 if done >= total else None

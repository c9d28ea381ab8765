"""Waits for a condition, with a time limit."""

from __future__ import annotations

import time
from collections.abc import Callable

from demo.errors import DemoError


def wait_for(check: Callable[[], bool], within: float, what: str, *, pause: float = 0.3) -> None:
    """Wait until `check` returns True.

    Args:
        check: the condition; it may raise to end the wait.
        within: time limit, seconds.
        what: the condition in words, for the error message.
        pause: time between two checks, seconds.

    Raises:
        DemoError: the time limit has passed.
    """
    limit = time.monotonic() + within
    while not check():
        if time.monotonic() > limit:
            raise DemoError(f"Waited {within:.0f} s in vain for {what}.")
        time.sleep(pause)

"""Decides which requests to Label Studio are repeated, after which pause, and for how long.

urllib3's Retry repeats and pauses. Repetition adds a time limit for all attempts together, retries
after 429 for every method, and a random pause before the first retry. A page of tasks that Label
Studio cannot answer is not repeated, because the listing requests half of it.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import urllib3
from urllib3.connectionpool import ConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    SSLError,
    TimeoutError,
)
from urllib3.response import BaseHTTPResponse

from backend.label_studio.answers import Answer, CutAnswer, OversizedAnswer

logger = logging.getLogger(__name__)

JSON = "application/json"
REPEATABLE_METHODS = frozenset({"GET", "HEAD", "PATCH", "PUT", "DELETE"})
REPEATED_STATUS = frozenset({429, 500, 502, 503, 504})
"""Includes 500, because Label Studio on SQLite answers 500 while its database is locked."""
TOO_LARGE_STATUS = frozenset({500, 504})
"""Answers to a page that is too large, from Label Studio or from a proxy with a shorter timeout."""
PAGE_TRIES = 2
"""Number of consecutive answers in TOO_LARGE_STATUS after which a page counts as too large."""
BUSY = ("database is locked", "database-is-locked", "doesn't operate well")
"""Parts of Label Studio's reason while SQLite is busy. The page's size is then not the cause.
Label Studio 1.23 replaces SQLite's message by a link and "doesn't operate well"."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 20.0


@dataclass(frozen=True)
class Call:
    """One call to Label Studio with all its attempts."""

    method: str
    url: str
    what: str  # the action in words, for messages: "Reading project 3"
    sent: bytes  # the body
    seconds: float  # for one attempt
    patience: float  # seconds for all attempts with their pauses
    shrinks: bool  # the call reads a page of tasks that could be smaller
    clean: Callable[[str], str]  # removes tokens from a text
    guard: Callable[[], None]  # called before each attempt; an exception from it ends the call
    content_type: str = JSON  # of the body


class NoAnswer(Exception):
    """All attempts failed.

    Args:
        reason: why the last attempt failed, in words.
        attempts: the number of attempts.
        known: whether Label Studio certainly did not act on the request, or may act twice.
        too_large: whether a smaller page may be answered.
        wait: seconds that the answer asked to wait (Retry-After).
    """

    def __init__(
        self,
        reason: str,
        attempts: int,
        *,
        known: bool,
        too_large: bool = False,
        wait: float = 0.0,
    ) -> None:
        super().__init__(reason)
        self.attempts, self.known, self.too_large = attempts, known, too_large
        self.wait = wait


class Repetition(urllib3.Retry):
    """urllib3's Retry for one call. After each failed attempt urllib3 derives a new object."""

    def __init__(self, call: Call, too_large: int = 0, **options: Any) -> None:
        super().__init__(**options)
        self.call, self.too_large, self.pause = call, too_large, 0.0
        self.began = time.monotonic()
        self.end = self.began + call.patience

    @classmethod
    def of(cls, call: Call, *, any_method: bool = False) -> Self:
        """The object for a call's first attempt. `any_method`: a POST may be repeated too."""
        return cls(
            call,
            total=None,
            allowed_methods=None if any_method else REPEATABLE_METHODS,
            status_forcelist=REPEATED_STATUS,
            backoff_factor=FIRST_PAUSE,
            backoff_max=LONGEST_PAUSE,
        )

    @property
    def attempts(self) -> int:
        """The number of attempts so far, including this one."""
        return len(self.history) + 1

    def new(self, **changes: Any) -> Self:
        """A copy with changes."""
        made = super().new(call=self.call, too_large=self.too_large, **changes)
        made.end = self.end
        return made

    def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:
        """Whether this status is retried: 429 always, because Label Studio did nothing."""
        return status_code == 429 or super().is_retry(method, status_code)

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        """The object for the next attempt after a failure. Raises NoAnswer if there is none."""
        answer = response if isinstance(response, Answer) else None
        reason = in_words(error) if answer is None else self.finished(answer)
        self.too_large = self._counted(answer, error)
        if self.call.shrinks and self.too_large >= PAGE_TRIES:
            raise NoAnswer(reason, self.attempts, known=True, too_large=True)
        if isinstance(error, (SSLError, OversizedAnswer)):
            raise NoAnswer(reason, self.attempts, known=not isinstance(error, OversizedAnswer))
        try:
            following = super().increment(method, url, response, error, _pool, _stacktrace)
        except HTTPError:  # Label Studio may have acted, and must not act twice
            raise NoAnswer(reason, self.attempts, known=False) from None
        wait = None if answer is None else following.get_retry_after(answer)
        following.pause = following.get_backoff_time() if wait is None else wait
        if time.monotonic() + following.pause > self.end:
            raise NoAnswer(reason, self.attempts, known=True, wait=wait or 0.0)
        text = self.call.clean(reason)
        logger.info("%s: %s; again in %.1f s", self.call.what, text, following.pause)
        return following

    def sleep(self, response: BaseHTTPResponse | None = None) -> None:
        """Wait before the next attempt, then call the guard, which may refuse the attempt."""
        time.sleep(self.pause)
        self.call.guard()
        self.began = time.monotonic()

    def get_backoff_time(self) -> float:
        """A random time from half to all of 0.5 s, 1 s, 2 s, ... urllib3's first pause is 0."""
        pause = min(self.backoff_factor * 2 ** (len(self.history) - 1), self.backoff_max)
        return float(pause * random.uniform(0.5, 1.0))

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        """Seconds in the Retry-After header; None if it is missing or unusable."""
        try:
            return super().get_retry_after(response)
        except HTTPError:
            return None

    def finished(self, answer: Answer) -> str:
        """Log an answered attempt. Returns its status and reason in words."""
        logger.debug(
            "%s: %s in %.3f s, %s bytes sent, %s received",
            *(self.call.what, answer.status, time.monotonic() - self.began),
            *(len(self.call.sent), len(answer.content)),
        )
        return f"it answered {answer.status} {answer.reason_given}".strip()

    def _counted(self, answer: Answer | None, error: Exception | None) -> int:
        """Consecutive signs that the page is too large. One slow or oversized answer suffices."""
        if answer is None:
            late = isinstance(error, TimeoutError) and not isinstance(error, ConnectTimeoutError)
            return PAGE_TRIES if late or isinstance(error, OversizedAnswer) else 0
        busy = any(words in answer.reason_given for words in BUSY)
        return self.too_large + 1 if answer.status in TOO_LARGE_STATUS and not busy else 0


def in_words(error: Exception | None) -> str:
    """The cause of a failed connection in words, without the address and its query."""
    if isinstance(error, (CutAnswer, OversizedAnswer)):
        return str(error)
    if isinstance(error, SSLError):
        return f"no secure connection ({error})"
    if isinstance(error, NewConnectionError):
        return "no connection could be made"
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    return f"the connection broke ({type(error).__name__})"

"""What came back from Label Studio, or did not: whole answers, cut ones, and the words for them."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass
from typing import Any

import requests
import urllib3
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

MAX_ANSWER_BYTES = 1 << 30
"""Longest answer that is read; 10,000 tasks with everything are 13 MB."""


@dataclass(frozen=True)
class Answer:
    """What came back: status, the decoded JSON if it was JSON, else None and the text's start."""

    status: int
    data: Any
    text: str
    kind: str  # content type
    location: str
    wait: float | None  # seconds asked for by Retry-After


class NoAnswer(Exception):
    """One attempt without a whole answer.

    Args:
        reason: in words.
        unsent: the request cannot have been acted on.
        final: the same request would end the same way.
        heavy: the answer took too long or grew too large, so a smaller one may do.
    """

    def __init__(
        self, reason: str, *, unsent: bool, final: bool = False, heavy: bool = False
    ) -> None:
        super().__init__(reason)
        self.unsent, self.final, self.heavy = unsent, final, heavy


def read_body(response: requests.Response, end: float) -> bytes:
    """The whole body, read piece by piece so that a server that drips cannot hold us."""
    parts, size = [], 0
    while part := response.raw.read1(1 << 20):
        parts.append(part)
        size += len(part)
        if time.monotonic() > end:
            raise NoAnswer("its answer was too slow", unsent=False, heavy=True)
        if size > MAX_ANSWER_BYTES:
            reason = f"its answer passed {MAX_ANSWER_BYTES} bytes"
            raise NoAnswer(reason, unsent=False, final=True, heavy=True)
    return b"".join(parts)


def decoded(response: requests.Response, body: bytes) -> Answer:
    """The response with its body decoded; NoAnswer for JSON that was cut."""
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip()
    data = None
    if body and (kind == "application/json" or kind.endswith("+json")):
        try:
            data = json.loads(body)
        except (ValueError, RecursionError):
            if response.ok:
                raise NoAnswer("its JSON answer was cut or broken", unsent=False) from None
    return Answer(
        response.status_code,
        data,
        body[:300].decode(errors="replace"),
        kind,
        response.headers.get("Location", ""),
        _retry_after(response.headers.get("Retry-After", "")),
    )


def _retry_after(header: str) -> float | None:
    """Seconds from a Retry-After header (a number or a date), None without a usable one."""
    if not header:
        return None
    try:
        return max(0.0, urllib3.Retry().parse_retry_after(header))
    except urllib3.exceptions.HTTPError:
        return None


def reason_of(answer: Answer) -> str:
    """What Label Studio says in an error answer, on one line, at most 300 characters."""
    if not isinstance(answer.data, dict):
        return ""
    found = answer.data.get("validation_errors") or answer.data.get("detail") or ""
    return " ".join((found if isinstance(found, str) else json.dumps(found)).split())[:300]


def timed_out(error: Exception) -> bool:
    """Whether time ran out, while connecting or while waiting."""
    return isinstance(error, (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError))


def in_words(error: Exception) -> str:
    """What went wrong on the wire, without the address and its query."""
    if timed_out(error):
        return "it did not answer in time"
    if unsent(error):
        return "no connection could be made"
    return f"the connection broke ({type(error).__name__})"


def unsent(error: Exception) -> bool:
    """Whether no connection was made, so that nothing can have been acted on."""
    if isinstance(error, requests.ConnectTimeout):
        return True
    inner = error.args[0] if error.args else None
    reason = getattr(inner, "reason", inner)
    return isinstance(reason, (NewConnectionError, ConnectTimeoutError))


def lifetime(access: str) -> float:
    """Seconds between a JWT's `iat` and `exp`: a span, so that clocks need not agree."""
    try:
        middle = access.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
        return max(0.0, float(claims["exp"]) - float(claims["iat"]))
    except (ValueError, KeyError, IndexError, TypeError):
        return 60.0

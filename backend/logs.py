"""Sets up logging: one line for each event, as text on a terminal and as JSON elsewhere.

Bodies and headers are never logged. If a credential gets into a line nevertheless, `mask` replaces
it by ***.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

MASK = "***"
_PATTERNS = (
    # "Authorization: Basic abc", "'Authorization': 'Token abc'", "Bearer abc"
    re.compile(
        r"(?i)(authorization['\"]?\s*[:=]\s*['\"]?\s*)((?:basic|bearer|token)\s+)?[^\s'\",}]+"
    ),
    re.compile(r"(?i)\b((?:basic|bearer|token)\s+)(?=[^\s'\",}]*\d)[A-Za-z0-9._~+/=-]{16,}"),
    # access_token=abc, "api_key": "abc", password: abc
    re.compile(
        r"(?i)((?:access_?token|refresh_?token|api_?key|password|passwd|secret)['\"]?\s*[:=]\s*['\"]?)"
        r"[^\s'\",}&]+"
    ),
    re.compile(r"()\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.?[A-Za-z0-9_-]*"),  # a JWT
    re.compile(r"()\b[0-9a-f]{40}\b"),  # a legacy Label Studio token
    re.compile(r"(https?://)[^/\s@'\"]+@"),  # user info in an address
)


_ROUND: ContextVar[str] = ContextVar("round", default="")


@contextmanager
def lines_of_round(project: int, number: int) -> Iterator[None]:
    """Add a round's id, "PROJECT/NUMBER", to every JSON line of this thread in the block.

    A helper thread has the id if its work runs in a copy of the context (`copy_context().run`).
    """
    token = _ROUND.set(f"{project}/{number}")
    try:
        yield
    finally:
        _ROUND.reset(token)


def mask(text: str) -> str:
    """The text with everything that looks like a credential replaced by ***."""
    for pattern in _PATTERNS:
        text = pattern.sub(lambda found: f"{found.group(1)}{MASK}", text)
    return text


class Plain(logging.Formatter):
    """A line for people: time, level, logger, message; below it the traceback, if any."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The masked line."""
        return mask(super().format(record))


class Json(logging.Formatter):
    """A line for machines: one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """The masked object, UTC time in ISO 8601."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": mask(record.getMessage()),
        }
        if running := _ROUND.get():
            line["round"] = running
        if record.exc_info:
            line["trace"] = mask(self.formatException(record.exc_info))
        return json.dumps(line)


def setup_logging(level: str = "INFO", stream: TextIO | None = None) -> None:
    """Log to `stream` (default: standard error), as text on a terminal, as JSON otherwise.

    Each process's entry point calls it once. Another call replaces the earlier setup.
    """
    target = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(target)
    handler.setFormatter(Plain() if target.isatty() else Json())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in ("urllib3", "werkzeug", "PIL", "matplotlib", "label_studio_ml"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    # urllib3 logs every retry. backend.label_studio.repetition already logs it with its reason.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    # Gunicorn has a separate handler. Its lines quote malformed requests, so they must go through
    # `mask` like all others.
    server = logging.getLogger("gunicorn.error")
    server.handlers.clear()
    server.propagate = True

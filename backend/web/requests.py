"""Checks requests. Every error gets a 4xx answer with the expected and the received value."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from flask import Request

from backend.logs import mask

MAX_PROJECT = 2**63 - 1  # largest integer of SQLite
MAX_PROJECTS = 1_000  # for one backend; stops a caller that tries one id after another
MAX_DEPTH = 60
_PROJECT = re.compile(r"([1-9][0-9]{0,18})(\.[0-9]{1,20})?", re.ASCII)


class RequestRefused(Exception):
    """A request that is answered with a 4xx status. The message goes to the caller."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def read_body(request: Request) -> dict[str, Any]:
    """The request's JSON object.

    Raises:
        RequestRefused: 415 for another content type, 400 if the body is not a JSON object.
        werkzeug.exceptions.RequestEntityTooLarge: the body exceeds MAX_REQUEST_BYTES.
    """
    if request.mimetype != "application/json":
        raise RequestRefused(
            415, f"Expected Content-Type application/json, got {excerpt(request.mimetype)}."
        )
    try:
        body = json.loads(request.get_data(cache=False).decode("utf-8"), parse_constant=_constant)
    except RecursionError:
        raise RequestRefused(400, "Expected JSON of reasonable depth, got deep nesting.") from None
    except UnicodeDecodeError:
        raise RequestRefused(400, "Expected UTF-8, got bytes that are not.") from None
    except ValueError:
        raise RequestRefused(400, "Expected JSON, got something that cannot be parsed.") from None
    if not isinstance(body, dict):
        raise RequestRefused(400, f"Expected a JSON object, got {kind(body)}.")
    if _deeper_than(body, MAX_DEPTH):
        raise RequestRefused(400, f"Expected JSON nested at most {MAX_DEPTH} deep, got more.")
    return body


def project_id(value: Any) -> int:
    """The id in "<id>.<timestamp>", "<id>", an integer, or a project object with an `id`.

    Raises RequestRefused (400) for anything else, such as a path.
    """
    if isinstance(value, Mapping):
        value = value.get("id")
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if 0 < value <= MAX_PROJECT else "out of range"
    found = _PROJECT.fullmatch(value) if isinstance(value, str) else None
    if found is None or int(found.group(1)) > MAX_PROJECT:
        raise RequestRefused(
            400,
            'project: expected "<id>.<timestamp>" or an id from 1 on, got '
            f"{excerpt(value) if isinstance(value, str) else kind(value)}.",
        )
    return int(found.group(1))


def text(body: Mapping[str, Any], key: str, limit: int) -> str:
    """A string of at most `limit` characters; '' if it is missing or null.

    Raises RequestRefused (400) for anything else, with a message that omits the value.
    """
    value = body.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RequestRefused(400, f"{key}: expected a string, got {kind(value)}.")
    if len(value) > limit:
        raise RequestRefused(400, f"{key}: expected at most {limit} characters, got {len(value)}.")
    if "\x00" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise RequestRefused(400, f"{key}: expected Unicode text, got NUL or lone surrogates.")
    return value


def kind(value: Any) -> str:
    """A JSON value's type in words."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    names |= {int: "a number", float: "a number", type(None): "nothing"}
    return names.get(type(value), type(value).__name__)


def excerpt(value: str) -> str:
    """At most 60 ASCII characters without credentials, safe for messages and logs."""
    return ascii(mask(value[:10_000])[:60])


def _constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _deeper_than(value: Any, limit: int) -> bool:
    """Whether a JSON value nests deeper than `limit`. Checks level by level, without recursion."""
    level: list[Any] = [value]
    for _ in range(limit):
        inner: list[Any] = []
        for item in level:
            children = item.values() if isinstance(item, dict) else item
            inner.extend(child for child in children if isinstance(child, (dict, list)))
        if not inner:
            return False
        level = inner
    return True

"""Says in plain words which setting cannot be used, what is expected, and what was given."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from backend.similar_names import is_meant, nearest

LIKELY = 0.6
"""Similarity (difflib) from which a name is suggested."""
EXPECTED = {
    "int_parsing": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_parsing": "expected a number",
    "bool_parsing": "expected true or false",
    "greater_than": "expected more than {gt}",
    "greater_than_equal": "expected {ge} or more",
    "less_than": "expected less than {lt}",
    "less_than_equal": "expected {le} or less",
    "literal_error": "expected one of {expected}",
}
"""Kind of pydantic's error -> what is expected, with fields of its context."""


def in_words(error: ValidationError) -> str:
    """A line for each setting that cannot be used, without passwords and tokens."""
    found = [each for each in error.errors(include_url=False) if each["loc"]]
    lines = [_line(str(each["loc"][0]).upper(), dict(each)) for each in found]
    return "\n".join(f"  {line}" for line in lines or [str(error)])


def _line(name: str, found: Mapping[str, Any]) -> str:
    expected, given = _expected(found), found["input"]
    if any(part in name for part in ("PASS", "KEY", "TOKEN")) or "@" in f"{expected}{given}":
        return f"{name}: {expected}"
    return f"{name}: {expected} (got {given!r}){_suggestion(expected, str(given))}"


def _expected(found: Mapping[str, Any]) -> str:
    """What the setting expects, in words."""
    words = EXPECTED.get(found["type"])
    if words is not None:
        return words.format_map(found.get("ctx", {})).replace("'", "")
    return str(found["msg"]).removeprefix("Value error, ")


def _suggestion(expected: str, given: str) -> str:
    """A question with the nearest of the expected names; '' if none is near."""
    _, names, rest = expected.partition("expected one of ")
    near = nearest(given.lower(), re.split(r", | or ", rest), LIKELY) if names else ""
    return f"; {is_meant(near)}" if near else ""

"""Reads values of COCO records: numbers, ids and boxes, also if a tool writes them as text."""

from __future__ import annotations

import math
from typing import Any

Key = int | str
"""An id of an image or category: an integer, or a text that is not an integer."""
Box = tuple[float, float, float, float]
"""x, y, width, height in px."""


def number(value: Any) -> float | None:
    """A finite number, also one given as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def whole(value: Any) -> int | None:
    """A whole number, also one given as 8.0 or as text; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        text = value.strip()
        if text.removeprefix("-").isdecimal() and text.isascii():
            return int(text) if len(text) < 40 else None
    found = number(value)
    return int(found) if found is not None and found.is_integer() else None


def key_of(value: Any) -> Key | None:
    """An id: `7`, `7.0` and `"7"` are the same; other text stays text; None for anything else.

    `"07"` stays text, because a file may have both `7` and `"07"`.
    """
    if isinstance(value, str):
        found = whole(value)
        return found if found is not None and str(found) == value else value or None
    return whole(value)


def box_of(value: Any) -> Box | None:
    """A box [x, y, width, height] of four finite numbers with sides >= 0; else None."""
    if not isinstance(value, list) or len(value) != 4:
        return None
    sides = [number(side) for side in value]
    x, y, width, height = sides
    if x is None or y is None or width is None or height is None or width < 0 or height < 0:
        return None
    return x, y, width, height


def crowd_of(value: Any) -> bool | None:
    """Read `iscrowd` from 0, 1, true, false, null, or these as text; None for anything else."""
    if value is None or value == "":
        return False
    text = str(value).strip().lower()
    return {"0": False, "1": True, "false": False, "true": True, "0.0": False, "1.0": True}.get(
        text
    )


def is_text(value: Any) -> bool:
    """Whether a number, or one of a list of numbers, is given as text."""
    if isinstance(value, list):
        return any(isinstance(side, str) for side in value)
    return isinstance(value, str)


def excerpt(value: Any, length: int = 60) -> str:
    """A value for a message, truncated to `length` characters."""
    text = repr(value)
    return text if len(text) <= length else text[: length - 3] + "..."

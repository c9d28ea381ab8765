"""Converts rectangles to masks, and boxes to rectangles.

Label Studio stores the corner x, y, the width and the height in percent, and a rotation about that
corner in degrees, clockwise on the screen.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from backend.errors import RegionError
from backend.label_studio.regions.crop import Crop
from backend.label_studio.regions.polygon import MAX_PERCENT, fill

_NUMBER = re.compile(r"\s*[+-]?(\d{1,30}\.?\d{0,30}|\.\d{1,30})([eE][+-]?\d{1,3})?\s*")


def box_to_value(box: Sequence[float], height: int, width: int) -> dict[str, float]:
    """A box (x1, y1, x2, y2) px as Label Studio's value in percent, clipped to the image.

    Raises RegionError if the clipped box has no area.
    """
    x1, x2 = (min(max(float(box[index]), 0.0), float(width)) for index in (0, 2))
    y1, y2 = (min(max(float(box[index]), 0.0), float(height)) for index in (1, 3))
    if not (x2 > x1 and y2 > y1):
        raise RegionError(f"Rectangle: box {list(box)} has no area in an image {height}x{width}.")
    return {
        "x": x1 * 100 / width,
        "y": y1 * 100 / height,
        "width": (x2 - x1) * 100 / width,
        "height": (y2 - y1) * 100 / height,
        "rotation": 0.0,
    }


def rectangle_to_crop(value: Mapping[str, Any], height: int, width: int) -> Crop:
    """The mask of a rectangle given in percent, with its rotation, clipped to the image.

    A negative width or height extends to the other side of the corner, as in the editor. Raises
    RegionError for missing or absurd numbers, and for rectangles that cover no pixel.
    """
    x, y, w, h = (number("Rectangle", value, name) for name in ("x", "y", "width", "height"))
    angle = math.radians(number("Rectangle", value, "rotation", 0.0))
    if w == 0 or h == 0:
        raise RegionError("Rectangle: its width or height is 0: it has no area.", "no_pixel")
    corner = np.array([x * width / 100, y * height / 100])
    across = np.array([math.cos(angle), math.sin(angle)]) * (w * width / 100)
    down = np.array([-math.sin(angle), math.cos(angle)]) * (h * height / 100)
    ring = np.stack([corner, corner + across, corner + across + down, corner + down])
    if angle == 0:
        # Rounded, because percentages of whole pixels convert back with a rounding error.
        ring = ring.round(6)
    return fill(ring, height, width)


def number(shape: str, value: Mapping[str, Any], name: str, default: float | None = None) -> float:
    """A number (percent or degrees) in a `shape`'s value. Raises RegionError if it is none."""
    found = value.get(name)
    read = default if found is None else readable_number(found)
    if read is None:
        raise RegionError(f"{shape}: expected a number as {name}, got {found!r:.80}.")
    if not abs(read) <= MAX_PERCENT:
        raise RegionError(f"{shape}: expected {name} in percent, got {found!r:.80}.")
    return read


def readable_number(value: object) -> float | None:
    """A number given in JSON as number or text (`8`, `8.0`, `"8"`); None if it is none."""
    if isinstance(value, str):
        return float(value) if _NUMBER.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None

"""Converts ellipses to masks and back.

Label Studio stores the centre x, y and the radii along the ellipse's axes, in percent of the
image's width and height, and a rotation about the centre in degrees, clockwise on the screen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from backend.errors import RegionError
from backend.label_studio.regions.crop import Crop, tight
from backend.label_studio.regions.rectangle import number

MAX_RADIUS = 50.0
"""Largest radius in percent that Label Studio's check of predictions allows (SDK 2.1.2)."""


def ellipse_to_crop(value: Mapping[str, Any], height: int, width: int) -> Crop:
    """The pixels whose centres lie in an ellipse given in percent, clipped to the image.

    Raises RegionError for missing or absurd numbers, radii of 0 or less, and ellipses that cover no
    pixel.
    """
    x, y, a, b = (number("Ellipse", value, name) for name in ("x", "y", "radiusX", "radiusY"))
    angle = math.radians(number("Ellipse", value, "rotation", 0.0))
    if a == 0 or b == 0:
        raise RegionError("Ellipse: its radius is 0: it has no area.", "no_pixel")
    if a < 0 or b < 0:
        raise RegionError(f"Ellipse: expected radii above 0, got {a} and {b} percent.")
    x, a, y, b = x * width / 100, a * width / 100, y * height / 100, b * height / 100
    cos, sin = math.cos(angle), math.sin(angle)
    reach_x, reach_y = math.hypot(a * cos, b * sin), math.hypot(a * sin, b * cos)
    left, top = max(math.floor(x - reach_x), 0), max(math.floor(y - reach_y), 0)
    columns = min(math.ceil(x + reach_x), width) - left
    rows = min(math.ceil(y + reach_y), height) - top
    if rows < 1 or columns < 1:
        raise RegionError("The region lies outside the image or has no area.", "no_pixel")
    dx = np.arange(columns) + (left + 0.5 - x)
    dy = (np.arange(rows) + (top + 0.5 - y))[:, None]
    inside = ((dx * cos + dy * sin) / a) ** 2 + ((dy * cos - dx * sin) / b) ** 2 <= 1
    return tight(Crop(inside, left, top))


def mask_to_ellipse(crop: Crop, height: int, width: int) -> dict[str, float]:
    """The ellipse with a mask's area, centre and second moments, as Label Studio's value.

    The mask must not be empty. The ellipse may extend beyond the image. Its radii are at most half
    of the image's sides, because Label Studio refuses larger radii.
    """
    ys, xs = np.nonzero(crop.mask)
    # A pixel is a square of side 1, which adds its variance of 1/12.
    spread = np.cov(np.stack([xs, ys]), bias=True) + np.eye(2) / 12
    variances, axes = np.linalg.eigh(spread)
    lengths = 2 * np.sqrt(variances)
    lengths *= math.sqrt(len(xs) / (math.pi * lengths.prod()))
    # Either axis may be the first. One of both choices keeps the radii in Label Studio's limits.
    ways = [(*lengths[order], axes[:, order[0]]) for order in ([1, 0], [0, 1])]
    a, b, first = min(ways, key=lambda way: max(way[0] / width, way[1] / height))
    return {
        "x": (crop.x + xs.mean() + 0.5) * 100 / width,
        "y": (crop.y + ys.mean() + 0.5) * 100 / height,
        "radiusX": min(float(a) * 100 / width, MAX_RADIUS),
        "radiusY": min(float(b) * 100 / height, MAX_RADIUS),
        "rotation": math.degrees(math.atan2(first[1], first[0])) % 180,
    }

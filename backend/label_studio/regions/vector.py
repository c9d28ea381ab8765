"""Label Studio's vectors: outlines of straight lines and Bezier curves, in percent of the image.

Only closed outlines have an area. `prevPointId` gives the order of the vertices. The control points
of a curve's two ends give its form. Curves are read like in the editor (1.23.2,
`components/KonvaVector`): if only one end has control points, the other end's control point lies at
0.3 of the straight line between them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from backend.errors import RegionError
from backend.label_studio.regions.crop import Crop
from backend.label_studio.regions.polygon import fill
from backend.label_studio.regions.rectangle import number
from taudis.data.outlines import Points

MAX_VERTICES = 10_000
STRAY_PX = 0.1
"""Maximum distance in px between a curve and its straight pieces."""

_MOST_PIECES = 500
_EASE = 0.3

Vertex = Mapping[str, Any]


def vector_to_crop(value: Mapping[str, Any], height: int, width: int) -> Crop:
    """The mask of a closed vector, clipped to the image.

    Raises RegionError for open and branching outlines, missing or absurd numbers, fewer than three
    corners without a curve, and outlines that cover no pixel.
    """
    vertices = _in_order(value.get("vertices"))
    if value.get("closed") is not True:
        raise RegionError(
            "Vector: its outline is open, so its area is not known; close it, or label it with a"
            " tag that has an area."
        )
    scale = np.array([width, height]) / 100
    ring = [*vertices, vertices[0]]
    curved = any(vertex.get("isBezier") for vertex in vertices)
    if len(vertices) < (2 if curved else 3):
        raise RegionError(f"Vector: {len(vertices)} corners have no area.", "no_pixel")
    return fill(np.concatenate([_piece(*pair, scale) for pair in pairwise(ring)]), height, width)


def _in_order(vertices: Any) -> list[Vertex]:
    """The vertices along the outline."""
    if not isinstance(vertices, list) or not 0 < len(vertices) <= MAX_VERTICES:
        raise RegionError(f"Vector: expected a list of 1 to {MAX_VERTICES} vertices.")
    if not all(isinstance(vertex, Mapping) for vertex in vertices):
        raise RegionError("Vector: expected vertices {x, y, ...}, got others.")
    names = {str(vertex.get("id")) for vertex in vertices}
    before = [str(vertex.get("prevPointId")) for vertex in vertices]
    following = {
        previous: vertex
        for previous, vertex in zip(before, vertices, strict=True)
        if previous in names and previous != "None"
    }
    if not following:
        return vertices  # without links, the listed order counts
    start = next((v for v, b in zip(vertices, before, strict=True) if b not in names), vertices[0])
    ordered = [start]
    while len(ordered) < len(vertices):
        after = following.get(str(ordered[-1].get("id")))
        if after is None or after is start:
            raise RegionError("Vector: expected one outline, got one that branches or breaks off.")
        ordered.append(after)
    return ordered


def _piece(start: Vertex, end: Vertex, scale: Points) -> Points:
    """Points [n,2] px from a vertex to just before the next."""
    a, b = _point(start, scale), _point(end, scale)
    leaving, arriving = start.get("controlPoint2"), end.get("controlPoint1")
    has_c = bool(start.get("isBezier")) and isinstance(leaving, Mapping)
    has_d = bool(end.get("isBezier")) and isinstance(arriving, Mapping)
    if not has_c and not has_d:
        return a[None]
    c = _point(leaving, scale) if has_c else a + _EASE * (b - a)
    d = _point(arriving, scale) if has_d else b - _EASE * (b - a)
    bends = max(np.abs(a - 2 * c + d).max(), np.abs(c - 2 * d + b).max())
    # A chord over 1/n of a cubic deviates by at most 6 * sqrt(2) * bends / (8 * n * n).
    pieces = min(
        max(math.ceil(math.sqrt(6 * math.sqrt(2) * bends / (8 * STRAY_PX))), 1), _MOST_PIECES
    )
    t = (np.arange(pieces) / pieces)[:, None]
    s = 1 - t
    return s**3 * a + 3 * s * s * t * c + 3 * s * t * t * d + t**3 * b


def _point(place: Any, scale: Points) -> Points:
    return np.array([number("Vector", place, "x"), number("Vector", place, "y")]) * scale

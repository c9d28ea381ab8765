"""Converts polygons to masks and back. Label Studio's points are in percent of the image.

The outline of a mask runs along pixel *corners*, so filling it gives the same mask again. (`cv2`
traces pixel centres, which loses half a pixel on each side.) Filling follows the canvas that the
annotator sees: a pixel is inside if the winding number of its centre is not 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from backend.errors import RegionError
from backend.label_studio.regions.crop import Crop, tight
from taudis.data.outlines import Points, area, bridge, following, oriented, parts_of
from taudis.types import BoolArray, IntArray

SIMPLIFY_PX = 0.5
SPECK_PX = 4
"""A model's masks with fewer pixels are dropped: they are noise of the threshold, not objects."""

SPECK_SHARE = 0.002
"""Parts of a larger mask with fewer than SPECK_PX pixels are dropped up to this share of it."""

MAX_PERCENT = 1e6
MAX_CROSSINGS = 50_000_000
"""Limit for edges x rows of one polygon, as a zigzag of 100,000 points would exhaust memory."""

_CHUNK = 1_000_000
_STAIR, _CUT = 4, 0.4  # px; removing stairs of length 4 moves the outline by 4 / (2 * 4 + 2) px

_Halves = npt.NDArray[np.int32]  # points [n,2] in half px
_Part = tuple[float, IntArray, list[IntArray]]  # area in px, outline and holes at pixel corners


def mask_to_polygons(
    crop: Crop,
    height: int,
    width: int,
    *,
    simplify_px: float = SIMPLIFY_PX,
    specks: int = SPECK_PX,
) -> list[list[list[float]]]:
    """The outlines of a mask's 8-connected parts, largest first, as points in percent.

    A hole is connected to its outline by a bridge of zero width (keyhole). Simplification moves an
    outline by at most `simplify_px`. A mask of fewer than `specks` pixels has no outline, and such
    parts are dropped from large masks. `specks` 0 keeps every pixel, for masks drawn by a person.
    """
    scale = np.array([100 / width, 100 / height])
    offset = np.array([crop.x, crop.y])
    outlines = trace(crop.mask, simplify_px=simplify_px, specks=specks)
    # Clipped, because 100 / 11 * 11 is more than 100 in floats, which Label Studio refuses.
    return [((outline + offset) * scale).clip(0, 100).tolist() for outline in outlines]


def trace(
    mask: BoolArray, *, simplify_px: float = SIMPLIFY_PX, specks: int = SPECK_PX
) -> list[Points]:
    """Outlines [n,2] (x, y) in px at pixel corners of a mask [h,w], largest part first.

    `simplify_px` and `specks`: see `mask_to_polygons`.
    """
    parts = [
        (abs(area(outer)) - sum(abs(area(hole)) for hole in holes), outer, holes)
        for outer, holes in parts_of(mask)
    ]
    if not parts:
        return []
    kept = _without_specks(sorted(parts, key=lambda part: -part[0]), specks)
    return [_with_holes(outer, holes, simplify_px) for _, outer, holes in kept]


def _without_specks(parts: list[_Part], specks: int) -> list[_Part]:
    """The parts, largest first, without the specks (see SPECK_SHARE)."""
    spare = SPECK_SHARE * sum(area for area, *_ in parts)
    while len(parts) > 1 and parts[-1][0] < specks and parts[-1][0] <= spare:
        spare -= parts.pop()[0]
    return parts if parts[0][0] >= specks else []


def _with_holes(outer: IntArray, holes: list[IntArray], simplify_px: float) -> Points:
    outline = oriented(_simplified(outer, simplify_px), 1)
    for hole in holes:
        inner = _simplified(hole, simplify_px)
        if abs(area(inner)) > 0:
            outline = bridge(outline, oriented(inner, -1))
    return outline


def _simplified(points: IntArray, tolerance: float) -> Points:
    """A simpler outline with fewer points, within `tolerance` px of the given pixel corners."""
    halves = (2 * points).astype(np.int32)
    fewest = _douglas_peucker(halves, max(tolerance, 0.0))
    if tolerance > _CUT:
        slopes = _without_stairs(_douglas_peucker(halves, 0.0))
        fewest = min(fewest, _douglas_peucker(slopes, tolerance - _CUT), key=len)
    return np.asarray(fewest / 2, np.float64)


def _douglas_peucker(halves: _Halves, tolerance: float) -> _Halves:
    """Points thinned by `tolerance` px; unchanged if fewer than three would be left."""
    simple = cv2.approxPolyDP(halves, 2 * tolerance, True)[:, 0]
    return np.asarray(simple if area(simple) != 0 else halves, np.int32)


def _without_stairs(corners: _Halves) -> _Halves:
    """Turn stairs into slopes: replace a corner between a run of 1 px and a run of n <= _STAIR px
    by the middles of both runs. This moves the outline by at most n / (2 n + 2) px.
    """
    after = following(corners)
    length = np.abs(after - corners).sum(axis=1)  # in half px
    before = np.concatenate((length[-1:], length[:-1]))
    cut = (np.minimum(length, before) == 2) & (np.maximum(length, before) <= 2 * _STAIR)
    middle = cut | following(cut)  # whether to add the middle of the run that starts at the corner
    both = np.stack([corners, (corners + after) // 2], axis=1)
    return np.asarray(both[np.stack([~cut, middle], axis=1)], np.int32)


def polygon_to_crop(points: Any, height: int, width: int) -> Crop:
    """The mask of a polygon given in percent, [[x, y], ...].

    It is clipped to the image. Raises RegionError for fewer than three points, values that are no
    finite numbers or beyond a million percent, and polygons that cover no pixel.
    """
    return fill(_checked(points) * (np.array([width, height]) / 100), height, width)


def _checked(points: Any) -> Points:
    if not isinstance(points, Sequence) or isinstance(points, (str, bytes)):
        raise RegionError(f"Polygon: expected points [x, y], got {type(points).__name__}.")
    if len(points) < 3:
        raise RegionError(
            f"Polygon: expected at least 3 points [x, y], got {len(points)}: it has no area.",
            "no_pixel",
        )
    if all(isinstance(point, Mapping) for point in points):
        points = [[point.get("x"), point.get("y")] for point in points]
    try:
        array = np.asarray(points, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise RegionError("Polygon: expected points [x, y] of two numbers, got others.") from None
    if array.ndim != 2 or array.shape[1] != 2:
        raise RegionError(f"Polygon: expected points [x, y], got shape {list(array.shape)}.")
    if not (np.abs(array) <= MAX_PERCENT).all():
        raise RegionError("Polygon: expected percentages of the image, got NaN or absurd numbers.")
    return array


def fill(points: Points, height: int, width: int) -> Crop:
    """The pixels of an image [height,width] whose centres lie inside a ring of points (px).

    Raises RegionError if there is none, or if the ring has too many points (MAX_CROSSINGS).
    """
    low = np.floor(points.min(axis=0)).clip(0, (width, height)).astype(int)
    high = np.ceil(points.max(axis=0)).clip(0, (width, height)).astype(int)
    (x, y), (columns, rows) = low.tolist(), (high - low).tolist()
    if rows < 1 or columns < 1:
        raise RegionError("The region lies outside the image or has no area.", "no_pixel")
    winding = _winding(points - low, rows, columns)
    return tight(Crop(winding != 0, x, y))


def _winding(points: Points, rows: int, columns: int) -> npt.NDArray[np.int32]:
    """The winding number [rows,columns] of each pixel centre."""
    x1, y1 = points.T
    x2, y2 = np.roll(points, -1, axis=0).T
    # Computed from the upper end, so that an edge used in both directions crosses a row at exactly
    # the same place.
    down = y2 > y1
    xa, ya, xb, yb = (np.where(down, *pair) for pair in ((x1, x2), (y1, y2), (x2, x1), (y2, y1)))
    # An edge crosses the centre lines of the rows first <= row < last, whatever its direction.
    first = np.ceil(ya - 0.5).clip(0, rows).astype(np.int64)
    last = np.ceil(yb - 0.5).clip(0, rows).astype(np.int64)
    counts = last - first
    if counts.sum() > MAX_CROSSINGS:
        raise RegionError(f"Polygon: {len(points)} points are too many for this image; simplify.")
    steps = np.zeros(rows * (columns + 1), np.int32)
    chunks = np.searchsorted(np.cumsum(counts), np.arange(_CHUNK, counts.sum() + _CHUNK, _CHUNK))
    for part in np.split(np.arange(len(points)), np.unique(chunks)):
        part = part[counts[part] > 0]
        edge = np.repeat(part, counts[part])
        within = np.arange(len(edge)) - np.repeat(
            np.cumsum(counts[part]) - counts[part], counts[part]
        )
        row = first[edge] + within
        along = (row + 0.5 - ya[edge]) / (yb[edge] - ya[edge])
        crossing = xa[edge] + along * (xb[edge] - xa[edge])
        column = np.ceil(crossing - 0.5).clip(0, columns).astype(np.int64)
        np.add.at(steps, row * (columns + 1) + column, np.where(down[edge], 1, -1))
    return np.cumsum(steps.reshape(rows, columns + 1)[:, :-1], axis=1, dtype=np.int32)

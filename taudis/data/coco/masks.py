"""Reads COCO segmentations (polygons, run lengths) in every form that tools write; writes masks.

Letters: H and W are the height and width of an image, px.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from faster_coco_eval import mask as rle_tools

from taudis.data.coco.values import excerpt, is_text, number, whole
from taudis.data.images import MAX_PIXELS
from taudis.errors import DataError
from taudis.types import BoolArray, FloatArray

MAX_OUTLINE = 50_000_000
"""Longest outline of a mask's polygons, px; the rasteriser needs memory for each px of it."""
MAX_NESTING = 3
"""Deepest nesting of lists in which polygons are accepted; COCO has two levels."""


@dataclass(frozen=True, eq=False)
class Shape:
    """A segmentation for an image of a given size."""

    rle: dict[str, Any] | None  # COCO's compressed run lengths; None: no part has three points
    unusual: frozenset[str]  # differences from COCO's form, as kinds of taudis.data.coco.kinds
    low: float = 0.0  # smallest coordinate of polygons, as a share of the image's side
    high: float = 0.0  # largest coordinate of polygons, as a share of the image's side
    largest: float = 0.0  # largest coordinate, px

    @property
    def area(self) -> int:
        """Number of px of the mask."""
        return 0 if self.rle is None else int(rle_tools.area(self.rle))

    @property
    def box(self) -> list[float]:
        """The mask's tight box [x, y, width, height] px."""
        return [float(side) for side in rle_tools.toBbox(self.rle)]


def is_empty(segmentation: Any) -> bool:
    """Whether a segmentation is empty: None, [], [[]], {} or ""."""
    if isinstance(segmentation, list):
        return all(isinstance(part, list) and is_empty(part) for part in segmentation)
    return segmentation is None or segmentation in ({}, "")


def shape_of(segmentation: Any, height: int, width: int) -> Shape:
    """Read a segmentation for an image of H x W px. Raises DataError for an invalid one.

    Polygons are [[x1, y1, x2, y2, ...], ...] px. A flat list, a list of points, one more level of
    lists and numbers as text are accepted, too. Run lengths are a string or a list, in COCO's
    column order.
    """
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise DataError(
            f"expected an image of 1 to {MAX_PIXELS} pixels, got {width} x {height} (width, height)"
        )
    if isinstance(segmentation, list) and len(segmentation) == 1:
        only = segmentation[0]
        if isinstance(only, dict):
            return Shape(_runs(only, height, width), frozenset({"nested"}))
    if isinstance(segmentation, dict):
        return Shape(_runs(segmentation, height, width), frozenset())
    if isinstance(segmentation, list) and segmentation:
        return _polygons(segmentation, height, width)
    raise DataError(f"expected polygons or run lengths, got {excerpt(segmentation)}")


def decode(segmentation: Any, height: int, width: int) -> BoolArray:
    """A COCO segmentation as a mask [H,W]. Raises DataError if it is invalid for this size."""
    return decode_runs(runs_of(segmentation, height, width).rle)


def runs_of(segmentation: Any, height: int, width: int) -> Shape:
    """`shape_of` of a segmentation with run lengths. Raises DataError if it has none."""
    shape = shape_of(segmentation, height, width)
    if shape.rle is None:
        raise DataError("segmentation: expected polygons of at least three x,y pairs")
    return shape


def decode_runs(rle: dict[str, Any] | None) -> BoolArray:
    """The mask [H,W] of compressed run lengths (`Shape.rle`)."""
    return np.ascontiguousarray(rle_tools.decode(rle)).view(bool)


def encode(mask: BoolArray) -> dict[str, Any]:
    """A mask [H,W] as COCO's compressed RLE, ready for JSON."""
    runs = rle_tools.encode(np.asfortranarray(mask, dtype=np.uint8))
    counts = runs["counts"]
    text = counts.decode("ascii") if isinstance(counts, bytes) else counts
    return {"size": [int(side) for side in mask.shape], "counts": text}


def box_polygon(box: list[float] | tuple[float, ...]) -> list[list[float]]:
    """A box [x, y, width, height] as a polygon."""
    x, y, width, height = box
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


# --- polygons ----------------------------------------------------------------------------------


def _polygons(segmentation: list[Any], height: int, width: int) -> Shape:
    unusual: set[str] = set()
    parts = [_coordinates(part, unusual) for part in _parts(segmentation, unusual, 1)]
    good = [part for part in parts if len(part) >= 6]
    if not good:
        return Shape(None, frozenset(unusual))
    if len(good) < len(parts):
        unusual.add("short_part")
    _check_outline(good, height, width)
    merged = rle_tools.merge(rle_tools.frPyObjects([part.tolist() for part in good], height, width))
    every = np.concatenate([part.reshape(-1, 2) for part in good])
    shares = every / (width, height)
    low, high = float(shares.min()), float(shares.max())
    return Shape(dict(merged), frozenset(unusual), low, high, float(every.max()))


def _parts(value: list[Any], unusual: set[str], depth: int) -> list[list[Any]]:
    """The polygons of a segmentation as flat lists of numbers, from any nesting."""
    if not any(isinstance(part, list) for part in value):  # [x, y, x, y, ...]
        if depth == 1:
            unusual.add("nested")
        return [value]
    if depth > MAX_NESTING or not all(isinstance(part, list) for part in value):
        raise DataError(f"expected polygons [[x1, y1, x2, y2, ...], ...], got {excerpt(value)}")
    if len(value) > 1 and all(len(part) == 2 and not _nested(part) for part in value):
        unusual.add("nested")  # [[x, y], [x, y], ...]
        return [[side for point in value for side in point]]
    if depth > 1:
        unusual.add("nested")
    return [part for inner in value if inner for part in _parts(inner, unusual, depth + 1)]


def _nested(part: list[Any]) -> bool:
    return any(isinstance(side, list) for side in part)


def _coordinates(part: list[Any], unusual: set[str]) -> FloatArray:
    """A polygon's numbers [2n]. Raises DataError for an odd count and for other values."""
    if len(part) % 2:
        raise DataError(f"expected polygons of x,y pairs, got {len(part)} numbers")
    if is_text(part):
        unusual.add("text_number")
    numbers = [number(side) for side in part]
    if None in numbers:
        wrong = part[numbers.index(None)]
        raise DataError(f"expected finite polygon coordinates, got {excerpt(wrong)}")
    return np.asarray(numbers, np.float64)


def _check_outline(parts: list[FloatArray], height: int, width: int) -> None:
    """Raise DataError for coordinates so large that rasterising needs too much memory."""
    length = 0.0
    for part in parts:
        points = part.reshape(-1, 2)
        with np.errstate(over="ignore"):
            length += float(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum())
    far = max(float(np.abs(part).max()) for part in parts)
    if not max(length, far) <= MAX_OUTLINE:
        raise DataError(
            f"expected coordinates in px of an image of {width} x {height}, got {far:.3g}"
        )


# --- run lengths -------------------------------------------------------------------------------


def _runs(segmentation: dict[str, Any], height: int, width: int) -> dict[str, Any]:
    """A run-length mask, compressed (a string) or not (a list of counts), checked."""
    given = segmentation.get("size")
    size = [whole(side) for side in given] if isinstance(given, list) else given
    if size != [height, width]:
        swapped = " The sides are swapped." if size == [width, height] else ""
        raise DataError(
            f"expected run lengths of size [{height}, {width}] (height, width), got"
            f" {excerpt(given)}.{swapped}"
        )
    counts = segmentation.get("counts")
    if isinstance(counts, str | bytes):
        runs = _uncompressed(counts, height * width)
    elif isinstance(counts, list):
        numbers = [whole(count) for count in counts]
        if any(count is None or not 0 <= count <= height * width for count in numbers):
            raise DataError(f"expected run lengths of 0 to {height * width} px, got others")
        runs = np.asarray(numbers, np.int64)
    else:
        raise DataError(f"expected run lengths as a string or a list, got {excerpt(counts)}")
    if (runs < 0).any() or runs.sum() != height * width:
        raise DataError(
            f"expected run lengths that sum to {height} x {width} = {height * width}, got"
            f" {int(runs.sum())}"
        )
    plain = {"size": [height, width], "counts": runs.tolist()}
    return dict(rle_tools.frPyObjects(plain, height, width))


def _uncompressed(counts: str | bytes, pixels: int) -> npt.NDArray[np.int64]:
    """Decode COCO's string: 5 bits per character, signed; from the fourth run on, differences to
    the run two places before.

    The C decoders are not used, because a wrong string makes them write beyond the image's memory.
    """
    data = counts.encode("utf-8", "surrogatepass") if isinstance(counts, str) else counts
    if not data:
        return np.zeros(0, np.int64)
    bits = np.frombuffer(data, np.uint8).astype(np.int64) - 48
    if bits.min() < 0 or bits.max() > 0x3F:
        raise DataError(
            f"expected a run-length string of the characters 0 to o, got {excerpt(counts)}"
        )
    ends = np.flatnonzero(bits & 0x20 == 0)  # characters that end a run
    if not len(ends) or ends[-1] != len(bits) - 1:
        raise DataError("expected a whole run-length string, got one that is cut")
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 8:
        raise DataError("expected a run-length string of numbers below 2^40")
    shift = 5 * (np.arange(len(bits)) - np.repeat(starts, lengths))
    values = np.add.reduceat((bits & 0x1F) << shift, starts)
    values -= np.where(bits[ends] & 0x10, np.int64(1) << (5 * lengths), 0)
    if (np.abs(values) > pixels).any():
        raise DataError(f"expected run lengths of 0 to {pixels} px, got others")
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values

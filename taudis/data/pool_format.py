"""The layout of a pool file: its arrays with their shapes and dtypes, and its metadata.

docs/pools.md describes it for authors of other models. Letters: I images, N instances, K labels,
D and D' embedding widths. In a file, axes with the same letter have the same length.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from taudis.errors import DataError
from taudis.memmap import blocks
from taudis.types import FloatArray, IntArray

Numbers = npt.NDArray[Any]
"""An array of integers or floats."""

FORMAT, VERSION = "taudis-pool", 1

INTEGERS = ("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8")
FLOATS = ("float32", "float16", "float64")
SUM_TOLERANCE = 1e-2  # a row of class_probs sums to 1 +- this; float16 rounding is far smaller


@dataclass(frozen=True)
class Array:
    """An array of the file."""

    axes: tuple[int | str, ...]
    accepted: tuple[str, ...]  # allowed dtypes in a file
    becomes: str | None = None  # dtype in memory and in written files; None: unchanged
    mapped: bool = False  # whether it is large: read from the file when needed, never as a whole

    def dtype_of(self, given: np.dtype[np.generic]) -> np.dtype[np.generic]:
        """The dtype in memory of an array with the dtype `given`."""
        if self.becomes is not None:
            return np.dtype(self.becomes)
        # Not float16, whose sums lose digits that decide ties. Mapped arrays are cast later.
        return np.dtype("float32") if given == np.float16 and not self.mapped else given


ARRAYS: Mapping[str, Array] = MappingProxyType({
    # of each image
    "image_ids": Array(("I",), INTEGERS, "int64"),
    "sizes": Array(("I", 2), INTEGERS, "int64"),
    "image_embeddings": Array(("I", "D'"), FLOATS[:2], mapped=True),
    # of each instance
    "image_index": Array(("N",), INTEGERS, "int64"),
    "boxes": Array(("N", 4), FLOATS, "float32"),
    "scores": Array(("N",), FLOATS, "float32"),
    "labels": Array(("N",), INTEGERS, "int64"),
    "class_probs": Array(("N", "K+1"), FLOATS, mapped=True),
    "embeddings": Array(("N", "D"), FLOATS[:2], mapped=True),
    "mask_areas": Array(("N",), FLOATS, "float32"),
    "cm": Array(("N",), FLOATS),
    "ce": Array(("N",), FLOATS),
    "se": Array(("N",), FLOATS),
})  # fmt: skip
"""The arrays that every pool file must have; other arrays are ignored."""

POOL = ("image_ids", "sizes", "mask_areas", "image_embeddings")
INSTANCES = ("image_index", "boxes", "scores", "labels", "class_probs", "embeddings")
MEASURES = ("cm", "ce", "se")


@dataclass(frozen=True)
class PoolHeader:
    """The metadata of a pool file."""

    label_names: tuple[str, ...] = ()  # names of the labels 1..K; empty: unknown
    model: str = ""  # free text about the model that scored it

    def name(self, label: int) -> str:
        """The name of a label 1..K; its number if the file has no names."""
        return self.label_names[label - 1] if self.label_names else str(label)

    def metadata(self) -> dict[str, str]:
        """The header's entries in a file; all values are strings, as safetensors requires."""
        return {
            "format": FORMAT,
            "format_version": str(VERSION),
            "label_names": json.dumps(list(self.label_names), ensure_ascii=False),
            "model": self.model,
        }

    @classmethod
    def from_metadata(cls, given: Mapping[str, str]) -> PoolHeader:
        """The inverse of `metadata`.

        Raises DataError for another format, a newer version, or invalid label names.
        """
        if given.get("format") != FORMAT:
            raise DataError(
                f"metadata: expected format {FORMAT!r}, got {given.get('format')!r}; this is "
                "another kind of safetensors file. docs/pools.md has the layout."
            )
        version = given.get("format_version", "")
        if not (version.isascii() and version.isdigit() and int(version) >= 1):
            raise DataError(f"metadata: expected format_version {VERSION}, got {version!r}.")
        if int(version) > VERSION:
            raise DataError(
                f"metadata: expected format_version {VERSION} or older, got {version}; a newer "
                "taudis wrote it: update this one, or score the images again."
            )
        try:
            names = json.loads(given.get("label_names", "[]"))
        except ValueError:
            names = None
        return cls(_checked_names(names), given.get("model", ""))


def _checked_names(names: object) -> tuple[str, ...]:
    """Label names from JSON. Raises DataError for anything but a list of different strings."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError('metadata: expected label_names as JSON like ["cat", "dog"].')
    if len(set(names)) != len(names):
        raise DataError(f"metadata: expected different label_names, got {names}.")
    return tuple(names)


def check_layout(shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, str]) -> None:
    """Raise DataError for the first array that is missing, or has a wrong shape or dtype."""
    missing = [name for name in ARRAYS if name not in shapes]
    if missing:
        raise DataError(
            f"expected the arrays {', '.join(ARRAYS)}; missing: {', '.join(missing)}. "
            "Write them as docs/pools.md says, or score the images again."
        )
    for name, array in ARRAYS.items():
        if dtypes[name] not in array.accepted:
            raise DataError(
                f"{name}: expected dtype {' or '.join(array.accepted)}, got {dtypes[name]}; "
                "convert it before the file is written."
            )
    lengths: dict[str, tuple[int, str]] = {}
    for name, array in ARRAYS.items():
        _check_shape(name, array.axes, shapes[name], lengths)


def _check_shape(
    name: str,
    axes: tuple[int | str, ...],
    shape: tuple[int, ...],
    lengths: dict[str, tuple[int, str]],
) -> None:
    """Check an array of `check_layout`. lengths: axis -> (its length, the first array with it)."""
    wanted = f"[{', '.join(map(str, axes))}]"
    if len(shape) != len(axes):
        raise DataError(f"{name}: expected shape {wanted}, got {list(shape)}.")
    for axis, length in zip(axes, shape, strict=True):
        if isinstance(axis, int):
            if axis != length:
                raise DataError(f"{name}: expected shape {wanted}, got {list(shape)}.")
            continue
        known, source = lengths.setdefault(axis, (length, name))
        if known != length:
            raise DataError(
                f"{name}: expected shape {wanted} with {axis} = {known} as in {source}, "
                f"got {list(shape)}."
            )
    if axes[-1] == "K+1" and shape[-1] < 2:
        raise DataError(
            f"{name}: expected K+1 >= 2 columns (background and the labels), got {list(shape)}."
        )


def check_fits(name: str, array: Numbers, dtype: np.dtype[np.generic]) -> None:
    """Raise DataError if a number of the array is too large for the dtype; reads it in blocks."""
    if np.can_cast(array.dtype, dtype, "safe") or dtype.kind not in "if":
        return
    kind: Any = dtype.type
    most = np.finfo(kind).max if dtype.kind == "f" else np.iinfo(kind).max
    for start, rows in blocks(array):
        # NaN and infinity are not checked here.
        wrong = np.argwhere(np.isfinite(rows) & (np.abs(rows) > most))
        if len(wrong):
            first, *rest = wrong[0].tolist()
            value = rows[tuple(wrong[0])]
            raise DataError(
                f"{name}: expected numbers up to {most:.6g} ({dtype.name}), got {value:.6g} at "
                f"index {[start + first, *rest]}; scale them, or keep a wider dtype."
            )


def check_not_lost(name: str, array: Numbers, dtype: np.dtype[np.generic]) -> None:
    """Raise DataError if float16 would lose most digits of a whole row [D]; reads it in blocks.

    Numbers below float16's smallest normal number, 6.1e-5, lose digits; below 3e-8 they become 0. A
    few small numbers in a row hardly change its direction, so they are allowed.
    """
    if dtype != np.float16 or array.dtype == np.float16:
        return
    least = float(np.finfo(np.float16).smallest_normal)
    for start, rows in blocks(array):
        most = np.abs(rows).max(axis=1, initial=0)
        lost = np.flatnonzero((most > 0) & (most < least))
        if len(lost):
            row = int(lost[0])
            raise DataError(
                f"{name}: expected numbers of {least:.2g} or more in each row (float16 loses "
                f"smaller ones), got at most {most[row]:.3g} in row {start + row}; use float32 "
                '(embedding_dtype="float32"), or scale them.'
            )


def check_classes(
    class_probs: FloatArray, labels: IntArray, label_names: tuple[str, ...], *, start: int = 0
) -> None:
    """Raise DataError unless rows are distributions and labels are in 1..K.

    class_probs: [N,K+1], read in blocks. start: the number of its first row in messages.
    """
    if label_names and class_probs.shape[1] != len(label_names) + 1:
        raise DataError(
            f"class_probs: expected {len(label_names) + 1} columns, background and the "
            f"{len(label_names)} labels {list(label_names)}, got {class_probs.shape[1]}."
        )
    last = class_probs.shape[1] - 1
    outside = np.flatnonzero((labels < 1) | (labels > last))
    if len(outside):
        row = int(outside[0])
        raise DataError(
            f"labels: expected 1..{last} (0 is background), got {labels[row]} at {start + row}."
        )
    for first, rows in blocks(class_probs):
        wrong = np.flatnonzero(~_distributions(rows))
        if len(wrong):
            where = int(wrong[0])
            _raise_wrong_row(rows[where], start + first + where)


def _distributions(probs: FloatArray) -> npt.NDArray[np.bool_]:
    """Whether each row of [n,K+1] is in 0..1 and sums to 1, [n]."""
    inside = np.all((probs >= 0) & (probs <= 1), axis=1)
    with np.errstate(over="ignore", invalid="ignore"):  # infinity and NaN are not `inside`
        off = np.abs(probs.sum(axis=1, dtype=np.float64) - 1)
    good: npt.NDArray[np.bool_] = inside & (off <= SUM_TOLERANCE)
    return good


def _raise_wrong_row(row: FloatArray, place: int) -> None:
    """Raise the DataError for a row [K+1] that is not a distribution."""
    if not np.isfinite(row).all():
        column = int(np.flatnonzero(~np.isfinite(row))[0])
        raise DataError(
            f"class_probs: expected finite numbers, got NaN or infinity at index {[place, column]}."
        )
    raise DataError(
        "class_probs: expected rows of probabilities in 0..1 that sum to 1, got "
        f"{row.min():.4g}..{row.max():.4g} with sum {row.sum(dtype=np.float64):.4g} at row {place};"
        " apply softmax first, or to sigmoid scores of each label class_probs_of_sigmoids of"
        " taudis.detector.adapter."
    )

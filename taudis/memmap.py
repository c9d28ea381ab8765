"""Reads rows of matrices that are too large for memory, from memory-mapped files.

The pages that were read count as memory of the process as long as the mapping exists. So every read
makes a new mapping and closes it, and large reads are divided into steps of `WALK_BYTES`.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from taudis.errors import DataError

Matrix = npt.NDArray[np.floating[Any]]
FileIdentity = tuple[int, int, int, int]
"""Device, inode, bytes and time of the last change (ns) of a file."""

WALK_BYTES = 16_000_000  # bytes read through a single mapping

# By mapping, not by path: pools that were loaded before and after a file was replaced have the same
# path, but different identities.
_identities: WeakKeyDictionary[mmap.mmap, FileIdentity] = WeakKeyDictionary()


def identity_of(found: os.stat_result) -> FileIdentity:
    """The identity of a file, which differs from that of a file that replaces it later."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def map_file(
    path: Path,
    dtype: np.dtype[Any],
    offset: int,
    shape: tuple[int, ...],
    known: FileIdentity | None = None,
) -> npt.NDArray[Any]:
    """A read-only map of an array in C order from byte `offset` on; `take` maps it again.

    known: the identity that the file must have, now and in every later mapping; None: any file.
    Raises DataError (without the path) if the file has another identity, and OSError or ValueError
    if it cannot be mapped.
    """
    # A string, because numpy copies it to `filename`. Links are resolved now, because they may
    # point to another file later.
    with open(str(path.resolve()), "rb") as file:  # noqa: PTH123
        # Checked on the open file, because the file at the path can be replaced at any time.
        if known is not None and identity_of(os.fstat(file.fileno())) != known:
            raise DataError(
                "expected the file that was opened, it was replaced; load the pool again."
            )
        mapped: np.memmap[Any, Any] = np.memmap(file, dtype, "r", offset, shape)
    base: object = mapped.base
    if known is not None and isinstance(base, mmap.mmap):
        _identities[base] = known
    return mapped


def _own_mapping(array: Matrix) -> Matrix:
    """A new mapping of the array's file, if the array is a contiguous map; else the array.

    With a new mapping for each read, the memory of its pages is freed after the read. Raises
    DataError if the file is gone.
    """
    base: object = array.base
    if not (isinstance(array, np.memmap) and isinstance(base, mmap.mmap)):
        return array
    # Offset and shape do not describe an array in Fortran order or with strides.
    if not array.flags.c_contiguous or array.filename is None:
        return array
    path = Path(str(array.filename))
    try:
        return map_file(path, array.dtype, array.offset, array.shape, _identities.get(base))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: expected the file that was opened, found none; put it back, or load the pool "
            "again."
        ) from error


@dataclass(frozen=True, eq=False)
class JoinedRows:
    """Several matrices of the same width and dtype, usually in separate files, as one matrix.

    `take` and `blocks` read it like an array. Nothing is copied in advance.
    """

    parts: tuple[Matrix, ...]  # at least one

    @cached_property
    def starts(self) -> npt.NDArray[np.integer[Any]]:
        """The first row [P+1] of each part; the last entry is the number of rows."""
        return np.cumsum([0, *map(len, self.parts)])

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of all parts."""
        return self.parts[0].dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """[rows of all parts, width]."""
        return (len(self), *self.parts[0].shape[1:])

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.parts[0].ndim

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self.parts[0].itemsize

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, rows: Any) -> Any:
        """Rows in memory, by a slice or an index array; one row by its number."""
        if isinstance(rows, slice):
            return take(self, rows)
        index = np.asarray(rows)
        return take(self, index) if index.ndim else take(self, index[None])[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """All rows in memory."""
        return take(self, slice(None)).astype(dtype or self.dtype, copy=False)


def parts_of(matrix: Matrix | JoinedRows) -> tuple[Matrix, ...]:
    """The matrices of `JoinedRows`; for any other matrix, the matrix itself."""
    return matrix.parts if isinstance(matrix, JoinedRows) else (matrix,)


def _take_joined(joined: JoinedRows, rows: npt.NDArray[np.integer[Any]] | slice) -> Matrix:
    """`take` of joined rows: each part is read once."""
    if isinstance(rows, slice):
        rows = np.arange(*rows.indices(len(joined)))
    if len(rows) and (rows.min() < 0 or rows.max() >= len(joined)):
        wrong = rows.min() if rows.min() < 0 else rows.max()
        raise IndexError(f"expected rows 0..{len(joined) - 1}, got {wrong}.")
    found = np.empty((len(rows), *joined.shape[1:]), joined.dtype)
    part = np.searchsorted(joined.starts, rows, side="right") - 1
    order = np.argsort(part, kind="stable")
    cuts = np.searchsorted(part[order], np.arange(len(joined.parts) + 1))
    for number, (first, last) in enumerate(pairwise(cuts.tolist())):
        if last > first:
            places = order[first:last]
            found[places] = take(joined.parts[number], rows[places] - joined.starts[number])
    return found


def take(array: Matrix | JoinedRows, rows: npt.NDArray[np.integer[Any]] | slice) -> Matrix:
    """The given rows [n, ...] in the given order, in memory. A slice of an array may be a view.

    Rows of a memory-mapped array are read in the order of the file, which is faster on a disk. They
    must be in 0..len(array)-1, not negative. Raises IndexError for other rows, and DataError if the
    file of a pool was replaced.
    """
    if isinstance(array, JoinedRows):
        return _take_joined(array, rows)
    mapped = _own_mapping(array)
    if mapped is array:
        return array[rows]
    if isinstance(rows, slice):
        return np.array(mapped[rows])
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    if len(ordered) and (ordered[0] < 0 or ordered[-1] >= len(array)):
        wrong = ordered[0] if ordered[0] < 0 else ordered[-1]
        raise IndexError(f"expected rows 0..{len(array) - 1}, got {wrong}.")
    found = np.empty((len(rows), *array.shape[1:]), array.dtype)
    # A new mapping for each step: with a single one, scattered reads keep the whole file in memory.
    step = max(1, WALK_BYTES // max(1, array[:1].nbytes))
    cuts = np.searchsorted(ordered, np.arange(0, len(array) + step, step))
    for first, last in pairwise(cuts.tolist()):
        if last > first:
            found[order[first:last]] = _own_mapping(array)[ordered[first:last]]
    return found


def blocks(array: Matrix | JoinedRows) -> Iterator[tuple[int, Matrix]]:
    """(first row, rows) of the whole array in its order, `WALK_BYTES` at a time."""
    width = max(1, int(np.prod(array.shape[1:], dtype=np.int64)) * array.itemsize)
    step = max(1, WALK_BYTES // width)
    for start in range(0, len(array), step):
        yield start, take(array, slice(start, start + step))

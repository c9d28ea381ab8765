"""Rows of large matrices, also of memory-mapped files, in bounded memory."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.floating[Any]]

WALK_BYTES = 16_000_000  # of one step of a walk over a whole array


def _own_mapping(array: Matrix) -> Matrix:
    """The same file mapped anew, if the array is a whole file region; else the array.

    Pages that were read count as the process's memory until their mapping goes. With a mapping of
    its own, each read gives them back at once.
    """
    base: object = array.base
    if isinstance(array, np.memmap) and isinstance(base, mmap.mmap):
        name = str(array.filename)
        kind: np.dtype[Any] = array.dtype
        return np.memmap(name, kind, "r", array.offset, array.shape)
    return array


def take(array: Matrix, rows: npt.NDArray[np.integer[Any]] | slice) -> Matrix:
    """The given rows [n, ...] in the order given, in memory; a slice of an array may be a view.

    Rows of a memory-mapped array are read in the order of the file, since that is what disks like.
    """
    mapped = _own_mapping(array)
    if mapped is array:
        return array[rows]
    if isinstance(rows, slice):
        return np.array(mapped[rows])
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    found = np.empty((len(rows), *array.shape[1:]), array.dtype)
    # Through a mapping each, since one that is read here and there soon holds the whole file.
    step = max(1, WALK_BYTES // max(1, array[:1].nbytes))
    cuts = np.searchsorted(ordered, np.arange(0, len(array) + step, step))
    for first, last in pairwise(cuts.tolist()):
        if last > first:
            found[order[first:last]] = _own_mapping(array)[ordered[first:last]]
    return found


def blocks(array: Matrix) -> Iterator[tuple[int, Matrix]]:
    """(first row, rows) of the whole array in its order, `WALK_BYTES` at a time."""
    width = max(1, int(np.prod(array.shape[1:], dtype=np.int64)) * array.itemsize)
    step = max(1, WALK_BYTES // width)
    for start in range(0, len(array), step):
        yield start, take(array, slice(start, start + step))

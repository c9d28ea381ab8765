"""Algorithm 1 line 6: the edges between each candidate and the similar instances of the pool.

Two instances are similar if the cosine of their embeddings is at least sigma (`similarity_rows`).
The edges must be the same on every machine. But a BLAS matrix product adds the terms of a cosine in
an order that depends on the library and its threads, so its result varies by up to `ROUNDING`.
`MatrixProduct` therefore decides only the pairs whose product differs from sigma by more than
`ROUNDING`. For each remaining pair, `_decide_rest` computes a float32 dot product in a fixed order.

A `Shortcut` decides most pairs in less time than the matrix product, with the same edges.
`taudis.selection.fast` has two. `taudis.selection.graph` chooses sigma.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from taudis.errors import SelectionError
from taudis.selection.unit_vectors import UnitVectors, as_pair
from taudis.types import BoolArray, Float32, FloatArray, IntArray

BLOCK = 512  # rows and columns of a block; a product of this size fits the processor's cache
COLUMNS = 4096  # pool rows read at a time
ROUNDING = 2e-6  # largest error of a float32 matrix product of unit vectors
_PAIRS = 512  # pairs whose dot products are computed at a time

BitRows = npt.NDArray[np.uint8]
"""Edges [C, W], packed by `np.packbits`. Bit j of row i: candidate i is similar to instance j.

W is ceil(N/8) bytes, rounded up to whole 64-bit words. The bits beyond N are 0."""


class Bounds(Protocol):
    """Unit vectors [n,D] in a form that decides for most pairs whether the cosine reaches sigma."""

    def __getitem__(self, rows: slice) -> Self: ...

    def decide(self, columns: Self, sigma: float) -> tuple[BoolArray, IntArray]:
        """The edges to the columns [m,D]: (edges [n,m], undecided [p]).

        `undecided` holds positions in the flattened block. Everywhere else `edges` is certain. The
        caller may change both arrays. The next call may overwrite them.
        """


class Shortcut(Protocol):
    """A faster way than the matrix product to decide most pairs of one pool."""

    def bounds(self, units: Float32) -> Bounds:
        """The bounds of unit vectors [n,D], candidates or pool rows."""


@dataclass(frozen=True, eq=False)
class MatrixProduct:
    """The plain `Bounds`: a matrix product, certain where it is `ROUNDING` or more from sigma."""

    units: Float32  # [n,D]

    def __getitem__(self, rows: slice) -> MatrixProduct:
        return MatrixProduct(self.units[rows])

    def decide(self, columns: MatrixProduct, sigma: float) -> tuple[BoolArray, IntArray]:
        """See `Bounds`."""
        cosines = self.units @ columns.units.T
        edges = cosines >= np.float32(sigma - ROUNDING)
        certain = cosines >= np.float32(sigma + ROUNDING)
        return edges, np.flatnonzero(edges != certain)


# long: the signature and the docstring take half of it
def similarity_rows(
    candidates: FloatArray | UnitVectors,
    pool: FloatArray | UnitVectors,
    sigma: float,
    *,
    own: IntArray | None = None,
    shortcut: Shortcut | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> BitRows:
    """The edges of Algorithm 1 line 6: cosine(candidate, pool instance) >= sigma.

    candidates: [C,D] vectors of any length. pool: [N,D]. sigma: above 0, at most 1.
    own: [C] the pool row of each candidate itself, or -1 if the pool does not contain it; None: all
    -1. The edge to this row is always set. A zero vector has no other edge.
    shortcut: changes the time, not the result. progress: called with (pool rows done, pool rows).
    Returns bit rows [C, W]. Raises DataError for arrays that do not fit or contain NaN, and
    SelectionError for a sigma out of range.
    """
    candidates, pool = as_pair(candidates, pool, own)
    if not 0 < sigma <= 1:
        raise SelectionError(f"sigma: expected a cosine with 0 < sigma <= 1, got {sigma}.")
    edges = np.zeros((len(candidates), -(-len(pool) // 64) * 8), np.uint8)
    pairs = np.empty((2, _PAIRS, pool.width), np.float32)  # reused: allocation doubles the time
    units = candidates[:]
    bounds = shortcut.bounds if shortcut else MatrixProduct
    row_bounds: Bounds = bounds(units)
    for start in range(0, len(pool), COLUMNS):
        columns = pool[start : start + COLUMNS]
        column_bounds: Bounds = bounds(columns)
        for row in _blocks(len(units)):
            for column in _blocks(len(columns)):
                near, undecided = row_bounds[row].decide(column_bounds[column], sigma)
                _decide_rest(near, undecided, units[row], columns[column], sigma, pairs)
                packed = np.packbits(near, axis=1)
                left = (start + column.start) // 8
                edges[row, left : left + packed.shape[1]] = packed
        if progress:
            progress(start + len(columns), len(pool))
    if own is not None:
        inside = np.flatnonzero(own >= 0)
        edges[inside, own[inside] >> 3] |= (128 >> (own[inside] & 7)).astype(np.uint8)
    return edges


def _blocks(count: int) -> list[slice]:
    return [slice(start, start + BLOCK) for start in range(0, count, BLOCK)]


def _decide_rest(
    edges: BoolArray,
    undecided: IntArray,
    rows: Float32,
    columns: Float32,
    sigma: float,
    pairs: Float32,
) -> None:
    """Decide the undecided positions [p] of a block [n,m] by dot products in a fixed order.

    pairs: [2,_PAIRS,D] memory for the vectors of some pairs.
    """
    row, column = np.divmod(undecided, edges.shape[1])
    cosines = np.empty(len(undecided), np.float32)
    for start in range(0, len(undecided), _PAIRS):
        some = slice(start, min(start + _PAIRS, len(undecided)))
        one, other = pairs[:, : some.stop - start]
        rows.take(row[some], 0, one, "clip")  # the default mode would make one more copy
        columns.take(column[some], 0, other, "clip")
        np.vecdot(one, other, out=cosines[some])
    np.put(edges, undecided, cosines >= np.float32(sigma))

"""Algorithm 1 line 6: which instances of the pool each candidate is similar to.

Two instances are similar if the cosine of their embeddings is at least sigma: `similarity_rows`.
The cosine is the float32 dot product of two vectors of length 1, whose terms are added in one fixed
order (the last lines of this file).

A matrix product computes all cosines of a block at once, but adds their terms in an order that
depends on the BLAS library and its threads. It differs from the dot product by less than
`ROUNDING`. So `MatrixProduct` decides the pairs whose product is farther than `ROUNDING` from
sigma. For every other pair, `similarity_rows` computes the dot product. Thus the edges depend on
the embeddings alone. A `Shortcut` (`taudis.selection.fast` has two) decides most pairs in less time
than the matrix product; the edges are the same with and without it. `taudis.selection.graph`
chooses sigma.
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

BLOCK = 512  # rows and columns of a block: its product stays in the processor's cache
COLUMNS = 4096  # pool rows that are read at a time
ROUNDING = 2e-6  # a float32 matrix product of unit vectors is off by less
_PAIRS = 512  # whose dot products are computed at a time

BitRows = npt.NDArray[np.uint8]
"""Edges [C, W] as `np.packbits` packs them: bit j of row i is the edge of candidate i and instance
j. W is ceil(N/8), rounded up to whole 64-bit words; the bits beyond N are 0."""


class Bounds(Protocol):
    """Unit vectors [n,D] in a form from which most cosines can be compared with sigma."""

    def __getitem__(self, rows: slice) -> Self: ...

    def decide(self, columns: Self, sigma: float) -> tuple[BoolArray, IntArray]:
        """Which pairs with the columns [m,D] are edges: (edges [n,m], undecided [p]).

        `undecided` are places in the flattened block. Everywhere else True is certainly an edge and
        False certainly none. The caller may change both arrays; the next call may reuse them.
        """


class Shortcut(Protocol):
    """Bounds that decide most pairs of one pool for less than the matrix product."""

    def bounds(self, units: Float32) -> Bounds:
        """The bounds of unit vectors [n,D], candidates or pool rows."""


@dataclass(frozen=True, eq=False)
class MatrixProduct:
    """The plain `Bounds`: the whole product, which is certain beyond its rounding."""

    units: Float32  # [n,D]

    def __getitem__(self, rows: slice) -> MatrixProduct:
        return MatrixProduct(self.units[rows])

    def decide(self, columns: MatrixProduct, sigma: float) -> tuple[BoolArray, IntArray]:
        """See `Bounds`."""
        cosines = self.units @ columns.units.T
        edges = cosines >= np.float32(sigma - ROUNDING)
        certain = cosines >= np.float32(sigma + ROUNDING)
        return edges, np.flatnonzero(edges != certain)


# long: seven lines of arguments and what each means
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

    candidates: [C,D] embeddings of any length. pool: [N,D]. sigma: above 0, at most 1.
    own: [C] the pool column of each candidate, an edge whatever the embedding, or -1 for a
    candidate that is not in the pool; None if none is. A zero vector has no other edge.
    shortcut: saves time, changes nothing. progress: called with (columns done, of how many).
    Returns bit rows [C, W]. Raises DataError for arrays that do not fit or hold NaN, and
    SelectionError for a sigma out of range.
    """
    candidates, pool = as_pair(candidates, pool, own)
    if not 0 < sigma <= 1:
        raise SelectionError(f"sigma: expected a cosine with 0 < sigma <= 1, got {sigma}.")
    edges = np.zeros((len(candidates), -(-len(pool) // 64) * 8), np.uint8)
    pairs = np.empty((2, _PAIRS, pool.width), np.float32)  # new memory would cost as much again
    units = candidates[:]
    bounds = shortcut.bounds if shortcut else MatrixProduct
    row_bounds: Bounds = bounds(units)
    for start in range(0, len(pool), COLUMNS):
        columns = pool[start : start + COLUMNS]
        column_bounds: Bounds = bounds(columns)
        for row in _blocks(len(units)):
            for column in _blocks(len(columns)):
                near, undecided = row_bounds[row].decide(column_bounds[column], sigma)
                _settle(near, undecided, units[row], columns[column], sigma, pairs)
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


def _settle(
    edges: BoolArray,
    undecided: IntArray,
    rows: Float32,
    columns: Float32,
    sigma: float,
    pairs: Float32,
) -> None:
    """Decide the undecided places [p] of a block [n,m] by dot products in a fixed order."""
    row, column = np.divmod(undecided, edges.shape[1])
    cosines = np.empty(len(undecided), np.float32)
    for start in range(0, len(undecided), _PAIRS):
        some = slice(start, min(start + _PAIRS, len(undecided)))
        one, other = pairs[:, : some.stop - start]
        rows.take(row[some], 0, one, "clip")  # "clip", since the default mode copies once more
        columns.take(column[some], 0, other, "clip")
        np.vecdot(one, other, out=cosines[some])
    np.put(edges, undecided, cosines >= np.float32(sigma))

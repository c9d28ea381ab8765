"""Edges for less than the product: most pairs are decided by a few directions of their vectors.

Write unit vectors in an orthonormal basis whose first d directions hold most of the pool's energy:
a = (p, x), b = (q, y), with p and q of d numbers. Then a.b = p.q + x.y, and by Cauchy-Schwarz
|x.y| <= |x| |y|, where |x| = sqrt(1 - |p|^2) needs no rotation of the rest. So

    p.q + |x| |y| <  sigma   no edge
    p.q - |x| |y| >= sigma   an edge

and only pairs between the bounds need their whole product. The upper bound of a block is itself one
product, of d + 1 columns: the length of the rest is the last one. Embeddings of trained networks
have such a spectrum; where it is flat, `find_prefix` says so and the plain product is cheaper.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from taudis.instances import BoolArray, IntArray
from taudis.units import Float32

DIMENSIONS = (8, 12, 16, 24, 32, 48, 64)
LEAST_WIDTH = 96  # below it the plain product costs little more than the bounds
LEAST_PAIRS = 16_000_000  # below it looking for a basis costs more than it saves
_ROUNDING = 2e-6  # of float32 products of unit vectors, and of a squared length
_DENSE = 0.04  # share of a block above which its lower bound is a product, too
_UNDECIDED = 0.04  # share of a block above which its whole product is cheaper
_PER_DIMENSION = 119  # undecided pairs, per cent of a block, cost as much as so many dimensions
_CHUNK = 4096  # undecided pairs whose vectors are gathered at a time
_FIXED = 20  # dimensions' worth of comparing and packing
_MANY = 64  # directions among which the energy is spread: no prefix of DIMENSIONS holds it
_PACKED_ROWS = 128  # compared, then packed
_WORTH = 0.75  # of the plain product's cost: what an estimate must promise


class Scratch:
    """Memory of one block's product and comparison, used again and again.

    A fresh block of 8 MB comes from the system with every page to be filled with zeros first, which
    costs a tenth of the product.
    """

    def __init__(self, rows: int, columns: int) -> None:
        self._product = np.empty(rows * columns, np.float32)
        self._flags = np.empty(rows * columns, bool)

    def product(self, rows: Float32, columns: Float32) -> Float32:
        """Rows [n,D] x columns [m,D] transposed, [n,m]; good until the next call."""
        shape = len(rows), len(columns)
        out = self._product[: shape[0] * shape[1]].reshape(shape)
        return np.matmul(rows, columns.T, out=out)

    def values(self, places: IntArray) -> Float32:
        """Elements of the last product by their place in it, [p]."""
        return self._product[places]

    def pack_at_least(
        self, rows: Float32, columns: Float32, threshold: float, out: npt.NDArray[np.uint8]
    ) -> None:
        """Where the product reaches the threshold, as bits in `out` [n, ceil(m/8)].

        Some rows at a time, so that what is compared is still in the cache when it is packed.
        """
        product = self.product(rows, columns)
        flags = self._flags[: _PACKED_ROWS * product.shape[1]].reshape(-1, product.shape[1])
        for top in range(0, len(product), _PACKED_ROWS):
            some = product[top : top + _PACKED_ROWS]
            near = np.greater_equal(some, np.float32(threshold), out=flags[: len(some)])
            out[top : top + _PACKED_ROWS] = np.packbits(near, axis=1)

    def at_least(self, rows: Float32, columns: Float32, threshold: float) -> BoolArray:
        """Where the product reaches the threshold, bool [n,m]; good until the next call."""
        product = self.product(rows, columns)
        flags = self._flags[: product.size].reshape(product.shape)
        return np.greater_equal(product, np.float32(threshold), out=flags)


@dataclass(frozen=True, eq=False)
class Bounds:
    """Unit rows as the bounds see them."""

    units: Float32  # [n,D]
    prefix: Float32  # [n,d+1], the last column is the length of the rest

    def __getitem__(self, rows: slice) -> Bounds:
        return Bounds(self.units[rows], self.prefix[rows])

    @property
    def rest(self) -> Float32:
        """Length of what the prefix leaves out, [n]."""
        return self.prefix[:, -1]


@dataclass(frozen=True, eq=False)
class Prefix:
    """An orthonormal basis of the d directions that hold most of a pool's energy."""

    basis: Float32  # [D,d]

    def bounds(self, units: Float32) -> Bounds:
        """Unit rows [n,D] with their first d coordinates and the length of the rest."""
        prefix = np.empty((len(units), self.basis.shape[1] + 1), np.float32)
        np.matmul(units, self.basis, out=prefix[:, :-1])
        held = np.einsum("nd,nd->n", prefix[:, :-1], prefix[:, :-1])
        # Rounding of a squared length is added, so that the rest is never too short.
        prefix[:, -1] = np.sqrt(np.maximum(1 - held, 0) + _ROUNDING)
        return Bounds(units, prefix)


def edges_between(
    rows: Bounds, columns: Bounds, sigma: float, scratch: Scratch | None = None
) -> BoolArray:
    """Whether cosine >= sigma, [n,m], as exactly as the whole product in float32.

    The result lies in `scratch`: good until its next use.
    """
    scratch = scratch or Scratch(len(rows.units), len(columns.units))
    low, high = sigma - _ROUNDING, np.float32(sigma + _ROUNDING)
    edges = scratch.at_least(rows.prefix, columns.prefix, low)
    if np.count_nonzero(edges) > _DENSE * edges.size:
        lower = columns.prefix * np.array([1] * (columns.prefix.shape[1] - 1) + [-1], np.float32)
        places = np.flatnonzero(edges & (rows.prefix @ lower.T < high))
        row, column = _row_and_column(places, edges.shape[1])
    else:
        places = np.flatnonzero(edges)
        row, column = _row_and_column(places, edges.shape[1])
        upper = scratch.values(places)
        undecided = upper - 2 * rows.rest[row] * columns.rest[column] < high
        places, row, column = places[undecided], row[undecided], column[undecided]
    if len(places) > _UNDECIDED * edges.size:
        return scratch.at_least(rows.units, columns.units, sigma)
    flat = edges.ravel()
    for start in range(0, len(places), _CHUNK):
        some = slice(start, start + _CHUNK)
        cosines = np.einsum("nd,nd->n", rows.units[row[some]], columns.units[column[some]])
        flat[places[some]] = cosines >= np.float32(sigma)
    return edges


def _row_and_column(places: IntArray, width: int) -> tuple[IntArray, IntArray]:
    """Where the places [p] of a flattened matrix are; shifts where they do, ten times as fast."""
    if width & (width - 1):
        return np.divmod(places, width)
    return places >> (width.bit_length() - 1), places & (width - 1)


def undecided_share(rows: Bounds, columns: Bounds, sigma: float) -> float:
    """Share of the pairs that the bounds do not decide, 0..1."""
    product = rows.prefix[:, :-1] @ columns.prefix[:, :-1].T
    slack = np.outer(rows.rest, columns.rest) + np.float32(_ROUNDING)
    return float(np.mean(np.abs(product - np.float32(sigma)) <= slack)) if product.size else 0.0


def find_prefix(rows: Float32, columns: Float32, sigma: float) -> Prefix | None:
    """The prefix whose bounds cost least on samples of both sides [n,D], [m,D] of unit rows.

    None where the whole product is about as cheap: narrow or flat embeddings. The costs that are
    weighed are times of one core (benchmarks/selection.py), in dimensions of the whole product.
    """
    width = columns.shape[1]
    if width < LEAST_WIDTH or not len(rows) or not len(columns):
        return None
    moments = (columns.T @ columns).astype(np.float64)
    directions = np.trace(moments) ** 2 / np.square(moments).sum()  # 1 to D: how many there are
    if directions > _MANY:
        return None
    basis = np.linalg.eigh(moments)[1][:, ::-1].astype(np.float32)
    best, least = None, _WORTH * width
    for count in reversed(DIMENSIONS):
        prefix = Prefix(np.ascontiguousarray(basis[:, :count]))
        share = undecided_share(prefix.bounds(rows), prefix.bounds(columns), sigma)
        doubt = _FIXED + 100 * share * _PER_DIMENSION
        if doubt > least:  # fewer dimensions leave more undecided
            break
        if count + doubt < least:
            best, least = prefix, count + doubt
    return best

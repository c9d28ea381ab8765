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
BOUND_COLUMNS = 512  # of a block whose bounds are computed: they stay in the processor's cache
_ROUNDING = 2e-6  # of float32 products of unit vectors, and of a squared length
_DENSE = 0.04  # share of a block above which its lower bound is a product, too
_UNDECIDED = 0.06  # share of a block above which its whole product is cheaper
_CHUNK = 512  # undecided pairs whose vectors are gathered at a time: they stay in the cache, too
_MANY = 64  # directions among which the energy is spread: no prefix of DIMENSIONS holds it
_PACKED_ROWS = 128  # compared, then packed
# Costs, in dimensions of the plain product (benchmarks/selection.py):
_PER_PRODUCT = 14  # of the bounds, beside its own dimensions: writing and comparing
_PER_BLOCK = 20  # of finding what is undecided, and packing
_PER_UNDECIDED = 40  # per cent of the pairs whose vectors are gathered
_WORTH = 0.75  # of the plain product's cost: what an estimate must promise


class Scratch:
    """Memory of one block's product and comparison, used again and again.

    A fresh block of 8 MB comes from the system with every page to be filled with zeros first, which
    costs a tenth of the product.
    """

    def __init__(self, rows: int, columns: int) -> None:
        self._product = np.empty(rows * columns, np.float32)
        self._flags = np.empty((2, rows * columns), bool)
        self._gathered = np.empty((2, 0, 0), np.float32)

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
        flags = self._flags[0, : _PACKED_ROWS * product.shape[1]].reshape(-1, product.shape[1])
        for top in range(0, len(product), _PACKED_ROWS):
            some = product[top : top + _PACKED_ROWS]
            near = np.greater_equal(some, np.float32(threshold), out=flags[: len(some)])
            out[top : top + _PACKED_ROWS] = np.packbits(near, axis=1)

    def at_least(self, rows: Float32, columns: Float32, threshold: float) -> BoolArray:
        """Where the product reaches the threshold, bool [n,m]; good until the next call."""
        product = self.product(rows, columns)
        flags = self._flags[0, : product.size].reshape(product.shape)
        return np.greater_equal(product, np.float32(threshold), out=flags)

    def below(self, rows: Float32, columns: Float32, threshold: float) -> BoolArray:
        """Where the product stays below the threshold, like `at_least` but in memory of its own."""
        product = self.product(rows, columns)
        flags = self._flags[1, : product.size].reshape(product.shape)
        return np.less(product, np.float32(threshold), out=flags)

    def dots(self, rows: Float32, row: IntArray, columns: Float32, column: IntArray) -> Float32:
        """rows[row[i]] . columns[column[i]], [p]."""
        dots = np.empty(len(row), np.float32)
        if self._gathered.shape[2] != rows.shape[1]:
            self._gathered = np.empty((2, _CHUNK, rows.shape[1]), np.float32)
        for start in range(0, len(row), _CHUNK):
            some = slice(start, min(start + _CHUNK, len(row)))
            one, other = self._gathered[:, : some.stop - start]
            rows.take(row[some], 0, one, "clip")
            columns.take(column[some], 0, other, "clip")
            np.vecdot(one, other, out=dots[some])
        return dots


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
        below = scratch.below(rows.prefix, lower, high)
        places = np.flatnonzero(np.logical_and(edges, below, out=below))
        row, column = _row_and_column(places, edges.shape[1])
    else:
        places = np.flatnonzero(edges)
        row, column = _row_and_column(places, edges.shape[1])
        upper = scratch.values(places)
        undecided = upper - 2 * rows.rest[row] * columns.rest[column] < high
        places, row, column = places[undecided], row[undecided], column[undecided]
    if len(places) > _UNDECIDED * edges.size:
        return scratch.at_least(rows.units, columns.units, sigma)
    dots = scratch.dots(rows.units, row, columns.units, column)
    edges.ravel()[places] = dots >= np.float32(sigma)
    return edges


def _row_and_column(places: IntArray, width: int) -> tuple[IntArray, IntArray]:
    """Where the places [p] of a flattened matrix are; shifts where they do, ten times as fast."""
    if width & (width - 1):
        return np.divmod(places, width)
    return places >> (width.bit_length() - 1), places & (width - 1)


def undecided_share(rows: Bounds, columns: Bounds, sigma: float) -> float:
    """Share of the pairs that the bounds do not decide, 0..1."""
    return _shares(rows, columns, sigma)[1]


def _shares(rows: Bounds, columns: Bounds, sigma: float) -> tuple[float, float]:
    """Shares of the pairs, 0..1, whose upper bound reaches sigma, and of those left undecided."""
    product = rows.prefix[:, :-1] @ columns.prefix[:, :-1].T
    if not product.size:
        return 0.0, 0.0
    slack = np.outer(rows.rest, columns.rest) + np.float32(_ROUNDING)
    missing = np.float32(sigma) - product
    return float(np.mean(missing <= slack)), float(np.mean(np.abs(missing) <= slack))


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
        reached, share = _shares(prefix.bounds(rows), prefix.bounds(columns), sigma)
        doubt = 100 * share * _PER_UNDECIDED
        if doubt > least:  # fewer dimensions leave more undecided
            break
        products = 2 if reached > _DENSE else 1
        cost = products * (count + _PER_PRODUCT) + doubt + _PER_BLOCK
        if cost < least:
            best, least = prefix, cost
    return best

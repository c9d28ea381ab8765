"""One block of cosines: which reach sigma, in memory that is used again.

An edge is the float32 dot product of two unit vectors that reaches sigma. Products of matrices, and
bounds of all kinds, add the same numbers in another order, so pairs that they put within rounding
of sigma are multiplied out one by one: whatever the way, the edges are the same, bit for bit.

Fresh blocks of 8 MB come from the system with every page to be filled with zeros first; fresh
memory for gathered vectors costs eight times the gathering.
"""

from __future__ import annotations

from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from taudis.selection.units import Float32
from taudis.types import BoolArray, IntArray

BLOCK_ROWS, BLOCK_COLUMNS = 512, 4096
BOUND_COLUMNS = 512  # of a block whose bounds are computed: they stay in the processor's cache
LEAST_WIDTH = 96  # below it the plain product costs little more than any bounds
ROUNDING = 2e-6  # of float32 products of unit vectors, and of a squared length
UNDECIDED = 0.06  # share of a block above which its whole product is cheaper
_CHUNK = 512  # undecided pairs whose vectors are gathered at a time: they stay in the cache, too
_PACKED_ROWS = 128  # compared, then packed

# Costs of bounds on one core (benchmarks/selection.py), in dimensions of the plain product:
PER_BLOCK = 20  # finding what is undecided, and packing
PER_UNDECIDED = 0.16  # times the width, per cent of the pairs whose vectors are gathered
WORTH = 0.75  # of the plain product's cost: what an estimate must promise


class Bounds(Protocol):
    """Unit rows in a form that bounds their cosines from both sides."""

    @property
    def units(self) -> Float32:
        """The rows themselves, [n,D]."""

    def __getitem__(self, rows: slice) -> Self: ...

    def edges(self, columns: Self, sigma: float, scratch: Scratch) -> BoolArray:
        """Whether cosine >= sigma, [n,m].

        The result lies in `scratch`: good until its next use.
        """


class Shortcut(Protocol):
    """A way to bound the cosines of a pool, chosen on samples of it."""

    @property
    def cost(self) -> float:
        """Estimated, in dimensions of the plain product."""

    def bounds(self, units: Float32) -> Bounds:
        """Unit rows [n,D] as this way sees them."""


class Scratch:
    """Memory of one block's product and comparisons, used again and again."""

    def __init__(self, rows: int, columns: int) -> None:
        self._product = np.empty(rows * columns, np.float32)
        self._flags = np.empty((2, rows * columns), bool)
        self._gathered = np.empty((2, 0, 0), np.float32)

    def product(self, rows: Float32, columns: Float32) -> Float32:
        """Rows [n,D] x columns [m,D] transposed, [n,m]; good until the next call."""
        shape = len(rows), len(columns)
        return np.matmul(rows, columns.T, out=self._product[: shape[0] * shape[1]].reshape(shape))

    def whole_numbers(self, shape: tuple[int, int]) -> npt.NDArray[np.int32]:
        """Memory of a product [n,m] of whole numbers: that of `product`."""
        return self._product[: shape[0] * shape[1]].view(np.int32).reshape(shape)

    def flags(self, which: int, shape: tuple[int, ...]) -> BoolArray:
        """Memory of the first (0) or second (1) comparison of a block [n,m]."""
        return self._flags[which, : shape[0] * shape[1]].reshape(shape)

    def values(self, places: IntArray) -> Float32:
        """Elements of the last product by their place in it, [p]."""
        return self._product[places]

    def at_least(self, rows: Float32, columns: Float32, threshold: float) -> BoolArray:
        """Where the product reaches the threshold, bool [n,m], in the first flags."""
        product = self.product(rows, columns)
        return np.greater_equal(product, np.float32(threshold), out=self.flags(0, product.shape))

    def below(self, rows: Float32, columns: Float32, threshold: float) -> BoolArray:
        """Where the product stays below the threshold, bool [n,m], in the second flags."""
        product = self.product(rows, columns)
        return np.less(product, np.float32(threshold), out=self.flags(1, product.shape))

    def edges(self, rows: Float32, columns: Float32, sigma: float) -> BoolArray:
        """Whether cosine >= sigma, [n,m], by the whole product; in the first flags."""
        product = self.product(rows, columns)
        return self._decided(product, rows, columns, sigma)

    def pack(
        self, rows: Float32, columns: Float32, sigma: float, out: npt.NDArray[np.uint8]
    ) -> None:
        """The same as bits in `out` [n, ceil(m/8)].

        Some rows at a time, so that what is compared is still in the cache when it is packed.
        """
        product = self.product(rows, columns)
        for top in range(0, len(product), _PACKED_ROWS):
            some = slice(top, top + _PACKED_ROWS)
            near = self._decided(product[some], rows[some], columns, sigma)
            out[some] = np.packbits(near, axis=1)

    def _decided(
        self, product: Float32, rows: Float32, columns: Float32, sigma: float
    ) -> BoolArray:
        low, high = np.float32(sigma - ROUNDING), np.float32(sigma + ROUNDING)
        edges = np.greater_equal(product, low, out=self.flags(0, product.shape))
        sure = np.greater_equal(product, high, out=self.flags(1, product.shape))
        places = np.flatnonzero(np.not_equal(edges, sure, out=sure))
        return self.settle(edges, places, rows, columns, sigma)

    def decide(
        self, edges: BoolArray, places: IntArray, rows: Float32, columns: Float32, sigma: float
    ) -> BoolArray:
        """The edges of a block [n,m] of which bounds left the pairs at `places` [p] undecided."""
        if len(places) > UNDECIDED * edges.size:
            return self.edges(rows, columns, sigma)
        return self.settle(edges, places, rows, columns, sigma)

    def settle(
        self, edges: BoolArray, places: IntArray, rows: Float32, columns: Float32, sigma: float
    ) -> BoolArray:
        """The edges of a block [n,m] once the pairs at `places` [p] are multiplied out."""
        if len(places):
            dots = self.dots(rows, columns, *row_and_column(places, edges.shape[1]))
            edges.ravel()[places] = dots >= np.float32(sigma)
        return edges

    def dots(self, rows: Float32, columns: Float32, row: IntArray, column: IntArray) -> Float32:
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


def row_and_column(places: IntArray, width: int) -> tuple[IntArray, IntArray]:
    """Where the places [p] of a flattened matrix are; shifts where they do, ten times as fast."""
    if width & (width - 1):
        return np.divmod(places, width)
    return places >> (width.bit_length() - 1), places & (width - 1)


def cost_of_doubt(undecided: float, width: int) -> float:
    """What a share of undecided pairs, 0..1, costs in dimensions of the plain product."""
    return 100 * undecided * PER_UNDECIDED * width

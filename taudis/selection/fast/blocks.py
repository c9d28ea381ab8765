"""What the shortcuts share: memory of one block, and the costs by which one of them is chosen.

A cost is the CPU time on one core, in units of one dimension of the plain matrix product: the
product of vectors of width D costs D. The costs are a fixed table; benchmarks/selection.py measured
them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from taudis.selection.similarity import BLOCK, MatrixProduct
from taudis.types import BoolArray, Float32, IntArray

LEAST_WIDTH = 96  # below it the matrix product costs little more than any bounds
SLACK = 2e-6  # rounding of a float32 product of unit vectors, and of a squared length
TOO_MANY = 0.06  # share of undecided pairs from which on the whole product is cheaper

PER_BLOCK = 20  # finding the undecided pairs, packing the edges
PER_UNDECIDED = 16  # times the share of undecided pairs, times D: gathering their vectors
WORTH = 0.75  # share of the plain cost that an estimate must stay below


def cost_of_undecided(share: float, width: int) -> float:
    """Cost of the dot products of a share of the pairs, 0..1, of vectors of the width D."""
    return PER_UNDECIDED * share * width


class Scratch:
    """Memory of one block, used for each block again.

    New memory would be filled with zeros by the system first, which takes longer than its use.
    """

    def __init__(self) -> None:
        self._product = np.empty(BLOCK * BLOCK, np.float32)
        self._flags = np.empty((2, BLOCK * BLOCK), bool)

    def product(self, rows: Float32, columns: Float32) -> Float32:
        """Rows [n,D] x columns [m,D] transposed, [n,m]."""
        shape = len(rows), len(columns)
        return np.matmul(rows, columns.T, out=self._product[: shape[0] * shape[1]].reshape(shape))

    def integers(self, shape: tuple[int, int]) -> npt.NDArray[np.int32]:
        """Memory of a product [n,m] of whole numbers, the same as that of `product`."""
        return self._product[: shape[0] * shape[1]].view(np.int32).reshape(shape)

    def values(self, places: IntArray) -> Float32:
        """Elements [p] of the last product by their places in it."""
        return self._product[places]

    def flags(self, which: int, shape: tuple[int, ...]) -> BoolArray:
        """Memory of the first (0) or second (1) comparison of a block [n,m]."""
        return self._flags[which, : shape[0] * shape[1]].reshape(shape)


def multiplied_if_cheaper(
    edges: BoolArray, undecided: IntArray, rows: Float32, columns: Float32, sigma: float
) -> tuple[BoolArray, IntArray]:
    """A decision about a block, or that of the matrix product if many pairs are undecided."""
    if len(undecided) > TOO_MANY * edges.size:
        return MatrixProduct(rows).decide(MatrixProduct(columns), sigma)
    return edges, undecided


def row_and_column(places: IntArray, width: int) -> tuple[IntArray, IntArray]:
    """Rows and columns [p] of places in a flattened matrix of this width."""
    if width & (width - 1):
        return np.divmod(places, width)
    return places >> (width.bit_length() - 1), places & (width - 1)  # a tenth of the time

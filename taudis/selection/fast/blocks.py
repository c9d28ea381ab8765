"""Shared by the shortcuts: the memory of a block, and the costs that `choice` compares.

A cost is CPU time on one core per pair of vectors. Its unit is one dimension of the plain matrix
product, so the product of vectors of width D costs D. benchmarks/selection.py measured the costs.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from taudis.selection.similarity import BLOCK, MatrixProduct
from taudis.types import BoolArray, Float32, IntArray

LEAST_WIDTH = 96  # for smaller D, the matrix product costs little more than the bounds
SLACK = 2e-6  # largest rounding error of a float32 product or squared length of unit vectors
TOO_MANY = 0.06  # with a larger share of undecided pairs, the matrix product is cheaper

PER_BLOCK = 20  # cost of finding the undecided pairs and packing the edges
PER_UNDECIDED = 16  # cost per dimension of an undecided pair: gathering its vectors
WORTH = 0.75  # a shortcut is used if its cost is below this share of the matrix product's


def cost_of_undecided(share: float, width: int) -> float:
    """Cost of computing dot products for a share of the pairs, 0..1. width: D."""
    return PER_UNDECIDED * share * width


class Scratch:
    """Memory for the arrays of one block, reused for every block.

    The operating system fills newly allocated memory with zeros, which takes longer than its use.
    """

    def __init__(self) -> None:
        self._product = np.empty(BLOCK * BLOCK, np.float32)
        self._flags = np.empty((2, BLOCK * BLOCK), bool)

    def product(self, rows: Float32, columns: Float32) -> Float32:
        """Rows [n,D] x columns [m,D] transposed, [n,m]."""
        shape = len(rows), len(columns)
        return np.matmul(rows, columns.T, out=self._product[: shape[0] * shape[1]].reshape(shape))

    def integers(self, shape: tuple[int, int]) -> npt.NDArray[np.int32]:
        """Memory for an integer product [n,m]; the same memory as that of `product`."""
        return self._product[: shape[0] * shape[1]].view(np.int32).reshape(shape)

    def values(self, places: IntArray) -> Float32:
        """Elements [p] of the last product, by their positions in the flattened product."""
        return self._product[places]

    def flags(self, which: int, shape: tuple[int, ...]) -> BoolArray:
        """Memory for a bool array [n,m]; `which` is 0 or 1, for two different arrays."""
        return self._flags[which, : shape[0] * shape[1]].reshape(shape)


def multiplied_if_cheaper(
    edges: BoolArray, undecided: IntArray, rows: Float32, columns: Float32, sigma: float
) -> tuple[BoolArray, IntArray]:
    """The given decision of a block, or that of `MatrixProduct` if many pairs are undecided."""
    if len(undecided) > TOO_MANY * edges.size:
        return MatrixProduct(rows).decide(MatrixProduct(columns), sigma)
    return edges, undecided


def row_and_column(places: IntArray, width: int) -> tuple[IntArray, IntArray]:
    """Rows and columns [p] of positions in a flattened matrix of this width."""
    if width & (width - 1):
        return np.divmod(places, width)
    # For a power of two: a tenth of the time of divmod.
    return places >> (width.bit_length() - 1), places & (width - 1)

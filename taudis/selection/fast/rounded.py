"""A shortcut for processors that multiply 8-bit integers several times as fast as float32.

Write unit vectors as a = s q + e and b = s r + f, where q and r are integer vectors and all vectors
share the step s. By the triangle inequality and Cauchy-Schwarz

    |a.b - s^2 q.r| <= |e| |b| + |s q| |f| <= |e| + (1 + |e|) |f|

A pair is undecided only if s^2 q.r differs from sigma by less than this bound. |e| and |f| are
computed from the vectors, so they include elements that were clipped to 8 bits. Unlike
`taudis.selection.fast.prefix`, this works for embeddings that spread over many directions. But few
cosines may be within the error of sigma; the error is 0.02 at D = 256.

numpy has no fast integer product. The caller has to pass one (`IntegerProduct`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from taudis.selection.fast.blocks import (
    LEAST_WIDTH,
    PER_BLOCK,
    SLACK,
    WORTH,
    Scratch,
    cost_of_undecided,
    multiplied_if_cheaper,
    row_and_column,
)
from taudis.types import BoolArray, Float32, IntArray, IntegerProduct

LEVELS = 127  # the largest integer
PRODUCT = 0.25  # cost of an integer product relative to a float32 product, with AVX-512 VNNI
_ROOM = 1.1  # elements up to this times a sample's largest element are not clipped
_ROWS = 1024  # rows rounded at a time, to limit memory
_PER_PRODUCT = 20  # cost of writing one product and of comparing it twice


@dataclass(frozen=True, eq=False)
class RoundedBounds:
    """Unit vectors rounded to integer multiples of the step."""

    units: Float32  # [n,D]
    numbers: npt.NDArray[np.int8]  # [n,D]
    error: Float32  # [n] length of units - step * numbers
    rounding: Rounding

    def __getitem__(self, rows: slice) -> RoundedBounds:
        return RoundedBounds(self.units[rows], self.numbers[rows], self.error[rows], self.rounding)

    def decide(self, columns: RoundedBounds, sigma: float) -> tuple[BoolArray, IntArray]:
        """See `taudis.selection.similarity.Bounds`."""
        scratch, square = self.rounding.scratch, self.rounding.step**2
        product = scratch.integers((len(self.units), len(columns.units)))
        self.rounding.multiply(self.numbers, columns.numbers, product)
        # First with the largest error of the block, which needs only integer comparisons.
        slack = _slack(self.error.max(), columns.error.max())
        low, high = (math.ceil((sigma + way * slack) / square) for way in (-1, 1))
        edges = np.greater_equal(product, np.int32(low), out=scratch.flags(0, product.shape))
        sure = np.greater_equal(product, np.int32(high), out=scratch.flags(1, product.shape))
        places = np.flatnonzero(np.not_equal(edges, sure, out=sure))
        # Then with the error of each remaining pair, which is mostly smaller.
        row, column = row_and_column(places, edges.shape[1])
        beyond = product.ravel()[places] * square - sigma
        own = _slack(self.error[row], columns.error[column])
        edges.ravel()[places] = beyond >= own
        undecided = places[np.abs(beyond) < own]
        return multiplied_if_cheaper(edges, undecided, self.units, columns.units, sigma)


def _slack(one: Any, other: Any) -> Any:
    """The largest difference of s^2 q.r and the cosine; one: |e|, other: |f|."""
    return one + (1 + one) * other + SLACK


@dataclass(frozen=True, eq=False)
class Rounding:
    """The shortcut: the step s and the integer product."""

    step: float
    multiply: IntegerProduct
    cost: float = 0.0  # estimated, see `taudis.selection.fast.blocks`
    scratch: Scratch = field(default_factory=Scratch)

    def bounds(self, units: Float32) -> RoundedBounds:
        """See `taudis.selection.similarity.Shortcut`."""
        whole = np.empty(units.shape, np.int8)
        error = np.empty(len(units), np.float32)
        for start in range(0, len(units), _ROWS):
            some = slice(start, start + _ROWS)
            numbers = units[some] * np.float32(1 / self.step)
            np.rint(numbers, out=numbers)
            np.clip(numbers, -LEVELS, LEVELS, out=numbers)
            whole[some] = numbers
            numbers *= -np.float32(self.step)
            numbers += units[some]
            error[some] = np.sqrt(np.einsum("nd,nd->n", numbers, numbers))
        return RoundedBounds(units, whole, error, self)


def find_rounding(
    rows: Float32, columns: Float32, sigma: float, multiply: IntegerProduct
) -> Rounding | None:
    """The `Rounding` for unit vectors, from sampled candidates [n,D] and pool [m,D].

    None if the matrix product is about as cheap: for narrow embeddings, or if the cosines of many
    pairs are near sigma.
    """
    width = columns.shape[1]
    if width < LEAST_WIDTH or not len(rows) or not len(columns):
        return None
    peak = max(float(np.abs(rows).max()), float(np.abs(columns).max()))
    if not peak:
        return None
    rounding = Rounding(_ROOM * peak / LEVELS, multiply)
    slack = _slack(*(rounding.bounds(side).error.mean() for side in (rows, columns)))
    undecided = float(np.mean(np.abs(rows @ columns.T - np.float32(sigma)) <= slack))
    cost = PRODUCT * width + _PER_PRODUCT + PER_BLOCK + cost_of_undecided(undecided, width)
    return replace(rounding, cost=cost) if cost < WORTH * width else None

"""Edges for a third of the product: most pairs are decided by vectors rounded to whole numbers.

Processors multiply 8-bit whole numbers four times as fast as float32 numbers, and without rounding.
Write unit vectors as a = s q + e, q whole, s a step that all share. Then by Cauchy-Schwarz

    |a.b - s^2 q.r| <= |e| |b| + |s q| |f| <= |e| + (1 + |e|) |f|      for b = s r + f

and only pairs as near to sigma as that need their whole product. The lengths of e and f are
computed from the vectors, whatever the step cuts off. Unlike a prefix
(`taudis.selection.fast.prefix`) this needs no spectrum, but cosines that spread more than the
error, about 0.02 at D = 256.

numpy has no such product; PyTorch has. It is used where the process has loaded PyTorch anyway, as
a worker that trains has: loading it for this alone would take seconds and hundreds of megabytes.
"""

from __future__ import annotations

import math
import sys
import timeit
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from taudis.selection.fast.blocks import (
    BLOCK_ROWS,
    LEAST_WIDTH,
    PER_BLOCK,
    ROUNDING,
    WORTH,
    Scratch,
    cost_of_doubt,
    row_and_column,
)
from taudis.selection.units import Float32
from taudis.types import BoolArray

LEVELS = 127  # the largest whole number
_INSTRUCTIONS = ("avx512_vnni", "avx_vnni", "amx_int8")
_ROOM = 1.1  # of a sample's largest element: larger ones are cut off
_ROWS = 1024  # rounded at a time
_PER_PRODUCT = 20  # dimensions of the plain product: writing, and comparing twice

Int8 = npt.NDArray[np.int8]
Product = Callable[[Int8, Int8, npt.NDArray[np.int32]], None]
"""Of rows [n,D] and columns [m,D] transposed, into int32 [n,m]."""


def whole_number_product() -> Product | None:
    """The product of whole numbers by the PyTorch that is loaded.

    None without it, on a processor that is not made for it, and where it overflows, as PyTorch's
    does if it is told to leave the processor's instructions unused.
    """
    torch = sys.modules.get("torch")
    known: dict[str, Any] = getattr(getattr(torch, "cpu", None), "get_capabilities", dict)()
    if torch is None or not any(known.get(name) for name in _INSTRUCTIONS):
        return None
    if not hasattr(torch, "_int_mm"):
        return None

    def product(rows: Int8, columns: Int8, out: npt.NDArray[np.int32]) -> None:
        one, other = torch.from_numpy(rows), torch.from_numpy(columns)
        torch._int_mm(one, other.T, out=torch.from_numpy(out))

    largest = np.full((32, 256), LEVELS, np.int8)
    found = np.empty((32, 32), np.int32)
    product(largest, -largest, found)
    return product if (found == -256 * LEVELS**2).all() else None


@dataclass(frozen=True, eq=False)
class RoundedBounds:
    """Unit rows as whole numbers of steps, and how far off those are."""

    units: Float32  # [n,D]
    numbers: Int8  # [n,D]
    error: Float32  # [n] length of units - step * numbers
    rounding: Rounding

    def __getitem__(self, rows: slice) -> RoundedBounds:
        return replace(
            self, units=self.units[rows], numbers=self.numbers[rows], error=self.error[rows]
        )

    def edges(self, columns: RoundedBounds, sigma: float, scratch: Scratch) -> BoolArray:
        """See `taudis.selection.fast.blocks.Bounds`."""
        product = scratch.whole_numbers((len(self.units), len(columns.units)))
        self.rounding.multiply(self.numbers, columns.numbers, product)
        slack = _slack(self.error.max(), columns.error.max())
        square = self.rounding.step**2
        low, high = (math.ceil((sigma + way * slack) / square) for way in (-1, 1))
        edges = np.greater_equal(product, np.int32(low), out=scratch.flags(0, product.shape))
        sure = np.greater_equal(product, np.int32(high), out=scratch.flags(1, product.shape))
        places = np.flatnonzero(np.not_equal(edges, sure, out=sure))
        # Errors of the block's worst vectors were added so far; most have smaller ones.
        row, column = row_and_column(places, edges.shape[1])
        beyond = product.ravel()[places] * square - sigma
        own = _slack(self.error[row], columns.error[column])
        edges.ravel()[places] = beyond >= own
        places = places[np.abs(beyond) < own]
        return scratch.decide(edges, places, self.units, columns.units, sigma)


def _slack(one: Any, other: Any) -> Any:
    """The most that s^2 q.r differs from the cosine, for errors of these lengths."""
    return one + (1 + one) * other + ROUNDING


@dataclass(frozen=True)
class Rounding:
    """A step that makes whole numbers of unit vectors' elements."""

    step: float
    multiply: Product
    cost: float = 0.0

    def bounds(self, units: Float32) -> RoundedBounds:
        """Unit rows [n,D] in steps; elements beyond 127 of them are cut off, and count as error."""
        whole = np.empty(units.shape, np.int8)
        error = np.empty(len(units), np.float32)
        for start in range(0, len(units), _ROWS):  # candidates may be many
            some = slice(start, start + _ROWS)
            numbers = units[some] * np.float32(1 / self.step)
            np.rint(numbers, out=numbers)
            np.clip(numbers, -LEVELS, LEVELS, out=numbers)
            whole[some] = numbers
            numbers *= -np.float32(self.step)
            numbers += units[some]
            error[some] = np.sqrt(np.einsum("nd,nd->n", numbers, numbers))
        return RoundedBounds(units, whole, error, self)


def find_rounding(rows: Float32, columns: Float32, sigma: float) -> Rounding | None:
    """The step that fits samples of both sides [n,D], [m,D] of unit rows.

    None where the whole product is about as cheap (too many cosines are near sigma), or where
    nothing multiplies whole numbers fast.
    """
    width = columns.shape[1]
    if width < LEAST_WIDTH or not len(rows) or not len(columns):
        return None
    multiply = whole_number_product()
    if multiply is None:
        return None
    peak = max(float(np.abs(rows).max()), float(np.abs(columns).max()))
    if not peak:
        return None
    rounding = Rounding(_ROOM * peak / LEVELS, multiply)
    slack = _slack(*(rounding.bounds(side).error.mean() for side in (rows, columns)))
    undecided = float(np.mean(np.abs(rows @ columns.T - np.float32(sigma)) <= slack))
    product = _time_over_plain(multiply, width)
    cost = product * width + _PER_PRODUCT + PER_BLOCK + cost_of_doubt(undecided, width)
    return replace(rounding, cost=cost) if cost < WORTH * width else None


def _time_over_plain(multiply: Product, width: int) -> float:
    """The time of a product of whole numbers over that of float32, here and now.

    PyTorch and numpy may run on different numbers of threads, and PyTorch may be told to do without
    its fast products. The edges do not depend on what is measured.
    """
    plain = np.ones((BLOCK_ROWS, width), np.float32)
    whole, out = plain.astype(np.int8), np.empty((BLOCK_ROWS, BLOCK_ROWS), np.int32)
    fast, slow = (
        min(timeit.repeat(work, number=1, repeat=3))
        for work in (lambda: multiply(whole, whole, out), lambda: plain @ plain.T)
    )
    return fast / slow

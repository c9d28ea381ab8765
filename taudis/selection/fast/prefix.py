"""A shortcut for embeddings that lie mostly in few directions, as those of trained networks do.

Write unit vectors in an orthonormal basis whose first d directions hold most of the pool's energy
(sum of squares): a = (p, x) and b = (q, y), where p and q have d elements. Then a.b = p.q + x.y. By
Cauchy-Schwarz |x.y| <= |x| |y|. As |x| = sqrt(1 - |p|^2), x itself is not needed. Therefore

    p.q + |x| |y| <  sigma   no edge
    p.q - |x| |y| >= sigma   an edge

All other pairs are undecided. A single matrix product with d + 1 columns gives the upper bounds of
a block: the columns are the elements of p (or q) and |x| (or |y|).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

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
from taudis.types import BoolArray, Float32, IntArray

DIMENSIONS = (8, 12, 16, 24, 32, 48, 64)  # values of d to choose from
_DENSE = 0.04  # with a larger share of possible edges, the lower bounds too come from a product
_MANY = 64  # with more effective directions, no d in DIMENSIONS holds enough of the energy
_PER_PRODUCT = 14  # cost of writing and comparing one product


@dataclass(frozen=True, eq=False)
class PrefixBounds:
    """Unit vectors and their first d coordinates in the basis."""

    units: Float32  # [n,D]
    prefix: Float32  # [n,d+1]; the last column is `rest`
    scratch: Scratch

    def __getitem__(self, rows: slice) -> PrefixBounds:
        return PrefixBounds(self.units[rows], self.prefix[rows], self.scratch)

    @property
    def rest(self) -> Float32:
        """|x|, the length [n] of the part outside of the d directions."""
        return self.prefix[:, -1]

    def decide(self, columns: PrefixBounds, sigma: float) -> tuple[BoolArray, IntArray]:
        """See `taudis.selection.similarity.Bounds`."""
        low, high = np.float32(sigma - SLACK), np.float32(sigma + SLACK)
        upper = self.scratch.product(self.prefix, columns.prefix)
        edges = np.greater_equal(upper, low, out=self.scratch.flags(0, upper.shape))
        if np.count_nonzero(edges) > _DENSE * edges.size:
            sign = np.array([1] * (columns.prefix.shape[1] - 1) + [-1], np.float32)
            lower = self.scratch.product(self.prefix, columns.prefix * sign)
            below = np.less(lower, high, out=self.scratch.flags(1, lower.shape))
            undecided = np.flatnonzero(np.logical_and(edges, below, out=below))
        else:
            undecided = np.flatnonzero(edges)
            row, column = row_and_column(undecided, edges.shape[1])
            lower = self.scratch.values(undecided) - 2 * self.rest[row] * columns.rest[column]
            undecided = undecided[lower < high]
        return multiplied_if_cheaper(edges, undecided, self.units, columns.units, sigma)


@dataclass(frozen=True, eq=False)
class Prefix:
    """The shortcut: an orthonormal basis of the d directions that hold most of a pool's energy."""

    basis: Float32  # [D,d]
    cost: float = 0.0  # estimated, see `taudis.selection.fast.blocks`
    scratch: Scratch = field(default_factory=Scratch)

    def bounds(self, units: Float32) -> PrefixBounds:
        """See `taudis.selection.similarity.Shortcut`."""
        prefix = np.empty((len(units), self.basis.shape[1] + 1), np.float32)
        np.matmul(units, self.basis, out=prefix[:, :-1])
        held = np.einsum("nd,nd->n", prefix[:, :-1], prefix[:, :-1])
        # SLACK covers the rounding error of `held`, so that the length is never too small.
        prefix[:, -1] = np.sqrt(np.maximum(1 - held, 0) + SLACK)
        return PrefixBounds(units, prefix, self.scratch)


def find_prefix(rows: Float32, columns: Float32, sigma: float) -> Prefix | None:
    """The cheapest `Prefix`, estimated on unit vectors: sampled candidates [n,D] and pool [m,D].

    None if the matrix product is about as cheap: for narrow embeddings or a flat spectrum.
    """
    width = columns.shape[1]
    if width < LEAST_WIDTH or not len(rows) or not len(columns):
        return None
    moments = (columns.T @ columns).astype(np.float64)
    directions = np.trace(moments) ** 2 / np.square(moments).sum()  # effective number, 1..D
    if directions > _MANY:
        return None
    basis = np.linalg.eigh(moments)[1][:, ::-1].astype(np.float32)
    best, least = None, WORTH * width
    for count in reversed(DIMENSIONS):
        prefix = Prefix(np.ascontiguousarray(basis[:, :count]))
        possible, undecided = shares(prefix.bounds(rows), prefix.bounds(columns), sigma)
        exact = cost_of_undecided(undecided, width)
        if exact > least:  # a smaller d leaves even more pairs undecided
            break
        products = 2 if possible > _DENSE else 1
        cost = products * (count + _PER_PRODUCT) + exact + PER_BLOCK
        if cost < least:
            best, least = replace(prefix, cost=cost), cost
    return best


def shares(rows: PrefixBounds, columns: PrefixBounds, sigma: float) -> tuple[float, float]:
    """Shares of the pairs, 0..1: (upper bound reaches sigma, bounds leave the pair undecided)."""
    product = rows.prefix[:, :-1] @ columns.prefix[:, :-1].T
    if not product.size:
        return 0.0, 0.0
    slack = np.outer(rows.rest, columns.rest) + np.float32(SLACK)
    missing = np.float32(sigma) - product
    return float(np.mean(missing <= slack)), float(np.mean(np.abs(missing) <= slack))

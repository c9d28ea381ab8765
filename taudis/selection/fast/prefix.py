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

from dataclasses import dataclass, replace

import numpy as np

from taudis.selection.fast.blocks import (
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

DIMENSIONS = (8, 12, 16, 24, 32, 48, 64)
_DENSE = 0.04  # share of a block above which its lower bound is a product, too
_MANY = 64  # directions among which the energy is spread: no prefix of DIMENSIONS holds it
_PER_PRODUCT = 14  # beside its own dimensions, in those of the plain one: writing and comparing


@dataclass(frozen=True, eq=False)
class PrefixBounds:
    """Unit rows as a prefix sees them."""

    units: Float32  # [n,D]
    prefix: Float32  # [n,d+1], the last column is the length of the rest

    def __getitem__(self, rows: slice) -> PrefixBounds:
        return PrefixBounds(self.units[rows], self.prefix[rows])

    @property
    def rest(self) -> Float32:
        """Length of what the prefix leaves out, [n]."""
        return self.prefix[:, -1]

    def edges(self, columns: PrefixBounds, sigma: float, scratch: Scratch) -> BoolArray:
        """See `taudis.selection.fast.blocks.Bounds`."""
        low, high = sigma - ROUNDING, sigma + ROUNDING
        edges = scratch.at_least(self.prefix, columns.prefix, low)
        if np.count_nonzero(edges) > _DENSE * edges.size:
            sign = np.array([1] * (columns.prefix.shape[1] - 1) + [-1], np.float32)
            below = scratch.below(self.prefix, columns.prefix * sign, high)
            places = np.flatnonzero(np.logical_and(edges, below, out=below))
        else:
            places = np.flatnonzero(edges)
            row, column = row_and_column(places, edges.shape[1])
            lower = scratch.values(places) - 2 * self.rest[row] * columns.rest[column]
            places = places[lower < np.float32(high)]
        return scratch.decide(edges, places, self.units, columns.units, sigma)


@dataclass(frozen=True, eq=False)
class Prefix:
    """An orthonormal basis of the d directions that hold most of a pool's energy."""

    basis: Float32  # [D,d]
    cost: float = 0.0

    def bounds(self, units: Float32) -> PrefixBounds:
        """Unit rows [n,D] with their first d coordinates and the length of the rest."""
        prefix = np.empty((len(units), self.basis.shape[1] + 1), np.float32)
        np.matmul(units, self.basis, out=prefix[:, :-1])
        held = np.einsum("nd,nd->n", prefix[:, :-1], prefix[:, :-1])
        # Rounding of a squared length is added, so that the rest is never too short.
        prefix[:, -1] = np.sqrt(np.maximum(1 - held, 0) + ROUNDING)
        return PrefixBounds(units, prefix)


def undecided_share(rows: PrefixBounds, columns: PrefixBounds, sigma: float) -> float:
    """Share of the pairs that the bounds do not decide, 0..1."""
    return _shares(rows, columns, sigma)[1]


def _shares(rows: PrefixBounds, columns: PrefixBounds, sigma: float) -> tuple[float, float]:
    """Shares of the pairs, 0..1, whose upper bound reaches sigma, and of those left undecided."""
    product = rows.prefix[:, :-1] @ columns.prefix[:, :-1].T
    if not product.size:
        return 0.0, 0.0
    slack = np.outer(rows.rest, columns.rest) + np.float32(ROUNDING)
    missing = np.float32(sigma) - product
    return float(np.mean(missing <= slack)), float(np.mean(np.abs(missing) <= slack))


def find_prefix(rows: Float32, columns: Float32, sigma: float) -> Prefix | None:
    """The prefix whose bounds cost least on samples of both sides [n,D], [m,D] of unit rows.

    None where the whole product is about as cheap: narrow or flat embeddings.
    """
    width = columns.shape[1]
    if width < LEAST_WIDTH or not len(rows) or not len(columns):
        return None
    moments = (columns.T @ columns).astype(np.float64)
    directions = np.trace(moments) ** 2 / np.square(moments).sum()  # 1 to D: how many there are
    if directions > _MANY:
        return None
    basis = np.linalg.eigh(moments)[1][:, ::-1].astype(np.float32)
    best, least = None, WORTH * width
    for count in reversed(DIMENSIONS):
        prefix = Prefix(np.ascontiguousarray(basis[:, :count]))
        reached, share = _shares(prefix.bounds(rows), prefix.bounds(columns), sigma)
        doubt = cost_of_doubt(share, width)
        if doubt > least:  # fewer dimensions leave more undecided
            break
        products = 2 if reached > _DENSE else 1
        cost = products * (count + _PER_PRODUCT) + doubt + PER_BLOCK
        if cost < least:
            best, least = replace(prefix, cost=cost), cost
    return best

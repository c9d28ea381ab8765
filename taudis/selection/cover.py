"""Algorithm 1 line 7: the k candidates that together cover the most instances.

A candidate covers the instances that it has edges to. Its gain is the number of instances that it
covers and no earlier pick does. Greedy picks the candidate with the largest gain, k times
(`_greedy`). It covers at least 1 - 1/e of what the best k candidates cover.
`taudis.selection.largest_gain` finds each pick without recounting every candidate.

The cover may be complete before k candidates are picked. The paper does not say how to pick the
rest; `Remainder` has three ways. With "layers", a new cover of all instances starts, and a pick of
layer n has the weight 2^-n in the vote.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from taudis.errors import DataError, SelectionError
from taudis.selection.largest_gain import Candidates, LargestGain, Words, as_words
from taudis.selection.largest_ratio import LargestRatio
from taudis.selection.similarity import BitRows
from taudis.types import BoolArray, FloatArray, IntArray

Remainder = Literal["layers", "uncertainty", "none"]
"""How candidates are picked after everything that can be covered is covered."""

LAST_LAYER = 30  # later layers are not run: votes of 2^-31 and less would not matter

Pick = tuple[int, int]
"""(row of a candidate, its gain)."""


@dataclass(frozen=True, eq=False)
class Cover:
    """The chosen candidates in pick order.

    `coverable` and `curve` count pool instances. `saturation_pick` is the number of picks that
    cover everything coverable; None if k picks do not.
    """

    picks: IntArray  # [k'] int64, rows of candidates; k' <= k
    gains: IntArray  # [k'] int64, newly covered instances, counted within the layer of the pick
    layers: IntArray  # [k'] int64; 0: the first cover, 1 and more: the remainder
    weights: FloatArray  # [k'] votes of a pick: 2^-layer under "layers", else 1
    coverable: int  # instances that all candidates together cover
    saturation_pick: int | None

    def scaled(self, factor: float) -> Cover:
        """The cover with its counts times `factor`: estimates for the pool from a sample of it."""
        if factor == 1:
            return self
        gains = scaled_counts(self.gains, self.layers, factor)
        return replace(self, gains=gains, coverable=round(self.coverable * factor))

    @property
    def curve(self) -> IntArray:
        """Covered instances after each pick of the first layer, [k0] int64."""
        curve: IntArray = np.cumsum(self.gains[self.layers == 0])
        return curve

    @property
    def covered(self) -> int:
        """Instances that the first layer covers."""
        return int(self.gains[self.layers == 0].sum())


def scaled_counts(counts: IntArray, layers: IntArray, factor: float) -> IntArray:
    """Counts [k] times `factor`, as integers.

    The cumulative sums of each layer are rounded, not the counts, so that the counts of a layer add
    up to its rounded total.
    """
    scaled = np.zeros(len(counts), np.int64)
    for layer in np.unique(layers).tolist():
        own = layers == layer
        sums = np.rint(np.cumsum(counts[own]) * factor).astype(np.int64)
        scaled[own] = np.diff(sums, prepend=0)
    return scaled


# long: the signature and the docstring take half of it
def greedy_cover(
    rows: BitRows,
    k: int,
    *,
    priority: IntArray | None = None,
    remainder: Remainder = "layers",
    sizes: IntArray | None = None,
    costs: FloatArray | None = None,
) -> Cover:
    """Choose up to k candidates by greedy maximum cover (Algorithm 1 line 7).

    rows: [C, W] edges. k: at least 0; more than C means C.
    priority: [C] distinct integers; of equal gains the smaller wins (None: the row number).
    remainder: what follows after the cover is complete. `layers`: a new cover by the candidates
    that are left, in which each pick has half the vote of a pick of the layer before.
    `uncertainty`: the candidates that are left, in the order of `priority`. `none`: no more picks.
    sizes: [C] edges of each candidate, if known (`row_sizes`).
    costs: [C] above 0. With costs, the largest gain / cost is picked instead of the largest gain.
    Raises DataError for arrays, and SelectionError for k or remainder, that do not fit.
    """
    order = _checked_priority(rows, k, priority, remainder)
    words = as_words(rows)
    reach: Words = np.bitwise_or.reduce(words, axis=0)
    sizes = row_sizes(rows) if sizes is None else sizes
    search = _search(words, sizes, order, costs)
    left = np.ones(len(rows), bool)
    layers = [_greedy(search(left), words, reach, k)]
    picked = len(layers[0])
    left[[row for row, _ in layers[0]]] = False
    if remainder == "uncertainty":
        rest = np.flatnonzero(left)
        rest = rest[np.argsort(order[rest])][: k - picked]
        layers.append([(row, 0) for row in rest.tolist()])
    elif remainder == "layers":
        while layers[-1] and picked < k and len(layers) <= LAST_LAYER:
            layers.append(_greedy(search(left), words, reach, k - picked))
            picked += len(layers[-1])
            left[[row for row, _ in layers[-1]]] = False
    coverable = int(np.bitwise_count(reach).sum(dtype=np.int64))
    return _assemble(layers, coverable, halving=remainder == "layers")


Search = LargestGain | LargestRatio


def _search(
    words: Words, sizes: IntArray, order: IntArray, costs: FloatArray | None
) -> Callable[[BoolArray], Search]:
    """A function that starts a search among the candidates in a mask [C].

    Raises DataError for wrong costs.
    """
    if costs is None:
        return Candidates(words, sizes, order).search
    if costs.shape != (len(words),) or not (np.isfinite(costs) & (costs > 0)).all():
        raise DataError(f"costs: expected {len(words)} finite numbers above 0, one a row.")
    return functools.partial(LargestRatio, words, sizes, order, costs)


def _greedy(search: Search, words: Words, reach: Words, k: int) -> list[Pick]:
    """Cover the instances `reach` [W], of which none is covered, by up to k picks of gain >= 1.

    words: [C, W] edges of all candidates. search: finds the next pick among those still allowed.
    """
    picks: list[Pick] = []
    uncovered = reach.copy()
    left = int(np.bitwise_count(uncovered).sum(dtype=np.int64))
    while left and len(picks) < k:
        row, gain = search.largest(uncovered)
        if not gain:
            break
        picks.append((row, gain))
        uncovered &= ~words[row]
        left -= gain
    return picks


def _checked_priority(
    rows: BitRows, k: int, priority: IntArray | None, remainder: Remainder
) -> IntArray:
    """The priority as an array. Raises DataError or SelectionError for wrong arguments."""
    if rows.ndim != 2 or rows.dtype != np.uint8:
        raise DataError(f"rows: expected uint8 [C, W], got {rows.dtype} {list(rows.shape)}.")
    if k < 0:
        raise SelectionError(f"k: expected a number of picks from 0 on, got {k}.")
    if remainder not in get_args(Remainder):
        raise SelectionError(
            f"remainder: expected one of {', '.join(get_args(Remainder))}, got {remainder!r}."
        )
    order = np.arange(len(rows)) if priority is None else priority
    if order.shape != (len(rows),) or len(np.unique(order)) != len(rows):
        raise DataError(f"priority: expected {len(rows)} distinct integers, one a row.")
    return order


def _assemble(layers: list[list[Pick]], coverable: int, *, halving: bool) -> Cover:
    """The picks of all layers as arrays."""
    numbers = np.repeat(np.arange(len(layers)), [len(layer) for layer in layers])
    flat = np.array([pick for layer in layers for pick in layer], np.int64).reshape(-1, 2)
    complete = bool(layers[0]) and sum(gain for _, gain in layers[0]) == coverable
    return Cover(
        picks=flat[:, 0],
        gains=flat[:, 1],
        layers=numbers.astype(np.int64),
        weights=0.5**numbers if halving else np.ones(len(flat)),
        coverable=coverable,
        saturation_pick=len(layers[0]) if complete else None,
    )


def row_sizes(rows: BitRows) -> IntArray:
    """Number of edges of each candidate, [C] int64."""
    sizes = np.zeros(len(rows), np.int64)
    step = 512  # rows at a time, since `bitwise_count` gives one byte for each word of each row
    for start in range(0, len(rows), step):
        words = as_words(rows[start : start + step])
        sizes[start : start + step] = np.bitwise_count(words).sum(axis=1, dtype=np.uint32)
    return sizes

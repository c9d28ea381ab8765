"""Algorithm 1 line 7: greedy maximum k-set cover on bit rows, exact.

Each candidate's row is the set of pool instances it covers; k rows shall cover as much as they can.
Greedy takes the row with the largest gain again and again, which covers at least 1 - 1/e of what
the best k rows would. The gain of a row only ever falls as more is covered, so a gain computed
earlier is an upper bound: when the row on top of the heap has a gain that is up to date, no other
row can beat it, and the lazy order equals that of evaluating every row in every step.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from taudis.errors import DataError, SelectionError
from taudis.instances import FloatArray, IntArray
from taudis.similarity import BitRows

Remainder = Literal["layers", "uncertainty", "none"]
"""Where the picks come from once everything that can be covered is covered."""

LAST_LAYER = 30  # a vote of 2^-31 could no longer matter; more layers are not run
_BLOCK_ROWS = 512

Words = npt.NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Cover:
    """The chosen rows in pick order.

    `coverable` and `curve` count pool instances. `saturation_pick` is the number of picks after
    which all that the candidates reach was covered; None when k picks did not get there.
    """

    picks: IntArray  # [k'] int64, row of the candidates; k' <= k
    gains: IntArray  # [k'] int64, newly covered instances, within the pick's own layer
    layers: IntArray  # [k'] int64, 0 = the cover itself; from 1 on = the remainder
    weights: FloatArray  # [k'] votes of a pick: 2^-layer, or 1 under `uncertainty`
    coverable: int  # instances that the rows together reach
    saturation_pick: int | None

    @property
    def curve(self) -> IntArray:
        """[k0] int64, covered instances after each pick of the first layer."""
        curve: IntArray = np.cumsum(self.gains[self.layers == 0])
        return curve

    @property
    def covered(self) -> int:
        """Instances that the first layer covers."""
        return int(self.gains[self.layers == 0].sum())


def greedy_cover(
    rows: BitRows, k: int, *, priority: IntArray | None = None, remainder: Remainder = "layers"
) -> Cover:
    """Choose up to k rows by greedy maximum cover (Algorithm 1 line 7).

    rows: [C, W] bit rows. k: at least 0; more than C means C.
    priority: [C] distinct integers, the smaller wins when gains are equal (None: the row number).
    remainder: what follows once the cover is complete, which the paper leaves open:
    `layers` starts a new cover on the candidates that are left, each layer's picks with half the
    vote of the one before; `uncertainty` takes the rest in the order of `priority`; `none` stops.
    Raises DataError for arrays and SelectionError for k or remainder that do not fit.
    """
    order = _check(rows, k, priority, remainder)
    words = _words(rows)
    sizes = _sizes(words)
    reach: Words = np.bitwise_or.reduce(words, axis=0)
    coverable = int(np.bitwise_count(reach).sum(dtype=np.int64))
    left = np.ones(len(words), bool)
    layers = [_one_cover(words, sizes, reach, order, left, k)]
    if remainder == "layers":
        while len(layers) <= LAST_LAYER and layers[-1] and sum(map(len, layers)) < k:
            picked = sum(map(len, layers))
            layers.append(_one_cover(words, sizes, reach, order, left, k - picked))
    elif remainder == "uncertainty":
        rest = np.flatnonzero(left)
        rest = rest[np.argsort(order[rest])][: k - len(layers[0])]
        layers.append([(row, 0) for row in rest.tolist()])
    return _assemble(layers, coverable, halving=remainder == "layers")


def _check(rows: BitRows, k: int, priority: IntArray | None, remainder: Remainder) -> IntArray:
    """The priority as an array. Raises DataError or SelectionError for what does not fit."""
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


def _words(rows: BitRows) -> Words:
    """The rows as 64-bit words [C, ceil(W/8)]; a view if W is a multiple of 8, else a copy."""
    spare = -rows.shape[1] % 8
    whole = np.pad(rows, ((0, 0), (0, spare))) if spare else np.ascontiguousarray(rows)
    return whole.view(np.uint64)


def _sizes(words: Words) -> IntArray:
    """Set bits of each row, [C] int64; computed once, since every layer starts from them."""
    sizes = np.zeros(len(words), np.int64)
    for top in range(0, len(words), _BLOCK_ROWS):
        block = slice(top, top + _BLOCK_ROWS)
        sizes[block] = np.bitwise_count(words[block]).sum(axis=1, dtype=np.int64)
    return sizes


def _one_cover(
    words: Words,
    sizes: IntArray,
    reach: Words,
    priority: IntArray,
    left: npt.NDArray[np.bool_],
    k: int,
) -> list[tuple[int, int]]:
    """Cover from nothing with the rows still `left`: (row, gain) of each pick, gains above 0.

    Marks the picks in `left` as taken.
    """
    rest = np.flatnonzero(left & (sizes > 0))
    free = reach.copy()  # once nothing of it is left, no row need be looked at again
    # (bound, tie, row, age)
    heap = [(-int(sizes[row]), int(priority[row]), row, 0) for row in rest.tolist()]
    heapq.heapify(heap)
    picks: list[tuple[int, int]] = []
    while heap and len(picks) < k:
        bound, tie, row, age = heap[0]
        if age == len(picks):  # computed after the last pick: exact
            heapq.heappop(heap)
            picks.append((row, -bound))
            left[row] = False
            free &= ~words[row]
            if not free.any():
                break
            continue
        gain = int(np.bitwise_count(words[row] & free).sum(dtype=np.int64))
        if gain:
            heapq.heapreplace(heap, (-gain, tie, row, len(picks)))
        else:  # it can never gain again in this layer
            heapq.heappop(heap)
    return picks


def _assemble(layers: list[list[tuple[int, int]]], coverable: int, *, halving: bool) -> Cover:
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

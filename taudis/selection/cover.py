"""Algorithm 1 line 7: greedy maximum k-set cover on bit rows, exact.

Each candidate's row is the set of pool instances it covers; k rows shall cover as much as they can.
Greedy takes the row with the largest gain again and again, which covers at least 1 - 1/e of what
the best k rows would. The gain of a row only ever falls as more is covered, so a gain computed
earlier is an upper bound: when the first row of the highest bound has a gain that is up to date, no
other row can beat it, and the lazy order equals that of evaluating every row in every step. Rows of
one bound stand in one list. They are evaluated in batches, since a call costs as much as some rows:
the batch doubles until a gain that is up to date has the lead, and a pick shrinks it again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from heapq import heappop, heappush
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from taudis.errors import DataError, SelectionError
from taudis.selection.seeding import seeded_hash
from taudis.selection.similarity import BitRows, row_sizes
from taudis.types import FloatArray, IntArray

Remainder = Literal["layers", "uncertainty", "none"]
"""Where the picks come from once everything that can be covered is covered."""

LAST_LAYER = 30  # a vote of 2^-31 could no longer matter; more layers are not run
_BATCH, _BATCH_BYTES = 128, 400_000  # rows whose gains are computed in one call, within the cache

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

    def scaled(self, factor: float) -> Cover:
        """The cover with its counts times `factor`: of a sample of columns, estimates of all.

        Sums are rounded, not their parts, so that gains add up to the estimate of the whole.
        """
        if factor == 1:
            return self
        gains = scaled_counts(self.gains, self.layers, factor)
        return replace(self, gains=gains, coverable=round(self.coverable * factor))

    @property
    def curve(self) -> IntArray:
        """[k0] int64, covered instances after each pick of the first layer."""
        curve: IntArray = np.cumsum(self.gains[self.layers == 0])
        return curve

    @property
    def covered(self) -> int:
        """Instances that the first layer covers."""
        return int(self.gains[self.layers == 0].sum())


def scaled_counts(counts: IntArray, layers: IntArray, factor: float) -> IntArray:
    """Counts [k] times `factor` in whole numbers whose sums over a layer are rounded sums."""
    scaled = np.zeros(len(counts), np.int64)
    for layer in np.unique(layers).tolist():
        own = layers == layer
        sums = np.rint(np.cumsum(counts[own]) * factor).astype(np.int64)
        scaled[own] = np.diff(sums, prepend=0)
    return scaled


def greedy_cover(
    rows: BitRows,
    k: int,
    *,
    priority: IntArray | None = None,
    remainder: Remainder = "layers",
    sizes: IntArray | None = None,
) -> Cover:
    """Choose up to k rows by greedy maximum cover (Algorithm 1 line 7).

    rows: [C, W] bit rows. k: at least 0; more than C means C.
    priority: [C] distinct integers, the smaller wins when gains are equal (None: the row number).
    remainder: what follows once the cover is complete, which the paper leaves open:
    `layers` starts a new cover on the candidates that are left, each layer's picks with half the
    vote of the one before; `uncertainty` takes the rest in the order of `priority`; `none` stops.
    sizes: [C] set bits of each row, if known (`row_sizes`).
    Raises DataError for arrays and SelectionError for k or remainder that do not fit.
    """
    order = _check(rows, k, priority, remainder)
    words = _words(rows)
    sizes = row_sizes(rows) if sizes is None else sizes
    reach: Words = np.bitwise_or.reduce(words, axis=0)
    coverable = int(np.bitwise_count(reach).sum(dtype=np.int64))
    fresh = np.flatnonzero(sizes)
    fresh = fresh[np.argsort(order[fresh])]
    gains, ranked = _Gains(words), _Order.of(order)
    layers = [_one_cover(words, sizes, reach, fresh, ranked, k, gains)]
    left = np.ones(len(words), bool)
    left[[row for row, _ in layers[0]]] = False
    if remainder == "layers":
        twins = _twins(words, fresh) if len(layers[0]) < k else np.zeros(0, np.int64)
        while len(layers) <= LAST_LAYER and layers[-1] and sum(map(len, layers)) < k:
            picked, still = sum(map(len, layers)), left[fresh]
            fresh, twins = fresh[still], twins[still]
            firsts = np.sort(np.unique(twins, return_index=True)[1])
            layers.append(_one_cover(words, sizes, reach, fresh[firsts], ranked, k - picked, gains))
            left[[row for row, _ in layers[-1]]] = False
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
    whole = np.ascontiguousarray(np.pad(rows, ((0, 0), (0, spare))) if spare else rows)
    return whole.view(np.uint64)


@dataclass(frozen=True, eq=False)
class _Order:
    """Which of two rows with equal gains is picked: the one of the smaller rank."""

    rank: IntArray  # [C] of each row
    row: list[int]  # [C] of each rank

    @classmethod
    def of(cls, priority: IntArray) -> _Order:
        row = np.argsort(priority)
        rank = np.empty_like(row)
        rank[row] = np.arange(len(row))
        return cls(rank, row.tolist())


class _Gains:
    """What rows would newly cover, many at a time, in memory that is used again and again."""

    def __init__(self, words: Words) -> None:
        width = words.shape[1]
        self.most = max(8, min(_BATCH, _BATCH_BYTES // max(1, 8 * width)))  # rows of a call
        self._words = words
        self._rows = np.empty((self.most, width), np.uint64)
        self._counts = np.empty((self.most, width), np.uint8)

    def __call__(self, rows: list[int], free: Words) -> list[int]:
        """Instances of `free` that each of up to `most` rows holds."""
        found, counts = self._rows[: len(rows)], self._counts[: len(rows)]
        self._words.take(rows, 0, found, "clip")
        np.bitwise_and(found, free, out=found)
        np.bitwise_count(found, out=counts)
        gains: list[int] = np.add.reduce(counts, axis=1, dtype=np.uint32).tolist()
        return gains


class _Bounds:
    """Rows, by their ranks, under bounds of their gains: a list for each bound that occurs."""

    def __init__(self, ranks: list[int], bounds: list[int]) -> None:
        self._ranks: dict[int, list[int]] = {}
        for rank, bound in zip(ranks, bounds, strict=True):
            self._ranks.setdefault(bound, []).append(rank)
        self._levels = sorted(-bound for bound in self._ranks)  # a heap
        self._sorted = 0  # the bound whose list is in order

    def __bool__(self) -> bool:
        return bool(self._levels)

    def top(self) -> tuple[int, list[int]]:
        """The highest bound and its ranks, falling: the last one is the first to be looked at."""
        bound = -self._levels[0]
        ranks = self._ranks[bound]
        if bound != self._sorted:
            ranks.sort(reverse=True)
            self._sorted = bound
        return bound, ranks

    def drop_empty(self) -> None:
        """Forget the highest bound if its list has become empty."""
        if not self._ranks[-self._levels[0]]:
            del self._ranks[-heappop(self._levels)]

    def fill(self, some: list[int], most: int) -> None:
        """Move all ranks of the highest bounds to `some` as long as they fit."""
        while self._levels and len(some) + len(self._ranks[-self._levels[0]]) <= most:
            some += self._ranks.pop(-heappop(self._levels))

    def put(self, some: list[int], bounds: list[int]) -> None:
        """Add rows that gain something: the others can never gain again in this layer.

        Those of the list that `top` gave are to be added falling.
        """
        known = self._ranks
        for rank, bound in zip(some, bounds, strict=True):
            if bound in known:
                known[bound].append(rank)
            elif bound:
                known[bound] = [rank]
                heappush(self._levels, -bound)


def _one_cover(
    words: Words, sizes: IntArray, reach: Words, fresh: IntArray, order: _Order, k: int,
    gains: _Gains,
) -> list[tuple[int, int]]:  # fmt: skip
    """Cover from nothing with the rows `fresh`: (row, gain) of each pick, gains above 0.

    `reach` are the columns that may be covered. Sizes are the bounds of the gains at first.
    """
    free = reach.copy()
    left = int(np.bitwise_count(free).sum(dtype=np.int64))  # at 0 no row need be looked at again
    bounds = _Bounds(order.rank[fresh].tolist(), sizes[fresh].tolist())
    looked = [0] * len(words)  # picks when a rank's bound was its gain: at first, sizes are
    picks: list[tuple[int, int]] = []
    age, batch = 0, 1
    while age < k and left and bounds:
        gain, ranks = bounds.top()
        if looked[ranks[-1]] == age:
            row = order.row[ranks.pop()]
            bounds.drop_empty()
            picks.append((row, gain))
            free &= ~words[row]
            left -= gain
            age, batch = age + 1, max(1, batch // 4)
            continue
        some: list[int] = []
        while ranks and len(some) < batch and looked[ranks[-1]] != age:
            some.append(ranks.pop())
        if not ranks:
            bounds.drop_empty()
            bounds.fill(some, batch)
        some.reverse()  # what keeps the highest bound returns to its list in order
        for rank in some:
            looked[rank] = age
        bounds.put(some, gains([order.row[rank] for rank in some], free))
        batch = min(2 * batch, gains.most)
    return picks


def _twins(words: Words, rows: IntArray) -> IntArray:
    """A number for each row of `rows` [n] that it shares with rows of equal bits alone.

    Of twins only the first can gain anything in a layer.
    """
    weights = seeded_hash(np.arange(words.shape[1]), 0) | np.uint64(1)
    sums = (words @ weights)[rows]  # equal bits have equal sums, modulo 2^64
    _, first, at = np.unique(sums, return_index=True, return_inverse=True)
    numbers: IntArray = first[at]
    for place in np.flatnonzero(numbers != np.arange(len(rows))).tolist():
        if words[rows[place]].tobytes() != words[rows[numbers[place]]].tobytes():
            numbers[place] = place  # equal sums by chance: no twin
    return numbers


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

"""The next pick of the greedy cover, found without counting the gain of every candidate.

* Lazy evaluation: the gain of a candidate never rises as more is covered, so an earlier gain is an
  upper bound. `LargestGain` counts candidates from the highest bound down. It stops when a counted
  gain is at least as large as every remaining bound.
* Batches: a numpy call takes as much time as counting several candidates. Each batch is twice as
  large as the one before; after a pick, the next batch is a quarter as large.
* Twins: of several candidates with equal edges, only the first can gain anything in a layer.

The picks are the same as with counting all candidates at every step.
"""

from __future__ import annotations

from functools import cached_property
from heapq import heappop, heappush

import numpy as np
import numpy.typing as npt

from taudis.selection.similarity import BitRows
from taudis.types import BoolArray, IntArray

_BATCH, _BATCH_BYTES = 128, 400_000  # limits of a batch; it fits the processor's cache

Words = npt.NDArray[np.uint64]


def as_words(rows: BitRows) -> Words:
    """Bit rows as 64-bit words [C, ceil(W/8)]; a view if W is a multiple of 8, else a copy."""
    spare = -rows.shape[1] % 8
    whole = np.ascontiguousarray(np.pad(rows, ((0, 0), (0, spare))) if spare else rows)
    return whole.view(np.uint64)


class Candidates:
    """The edges of all candidates, and the order in which equal gains are picked."""

    def __init__(self, words: Words, sizes: IntArray, priority: IntArray) -> None:
        """words: [C, W] edges. sizes: [C] edges of each. priority: [C] distinct, smaller wins."""
        by_rank = np.argsort(priority)
        self.words = words
        self.sizes = sizes
        self.row: list[int] = by_rank.tolist()  # [C] row of each rank; rank 0 wins ties
        self.rank = np.empty_like(by_rank)  # [C] rank of each row
        self.rank[by_rank] = np.arange(len(by_rank))
        self.count = _Count(words)
        self._by_rank = by_rank[sizes[by_rank] > 0]

    def search(self, left: BoolArray) -> LargestGain:
        """A search among the candidates in the mask `left` [C], with nothing covered yet."""
        still = left[self._by_rank]
        rows = self._by_rank[still]
        if len(rows) < len(self._by_rank):  # finding twins pays off from the second layer on
            _, firsts = np.unique(self._twins[still], return_index=True)
            rows = rows[np.sort(firsts)]
        return LargestGain(self, rows)

    @cached_property
    def _twins(self) -> IntArray:
        """A number for each row of `_by_rank` [n]; two are equal if and only if the edges are."""
        rows = self._by_rank
        weights = np.random.default_rng(0).integers(
            2**64, size=self.words.shape[1], dtype=np.uint64
        )
        sums = (self.words @ (weights | np.uint64(1)))[rows]  # equal edges have equal sums
        _, first, at = np.unique(sums, return_index=True, return_inverse=True)
        numbers: IntArray = first[at]
        for place in np.flatnonzero(numbers != np.arange(len(rows))).tolist():
            one, other = self.words[rows[place]], self.words[rows[numbers[place]]]
            if one.tobytes() != other.tobytes():
                numbers[place] = place  # the sums are equal by chance
        return numbers


class LargestGain:
    """Finds the candidate with the largest gain, pick after pick."""

    def __init__(self, candidates: Candidates, rows: IntArray) -> None:
        """rows: [n] candidates to search, each with at least one edge. Nothing is covered yet."""
        self._row = candidates.row
        self._count = candidates.count
        self._bounds = _Bounds(candidates.rank[rows].tolist(), candidates.sizes[rows].tolist())
        # [C] by rank: number of picks when the bound was counted; if it is current, bound = gain.
        self._counted = [0] * len(candidates.row)
        self._picks = 0
        self._batch = 1

    def largest(self, uncovered: Words) -> tuple[int, int]:
        """(row, gain) of the candidate that covers most of `uncovered` [W]; gain 0 if none does.

        The candidate counts as picked. Pass the next call what this pick leaves uncovered.
        """
        counted, picks = self._counted, self._picks
        while self._bounds:
            bound, ranks = self._bounds.top()
            if counted[ranks[-1]] == picks:  # its bound is its gain, and no bound is higher
                row = self._row[ranks.pop()]
                self._bounds.drop_empty()
                self._picks += 1
                self._batch = max(1, self._batch // 4)
                return row, bound
            some: list[int] = []
            while ranks and len(some) < self._batch and counted[ranks[-1]] != picks:
                some.append(ranks.pop())
            if not ranks:
                self._bounds.drop_empty()
                self._bounds.fill(some, self._batch)
            some.reverse()  # `put` needs descending order
            for rank in some:
                counted[rank] = picks
            self._bounds.put(some, self._count([self._row[rank] for rank in some], uncovered))
            self._batch = min(2 * self._batch, self._count.most)
        return 0, 0


class _Count:
    """Counts what candidates would newly cover. Its memory is reused by every call."""

    def __init__(self, words: Words) -> None:
        width = words.shape[1]
        self.most = max(8, min(_BATCH, _BATCH_BYTES // max(1, 8 * width)))  # candidates per call
        self._words = words
        self._rows = np.empty((self.most, width), np.uint64)
        self._counts = np.empty((self.most, width), np.uint8)

    def __call__(self, rows: list[int], uncovered: Words) -> list[int]:
        """The number of instances in `uncovered` [W] that each row covers; up to `most` rows."""
        found, counts = self._rows[: len(rows)], self._counts[: len(rows)]
        self._words.take(rows, 0, found, "clip")
        np.bitwise_and(found, uncovered, out=found)
        np.bitwise_count(found, out=counts)
        gains: list[int] = np.add.reduce(counts, axis=1, dtype=np.uint32).tolist()
        return gains


class _Bounds:
    """The ranks of candidates grouped by the upper bound of their gain."""

    def __init__(self, ranks: list[int], bounds: list[int]) -> None:
        self._ranks: dict[int, list[int]] = {}
        for rank, bound in zip(ranks, bounds, strict=True):
            self._ranks.setdefault(bound, []).append(rank)
        self._levels = sorted(-bound for bound in self._ranks)  # a heap of the negated bounds
        self._sorted = 0  # the bound whose ranks are sorted

    def __bool__(self) -> bool:
        return bool(self._levels)

    def top(self) -> tuple[int, list[int]]:
        """The highest bound and its ranks in descending order; the last one wins ties."""
        bound = -self._levels[0]
        ranks = self._ranks[bound]
        if bound != self._sorted:
            ranks.sort(reverse=True)
            self._sorted = bound
        return bound, ranks

    def drop_empty(self) -> None:
        """Remove the highest bound if no rank has it any more."""
        if not self._ranks[-self._levels[0]]:
            del self._ranks[-heappop(self._levels)]

    def fill(self, some: list[int], most: int) -> None:
        """Move the ranks of the highest bounds to `some`, bound by bound, up to `most` ranks."""
        while self._levels and len(some) + len(self._ranks[-self._levels[0]]) <= most:
            some += self._ranks.pop(-heappop(self._levels))

    def put(self, some: list[int], bounds: list[int]) -> None:
        """Add ranks with their new bounds, in descending order of the ranks.

        Ranks of bound 0 are dropped: they cannot gain anything in this layer.
        """
        known = self._ranks
        for rank, bound in zip(some, bounds, strict=True):
            if bound in known:
                known[bound].append(rank)
            elif bound:
                known[bound] = [rank]
                heappush(self._levels, -bound)

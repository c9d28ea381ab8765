"""Cost-aware greedy cover: which candidate newly covers most for its cost.

The gain of a candidate only falls as more is covered, and its cost stays. So a ratio that was
counted earlier is an upper bound, and `LargestRatio` counts candidates from the highest bound down
until a counted ratio is on top. The picks are those of counting all candidates at every step.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

import numpy as np

from taudis.selection.largest_gain import Words
from taudis.types import BoolArray, FloatArray, IntArray


class LargestRatio:
    """Finds the candidate with the largest gain for its cost while more and more is covered."""

    def __init__(
        self,
        words: Words,
        sizes: IntArray,
        priority: IntArray,
        costs: FloatArray,
        left: BoolArray,
    ) -> None:
        """The candidates that are `left` [C], for a cover from nothing.

        words: [C, W] edges. sizes: [C] how many. priority: [C] distinct, the smaller wins a tie.
        costs: [C] above 0.
        """
        self._words, self._costs, self._picks = words, costs.tolist(), 0
        rows = np.flatnonzero(left & (sizes > 0))
        bounds = -(sizes[rows] / costs[rows])
        columns = (bounds, priority[rows], rows, sizes[rows])
        # (-ratio, priority, row, gain, picks when it was counted)
        self._heap = [
            (*each, 0) for each in zip(*(column.tolist() for column in columns), strict=True)
        ]
        heapify(self._heap)

    def largest(self, uncovered: Words) -> tuple[int, int]:
        """(row, gain) of the candidate with most of `uncovered` [W] for its cost; gain 0: none.

        The candidate counts as picked: the next call expects what is uncovered then.
        """
        while self._heap:
            _, priority, row, gain, counted = heappop(self._heap)
            if counted == self._picks:
                self._picks += 1
                return row, gain
            gain = int(np.bitwise_count(self._words[row] & uncovered).sum(dtype=np.int64))
            if gain:  # else it can never gain in this layer again
                ratio = gain / self._costs[row]
                heappush(self._heap, (-ratio, priority, row, gain, self._picks))
        return 0, 0

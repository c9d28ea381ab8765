"""Cost-aware greedy cover: finds the candidate with the largest gain / cost.

The gain of a candidate never rises as more is covered, and its cost is constant. So an earlier
ratio is an upper bound, and `LargestRatio` counts candidates from the highest bound down until a
counted ratio is the highest. The picks are the same as with counting all candidates at every step.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

import numpy as np

from taudis.selection.largest_gain import Words
from taudis.types import BoolArray, FloatArray, IntArray


class LargestRatio:
    """Finds the candidate with the largest gain / cost, pick after pick."""

    def __init__(
        self,
        words: Words,
        sizes: IntArray,
        priority: IntArray,
        costs: FloatArray,
        left: BoolArray,
    ) -> None:
        """Search among the candidates in the mask `left` [C], with nothing covered yet.

        words: [C, W] edges. sizes: [C] edges of each. priority: [C] distinct, the smaller wins a
        tie. costs: [C] above 0.
        """
        self._words, self._costs, self._picks = words, costs.tolist(), 0
        rows = np.flatnonzero(left & (sizes > 0))
        bounds = -(sizes[rows] / costs[rows])
        columns = (bounds, priority[rows], rows, sizes[rows])
        # (-ratio, priority, row, gain, number of picks when the gain was counted)
        self._heap = [
            (*each, 0) for each in zip(*(column.tolist() for column in columns), strict=True)
        ]
        heapify(self._heap)

    def largest(self, uncovered: Words) -> tuple[int, int]:
        """(row, gain) of the candidate with the largest gain / cost; gain 0 if none has a gain.

        uncovered: [W] bits of the instances to cover. The candidate counts as picked. Pass the next
        call what this pick leaves uncovered.
        """
        while self._heap:
            _, priority, row, gain, counted = heappop(self._heap)
            if counted == self._picks:
                self._picks += 1
                return row, gain
            gain = int(np.bitwise_count(self._words[row] & uncovered).sum(dtype=np.int64))
            if gain:  # else drop it: it cannot gain anything in this layer
                ratio = gain / self._costs[row]
                heappush(self._heap, (-ratio, priority, row, gain, self._picks))
        return 0, 0

"""A learning curve: mAP50 over labelled images, labelled objects and annotation seconds.

Letters: P points of a curve, one for the seed set and one for each round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from taudis.simulation.costs import Seconds
from taudis.simulation.result_rows import ResultRow
from taudis.types import FloatArray

AXES = ("images", "objects", "seconds")
"""What labels are counted in."""


@dataclass(frozen=True, eq=False)
class Curve:
    """mAP50 [P] of one strategy on one seed, and by axis the labels [P] it cost, never falling.

    Between its points a curve is a straight line.
    """

    map50: FloatArray
    labels: dict[str, FloatArray]

    @classmethod
    def of(cls, seed_set: ResultRow, rounds: Sequence[ResultRow], seconds: Seconds) -> Curve:
        """The curve of a seed set and the rounds after it, in their order."""
        points = [seed_set, *rounds]
        start = seconds.of_labels(seed_set.labelled_images, seed_set.labelled_objects)
        spent = np.cumsum([start, *(seconds.of_round(row) for row in rounds)])
        labels = {
            "images": np.array([float(row.labelled_images) for row in points]),
            "objects": np.array([float(row.labelled_objects) for row in points]),
            "seconds": spent,
        }
        return cls(np.array([row.map50 for row in points]), labels)

    @classmethod
    def mean(cls, curves: Sequence[Curve]) -> Curve:
        """The mean of several curves, point by point: of mAP50, and of the labels of each axis."""
        labels = {axis: np.mean([each.labels[axis] for each in curves], axis=0) for axis in AXES}
        return cls(np.mean([each.map50 for each in curves], axis=0), labels)

    def needed(self, axis: str, target: float) -> float | None:
        """The fewest labels at which the curve reaches a target mAP50; None where it never does.

        It is the first crossing, so a curve counts as if it never fell again. An equal mAP50
        reaches the target.
        """
        labels = self.labels[axis]
        if self.map50[0] >= target:
            return float(labels[0])
        points = zip(labels.tolist(), self.map50.tolist(), strict=True)
        for (before, low), (after, high) in pairwise(points):
            if high >= target:
                return float(before + (after - before) * (target - low) / (high - low))
        return None

    def area(self, axis: str, until: float) -> float:
        """The mean height of the curve, 0..1, from its first point to `until` labels.

        That is the area below it over its width. `until` lies on the curve; where it is the first
        point, the height there.
        """
        labels, height = self.labels[axis], self.map50
        inside = labels < until
        if not inside.any():
            return float(height[0])
        x = np.append(labels[inside], until)
        # np.interp takes the last point of a jump; the curve ends where the jump begins.
        y = np.append(height[inside], _height_at(labels, height, until))
        return float(np.trapezoid(y, x) / (until - labels[0]))


def _height_at(labels: FloatArray, height: FloatArray, at: float) -> float:
    """The height of a curve at a number of labels; of several points there, the first."""
    row = int(np.searchsorted(labels, at))
    if row == len(labels):
        return float(height[-1])
    if labels[row] == at:
        return float(height[row])
    return float(np.interp(at, labels[row - 1 : row + 1], height[row - 1 : row + 1]))

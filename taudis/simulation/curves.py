"""A learning curve: mAP50 over labelled images, labelled objects and annotation seconds.

Letters: P points of a curve, one for the seed set and one for each round; R curves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from taudis.simulation.costs import Seconds
from taudis.simulation.result_rows import ResultRow
from taudis.types import FloatArray

AXES = ("images", "objects", "seconds")
"""The units in which labels are counted."""
EQUAL = 1e-9
"""mAP50 values that differ by less are equal: means are subject to rounding."""


@dataclass(frozen=True, eq=False)
class Curve:
    """The learning curve of one strategy on one seed, linear between its points."""

    map50: FloatArray  # [P] 0..1
    labels: dict[str, FloatArray]  # axis -> labels used so far [P], never falling

    @classmethod
    def of(cls, seed_set: ResultRow, rounds: Sequence[ResultRow], seconds: Seconds) -> Curve:
        """The curve of a seed set and its rounds, in their order."""
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
        """The mean of several curves, point by point, for mAP50 and the labels of each axis."""
        labels = {axis: np.mean([each.labels[axis] for each in curves], axis=0) for axis in AXES}
        return cls(np.mean([each.map50 for each in curves], axis=0), labels)

    def needed(self, axis: str, target: float) -> float | None:
        """The fewest labels at which the curve reaches a target mAP50; None if it never does.

        Only the first crossing counts, even if the curve falls again later. An equal mAP50 reaches
        the target.
        """
        found = first_crossing(self.labels[axis][None], self.map50[None], np.array([target]))[0]
        return float(found) if np.isfinite(found) else None

    def area(self, axis: str, until: float) -> float:
        """The area under the curve from its first point to `until` labels, / its width; 0..1.

        `until` must lie within the curve. At the first point, the result is the height there.
        """
        labels, height = self.labels[axis], self.map50
        inside = labels < until
        if not inside.any():
            return float(height[0])
        x = np.append(labels[inside], until)
        # Not np.interp, which takes the last of several points at `until`, not the first.
        y = np.append(height[inside], _height_at(labels, height, until))
        return float(np.trapezoid(y, x) / (until - labels[0]))


def _height_at(labels: FloatArray, height: FloatArray, at: float) -> float:
    """The height of a curve at a number of labels; if several points are there, of the first."""
    row = int(np.searchsorted(labels, at))
    if row == len(labels):
        return float(height[-1])
    if labels[row] == at:
        return float(height[row])
    return float(np.interp(at, labels[row - 1 : row + 1], height[row - 1 : row + 1]))


def first_crossing(labels: FloatArray, map50: FloatArray, target: FloatArray) -> FloatArray:
    """The fewest labels [R] at which R curves reach their targets [R]; inf if a curve never does.

    labels, map50: [R,P], labels never falling.
    """
    reached = map50 >= target[:, None] - EQUAL  # [R,P]
    found = np.where(reached[:, 0], labels[:, 0], np.inf)
    rows = np.flatnonzero(reached.any(axis=1) & ~reached[:, 0])
    after = reached[rows].argmax(axis=1)
    low, high = map50[rows, after - 1], map50[rows, after]
    start, end = labels[rows, after - 1], labels[rows, after]
    found[rows] = start + (end - start) * (np.minimum(target[rows], high) - low) / (high - low)
    return found

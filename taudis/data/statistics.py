"""Statistics of the labelled images, for the choice of a recipe: number, density, object size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taudis.types import FloatArray, IntArray, Target


@dataclass(frozen=True)
class LabelStatistics:
    """Statistics of the labelled images, from which a recipe is chosen."""

    images: int
    mean_instances: float  # instances an image, images without any included
    densest: int  # instances of the densest image
    object_share: float  # longer side of an object over its image's, median, of the largest label
    image_side: float  # longer side of the median image, px; 0 without images


class Tally:
    """Counts labelled images one by one."""

    def __init__(self) -> None:
        self._sides: list[int] = []
        self._counts: list[int] = []
        self._shares: dict[int, list[float]] = {}

    def add(self, size: tuple[int, int], boxes: FloatArray, labels: IntArray) -> None:
        """One image of `size` (height, width) px with boxes [n,4] xyxy px and labels [n]."""
        side = max(size)
        self._sides.append(side)
        self._counts.append(len(labels))
        longer = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0.0) / side
        for label, share in zip(labels.tolist(), longer.tolist(), strict=True):
            self._shares.setdefault(label, []).append(share)

    def add_target(self, target: Target) -> None:
        """One image's ground truth; crowds are not instances."""
        single = ~target.iscrowd
        height, width = target.masks.shape[1:]
        self.add((height, width), target.boxes[single], target.labels[single])

    def statistics(self) -> LabelStatistics:
        """The statistics of the images that were added."""
        return LabelStatistics(
            images=len(self._counts),
            mean_instances=float(np.mean(self._counts)) if self._counts else 0.0,
            densest=max(self._counts, default=0),
            object_share=max((float(np.median(v)) for v in self._shares.values()), default=0.0),
            image_side=float(np.median(self._sides)) if self._sides else 0.0,
        )

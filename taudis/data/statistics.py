"""Statistics of the labelled images, for the choice of a recipe: number, density, object size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from taudis.types import FloatArray, IntArray, Target


@dataclass(frozen=True)
class LabelStatistics:
    """Statistics of the labelled images, from which a recipe is chosen."""

    images: int
    mean_instances: float  # instances per image, including images without any
    densest: int  # instances of the densest image
    # Longer side of an object / that of its image: the largest median of a label, 0..1.
    object_share: float
    image_side: float  # median longer side of the images, px; 0 without images
    upright: float = 0.0  # see `uprightness`
    labels: tuple[int, ...] = ()  # the labels 1..K that have an object, ascending
    counts: tuple[int, ...] = field(default=(), compare=False)  # instances of each image


BOX_NOISE = 0.1
"""Standard deviation of log(width / height) from inexact drawing of boxes."""


def uprightness(shapes: Mapping[int, Sequence[float]]) -> float:
    """How much a quarter turn changes the shapes of objects: 0 not at all, about 1 much.

    A quarter turn changes the sign of log(width / height). For each label with n objects, the
    effect is (mean / standard deviation)^2 - 1 / n of these values; 1 / n is the effect of chance.
    The result is the mean of the effects, weighted by n. It may be slightly below 0.

    Args:
        shapes: log(width / height) of the objects of each label. Labels with a single object are
            left out, because they have no standard deviation.
    """
    effects, weights = [], []
    for values in map(np.asarray, shapes.values()):
        if len(values) > 1:
            spread = values.var(ddof=1) + BOX_NOISE**2
            effects.append(values.mean() ** 2 / spread - 1 / len(values))
            weights.append(len(values))
    return float(np.average(effects, weights=weights)) if effects else 0.0


class Tally:
    """Counts labelled images one by one."""

    def __init__(self) -> None:
        self._sides: list[int] = []
        self._counts: list[int] = []
        self._shares: dict[int, list[float]] = {}
        self._shapes: dict[int, list[float]] = {}

    def add(self, size: tuple[int, int], boxes: FloatArray, labels: IntArray) -> None:
        """Count an image of `size` (height, width) px with boxes [n,4] xyxy px and labels [n]."""
        side = max(size)
        self._sides.append(side)
        self._counts.append(len(labels))
        sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0)
        longer, shapes = sides.max(axis=1, initial=0.0) / side, np.log(sides[:, 0] / sides[:, 1])
        for label, share, shape in zip(labels.tolist(), longer, shapes, strict=True):
            self._shares.setdefault(label, []).append(float(share))
            self._shapes.setdefault(label, []).append(float(shape))

    def add_target(self, target: Target) -> None:
        """Count the ground truth of an image, without crowds."""
        single = ~target.iscrowd
        height, width = target.masks.shape[1:]
        self.add((height, width), target.boxes[single], target.labels[single])

    def statistics(self) -> LabelStatistics:
        """The statistics of the counted images."""
        return LabelStatistics(
            images=len(self._counts),
            mean_instances=float(np.mean(self._counts)) if self._counts else 0.0,
            densest=max(self._counts, default=0),
            object_share=max((float(np.median(v)) for v in self._shares.values()), default=0.0),
            image_side=float(np.median(self._sides)) if self._sides else 0.0,
            upright=uprightness(self._shapes),
            labels=tuple(sorted(self._shapes)),
            counts=tuple(self._counts),
        )

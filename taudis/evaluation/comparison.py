"""Compares two detectors on the same images: the difference in mAP50, with a bootstrap interval.

Each resample of the images is used for both detectors (a paired bootstrap). Images that are hard
for both then change both figures alike, so the interval of the difference is narrower than the
intervals of the two figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from taudis.detector.mask_rcnn import Detector
from taudis.errors import DataError
from taudis.evaluation.matching import EvaluatedImage
from taudis.evaluation.metrics import (
    COCO_DETECTIONS,
    Metrics,
    label_matches,
    metrics_of,
    weighted_map50,
)
from taudis.training.samples import Samples
from taudis.types import FloatArray, LabelMap

RESAMPLES = 1000


@dataclass(frozen=True)
class Comparison:
    """Detector B against detector A on the same labelled images."""

    a: Metrics
    b: Metrics
    difference: float  # map50 of B minus that of A, -1..1; NaN where there is no truth
    interval: tuple[float, float]  # paired bootstrap 95 % of the difference over images

    @property
    def winner(self) -> str:
        """'a' or 'b' where the interval excludes zero, else ''."""
        low, high = self.interval
        return "b" if low > 0 else "a" if high < 0 else ""

    def verdict(self, a: str, b: str) -> str:
        """What the figures say of the two, in a sentence; `a` and `b` are their names."""
        if math.isnan(self.difference):
            return f"{a} and {b} cannot be compared: no validation image shows an object."
        low, high = self.interval
        seen = f"{self.a.images} validation image{'' if self.a.images == 1 else 's'}"
        figures = f"mAP50 {self.difference:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}"
        if not self.winner:
            return f"{seen} show no difference between {a} and {b} ({figures})."
        return (
            f"{b} is {'better' if self.winner == 'b' else 'worse'} than {a} on {seen}: {figures}."
        )


def compare(
    a: Detector, b: Detector, samples: Samples, *, seed: int = 0, bootstrap: int = RESAMPLES
) -> Comparison:
    """Both detectors on the same labelled images. Raises DataError if their labels differ."""
    if a.label_map != b.label_map:
        raise DataError(
            f"Expected detectors of the same labels, got {list(a.label_map.names)} and"
            f" {list(b.label_map.names)}."
        )
    both: tuple[list[EvaluatedImage], list[EvaluatedImage]] = ([], [])
    for row in range(len(samples)):
        image, target = samples[row]  # each is read once
        for detector, images in zip((a, b), both, strict=True):
            images.append(EvaluatedImage.of(target, detector.detect([image])[0]))
    limit = max(COCO_DETECTIONS, *(d.config.detections_per_image for d in (a, b)))
    return compare_images(*both, a.label_map, limit=limit, seed=seed, bootstrap=bootstrap)


def compare_images(
    a: Sequence[EvaluatedImage],
    b: Sequence[EvaluatedImage],
    label_map: LabelMap,
    *,
    limit: int = COCO_DETECTIONS,
    seed: int = 0,
    bootstrap: int = RESAMPLES,
) -> Comparison:
    """The comparison of the same images, in the same order, with the detections of A and of B."""
    of_a, of_b = (metrics_of(one, label_map, limit=limit, seed=seed) for one in (a, b))
    if not of_a.instances:
        return Comparison(of_a, of_b, math.nan, (math.nan, math.nan))
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(a), np.full(len(a), 1 / len(a)), size=bootstrap)
    weights = draws.astype(np.float64)
    gains = _resampled(b, label_map, limit, weights) - _resampled(a, label_map, limit, weights)
    low, high = np.nanquantile(gains, [0.025, 0.975])
    return Comparison(of_a, of_b, of_b.map50 - of_a.map50, (float(low), float(high)))


def _resampled(
    images: Sequence[EvaluatedImage], label_map: LabelMap, limit: int, draws: FloatArray
) -> FloatArray:
    """map50 under each row of image weights `draws` [resamples,I]."""
    matches = label_matches(images, label_map, limit)
    return np.array([weighted_map50(matches, draw) for draw in draws])

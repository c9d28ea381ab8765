"""Compares two detectors on the same images: the difference in mAP50, with a bootstrap interval.

Both detectors are evaluated on the same resamples of the images (a paired bootstrap). An image that
is hard for both changes both figures in the same way, so the interval of the difference is narrower
than those of the figures. docs/evaluation.md has its measured coverage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from taudis.detector.registry import TrainedDetector
from taudis.errors import DataError
from taudis.evaluation.matching import EvaluatedImage
from taudis.evaluation.metrics import COCO_DETECTIONS, Metrics, detection_limit, metrics_of
from taudis.evaluation.resampling import (
    ENOUGH,
    comparable_labels,
    difference_interval,
    label_matches,
)
from taudis.training.samples import Samples
from taudis.types import LabelMap

RESAMPLES = 1000
DROP, SHARE = 0.1, 0.25
"""The validation images should detect a drop in mAP50 of DROP, or of SHARE times the mAP50 of
detector A if this is less."""


@dataclass(frozen=True)
class Comparison:
    """Detector B compared with detector A on the same labelled images."""

    a: Metrics
    b: Metrics
    difference: float  # mean map50 of B minus A over the compared labels, -1..1; NaN if unknown
    interval: tuple[float, float]  # 95 % interval of `difference` over images; NaN if unknown
    labels: int  # number of compared labels: those that at least ENOUGH images show

    @property
    def winner(self) -> str:
        """'a' or 'b' if the interval excludes zero and all labels together agree, else ''."""
        low, high = self.interval
        if self.rare_labels_decide:
            return ""
        return "b" if low > 0 else "a" if high < 0 else ""

    @property
    def over_all(self) -> float:
        """map50 of B minus that of A over all labels, -1..1; NaN without ground truth."""
        return self.b.map50 - self.a.map50

    @property
    def rare_labels_decide(self) -> bool:
        """Whether labels that too few images show change the result, by more than `drop`.

        The interval does not include these labels.
        """
        low, high = self.interval
        whole = self.over_all
        if math.isnan(low) or abs(whole) <= self.drop:
            return False
        if low > 0 or high < 0:
            return self.difference * whole < 0
        return not low <= whole <= high

    @property
    def drop(self) -> float:
        """The drop in mAP50 that the images should detect, at least 0.01."""
        return max(0.01, min(DROP, SHARE * self.a.map50))

    @property
    def images_wanted(self) -> int:
        """About how many images would detect a drop of `drop`; 0 if these images do.

        It is also 0 if there is a winner. Without an interval, or if rare labels decide, it is the
        least number of images that could change that.
        """
        low, high = self.interval
        if math.isnan(low) or self.rare_labels_decide:
            return max(ENOUGH, self.a.images + 1)
        reach = (high - low) / 2
        if self.winner or reach <= self.drop:
            return 0
        return math.ceil(self.a.images * (reach / self.drop) ** 2)

    @property
    def too_few(self) -> str:
        """The reason why the images do not decide; '' if they do."""
        wanted = self.images_wanted
        if not wanted:
            return ""
        low, high = self.interval
        if math.isnan(low):
            expected, tell = f"a label that {ENOUGH} images show", "no label is shown so often"
        elif self.rare_labels_decide:
            expected = f"every label on {ENOUGH} or more"
            tell = f"labels on fewer change the difference to {self.over_all:+.3f}"
        else:
            expected = f"about {wanted}, to detect a drop of {self.drop:.2f} mAP50"
            tell = f"these detect a drop of {(high - low) / 2:.2f}"
        return (
            "too few validation images to decide which model is better: expected"
            f" {expected}, got {self.a.images} ({tell})"
        )

    def to_dict(self) -> dict[str, Any]:
        """The difference as JSON values, without the metrics of both detectors; NaN is None."""
        return {
            "map50": _number(self.difference),
            "over_all_labels": _number(self.over_all),
            "interval": [_number(end) for end in self.interval],
            "labels": self.labels,
            "images_wanted": self.images_wanted,
        }

    def verdict(self, a: str, b: str) -> str:
        """The result in a sentence. a, b: the names of the detectors."""
        if math.isnan(self.over_all):
            return f"{a} and {b} cannot be compared: no validation image shows an object."
        low, high = self.interval
        seen = f"{self.a.images} validation image{'' if self.a.images == 1 else 's'}"
        if math.isnan(low):
            figures = f"mAP50 {self.over_all:+.3f}, no interval"
        else:
            figures = f"mAP50 {self.difference:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}"
        if not self.winner:
            few = f" There are {self.too_few}." if self.too_few else ""
            return f"{seen} show no difference between {a} and {b} ({figures}).{self._part}{few}"
        return (
            f"{b} is {'better' if self.winner == 'b' else 'worse'} than {a} on {seen}: {figures}."
            f"{self._part}"
        )

    @property
    def _part(self) -> str:
        """The compared labels in words; '' if all labels are compared."""
        known = sum(not math.isnan(value) for value in self.a.per_label.values())
        if self.labels >= known or math.isnan(self.interval[0]):
            return ""
        return (
            f" These figures are of the {self.labels} of {known} labels that {ENOUGH} or more"
            f" images show; over all labels the difference is {self.over_all:+.3f}."
        )


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def compare(
    a: TrainedDetector,
    b: TrainedDetector,
    samples: Samples,
    *,
    seed: int = 0,
    bootstrap: int = RESAMPLES,
) -> Comparison:
    """Compare both detectors on labelled images. Raises DataError if their labels differ."""
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
    limit = detection_limit(a, b)
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
    """Compare the detections of A and B in the same images, in the same order."""
    of_a, of_b = (metrics_of(one, label_map, limit=limit, seed=seed) for one in (a, b))
    return paired(of_a, of_b, (a, b), label_map, limit=limit, seed=seed, bootstrap=bootstrap)


def paired(
    a: Metrics,
    b: Metrics,
    images: tuple[Sequence[EvaluatedImage], Sequence[EvaluatedImage]],
    label_map: LabelMap,
    *,
    limit: int = COCO_DETECTIONS,
    seed: int = 0,
    bootstrap: int = RESAMPLES,
) -> Comparison:
    """`compare_images` for known metrics. images: the detections of A and of B."""
    if not a.instances:
        return Comparison(a, b, math.nan, (math.nan, math.nan), 0)
    of_a, of_b = (label_matches(one, label_map, limit) for one in images)
    interval = difference_interval(of_a, of_b, seed, bootstrap)
    known = comparable_labels(of_a)
    differences = [b.per_label[name] - a.per_label[name] for name in label_map.names]
    over = [value for value, counts in zip(differences, known, strict=True) if counts]
    difference = sum(over) / len(over) if over else math.nan
    return Comparison(a, b, difference, interval, len(over))

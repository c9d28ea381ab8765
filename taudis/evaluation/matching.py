"""One image that went through a detector: its truth and its detections, as run lengths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from taudis.data.coco import encode
from taudis.detector.pasting import pasted_masks
from taudis.types import BoolArray, Detection, FloatArray, IntArray, Target


@dataclass(frozen=True, eq=False)
class Judged:
    """One image's truth and detections, as run lengths."""

    size: tuple[int, int]  # (height, width) px
    true_labels: IntArray  # [g]
    true_masks: list[dict[str, Any]]  # g compressed RLEs
    iscrowd: BoolArray  # [g]
    labels: IntArray  # [n]
    scores: FloatArray  # [n]
    masks: list[dict[str, Any]]  # n compressed RLEs

    @classmethod
    def of(cls, target: Target, detection: Detection) -> Judged:
        """The truth and the detections of one image."""
        rows = detection.instances
        return cls(
            detection.size,
            target.labels,
            [encode(mask) for mask in target.masks],
            target.iscrowd,
            rows.labels,
            rows.scores,
            [encode(mask) for mask in pasted_masks(detection)],
        )

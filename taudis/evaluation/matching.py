"""Matches detections with objects, by COCO's rule.

Detections are matched in the order of their scores, best first. A detection takes the unmatched
object with the largest mask IoU, if this IoU is at least 0.5. The metrics, the confusion matrix and
the savings of pre-annotations all use this matching.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from faster_coco_eval import mask as rle_tools

from taudis.data.coco import encode
from taudis.detector.pasting import each_pasted_mask
from taudis.types import ANY_LABEL, BoolArray, Detection, FloatArray, IntArray, Target

FITS = 0.5
"""Least mask IoU of a detection and its object."""
NONE = -1
"""Row of the object, for a detection without one."""


@dataclass(frozen=True, eq=False)
class EvaluatedImage:
    """The ground truth of an image and the detections in it.

    g objects, including crowd regions, and n detections.
    """

    size: tuple[int, int]  # (height, width) px
    true_labels: IntArray  # [g]; ANY_LABEL for a crowd region with an unknown label
    true_masks: list[dict[str, Any]]  # g compressed RLEs
    iscrowd: BoolArray  # [g]
    labels: IntArray  # [n]
    scores: FloatArray  # [n]
    masks: list[dict[str, Any]]  # n compressed RLEs

    @classmethod
    def of(cls, target: Target, detection: Detection) -> EvaluatedImage:
        """The image with this ground truth and these detections."""
        rows = detection.instances
        return cls(
            detection.size,
            target.labels,
            [encode(mask) for mask in target.masks],
            target.iscrowd,
            rows.labels,
            rows.scores,
            [encode(mask) for mask in each_pasted_mask(detection)],
        )


@dataclass(frozen=True, eq=False)
class Matching:
    """The objects of m detections of an image, best score first."""

    found: IntArray  # [m] rows of the image's detections
    objects: IntArray  # [m] row of the object of each, or NONE
    ious: FloatArray  # [m] IoU with this object, or 0
    in_crowd: BoolArray  # [m] no object, and a share of at least FITS inside a crowd region


def match(
    image: EvaluatedImage,
    *,
    label: int | None = None,
    score: float = -np.inf,
    limit: int | None = None,
) -> Matching:
    """Match the detections of an image to its objects.

    label: match only detections and objects of this label, and crowd regions of ANY_LABEL; None:
    ignore labels. score: lowest score of a detection that takes part. limit: number of detections
    that take part, the best ones.

    Ties are as in COCO's reference code: of detections with the same score, the first row is
    matched first; of objects with the same IoU, the last row is taken.
    """
    found = np.flatnonzero(image.scores >= score)
    truth = np.arange(len(image.true_labels))
    if label is not None:
        found = found[image.labels[found] == label]
        truth = truth[np.isin(image.true_labels, (label, ANY_LABEL))]
    found = found[np.argsort(-image.scores[found], kind="stable")][:limit]
    objects, ious = np.full(len(found), NONE), np.zeros(len(found))
    in_crowd = np.zeros(len(found), bool)
    crowd, free = image.iscrowd[truth], ~image.iscrowd[truth]
    for row, overlaps in enumerate(_overlaps(image, found, truth)):
        able = np.flatnonzero(free & (overlaps >= FITS))
        if len(able):
            best = able[overlaps[able] == overlaps[able].max()][-1]
            free[best] = False
            objects[row], ious[row] = truth[best], overlaps[best]
        else:
            in_crowd[row] = (crowd & (overlaps >= FITS)).any()
    return Matching(found, objects, ious, in_crowd)


def _overlaps(image: EvaluatedImage, found: IntArray, truth: IntArray) -> FloatArray:
    """IoU [m,t] of detections and objects; for crowd regions, the detection's share inside."""
    if not len(found) or not len(truth):
        return np.zeros((len(found), len(truth)))
    return np.asarray(
        rle_tools.iou(
            [image.masks[row] for row in found],
            [image.true_masks[row] for row in truth],
            image.iscrowd[truth].astype(np.uint8).tolist(),
        )
    )

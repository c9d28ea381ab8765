"""Expected cost of correcting pre-annotations, and the score thresholds with the least cost.

The cost of an image is counted in drawings; 1 is the work of drawing one object from nothing:

    DRAW = 1        drawing an object that no visible region fits
    1 - IoU         reshaping a visible region that fits an object (same label, IoU >= 0.5)
    DELETE = 0.2    deleting a visible region that fits no object

Drawing takes about 80 s an object in COCO (Lin et al. 2014), and some 10 s with a brush for a small
object. Seeing that a region is wrong, clicking it and pressing a key takes 2 s. So DELETE lies
between 0.03 and 0.2; the upper end also covers wrong regions that nobody notices. A region of the
right shape and the wrong label counts as deleted and drawn, though changing its label costs less.

Detections are matched in the order of their scores (`taudis.evaluation.matching`). A threshold
therefore makes the first part of one ranking visible, and what a detection saves (IoU) or costs
(DELETE) does not depend on the detections after it. The best threshold lies where the running sum
of the savings is highest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from taudis.evaluation.matching import NONE, EvaluatedImage, match
from taudis.evaluation.visible import distinct, without_specks
from taudis.types import Detection, FloatArray, IntArray, LabelMap, Target

DRAW = 1.0
DELETE = 0.2
PRIOR = 20.0
"""The pooled evidence of all labels weighs as much as this many objects of a label."""
TYPICAL_IOU = 0.75  # of a region that fits, where nothing was measured


@dataclass(frozen=True, eq=False)
class Savings:
    """What each detection saves when it is visible, and how many objects there are to draw.

    Rows are the detections of all images of a labelled set.
    """

    scores: FloatArray  # [n]
    labels: IntArray  # [n] 1..K
    savings: FloatArray  # [n] drawings; negative for a region that would be deleted
    objects: IntArray  # [K] objects of each label, crowds not counted
    images: int

    @classmethod
    def of(cls, images: Sequence[EvaluatedImage], labels: int) -> Savings:
        """Match the detections of each image to its truth. `labels` is K."""
        objects = np.zeros(labels, np.int64)
        for image in images:
            objects += np.bincount(image.true_labels[~image.iscrowd], minlength=labels + 1)[1:]
        return cls(
            np.concatenate([np.zeros(0), *(image.scores for image in images)]),
            np.concatenate([np.zeros(0, np.int64), *(image.labels for image in images)]),
            np.concatenate([np.zeros(0), *(_savings(image) for image in images)]),
            objects,
            len(images),
        )

    def cost(self, thresholds: FloatArray) -> float:
        """The mean cost of an image, in drawings, if `thresholds` [K] decide what is visible."""
        visible = self.scores >= thresholds[self.labels - 1]
        return float(DRAW * self.objects.sum() - self.savings[visible].sum()) / max(self.images, 1)


def _savings(image: EvaluatedImage) -> FloatArray:
    """The savings [n] of one image's detections; 0 for those in a crowd region."""
    savings = np.zeros(len(image.labels))
    for label in np.unique(image.labels):
        matching = match(image, label=int(label))
        without = np.where(matching.in_crowd, 0.0, -DELETE)
        found = matching.objects != NONE
        savings[matching.found] = np.where(found, DRAW * matching.ious, without)
    return savings


def with_visible_masks(target: Target, detection: Detection) -> EvaluatedImage:
    """An image with the detections that can become visible, of any score."""
    instances = distinct(without_specks(detection.instances))
    return EvaluatedImage.of(target, replace(detection, instances=instances))


def choose_thresholds(found: Savings, label_map: LabelMap) -> dict[str, float]:
    """The score threshold of each label with the least expected cost; {} without any object.

    Few images overfit, so each estimate is joined by a prior. The savings of a label's own
    detections are joined by the savings of all labels, which weigh as much as PRIOR objects. Those
    are joined in the same way by what a score promises: a detection of score s fits with
    probability s. A label without an object gets the threshold of all labels together.
    """
    total = int(found.objects.sum())
    if not total:
        return {}
    promised = found.scores * DRAW * TYPICAL_IOU - (1 - found.scores) * DELETE
    pooled = (total * found.savings + PRIOR * promised) / (total + PRIOR)
    chosen = {}
    for label, name in enumerate(label_map.names, start=1):
        own = (found.labels == label) * found.savings
        weighed = own + pooled * (PRIOR / total) if found.objects[label - 1] else pooled
        chosen[name] = _best_threshold(found.scores, weighed)
    return chosen


def _best_threshold(scores: FloatArray, savings: FloatArray) -> float:
    """The threshold, halfway between two scores, above which the savings sum up to most.

    Where no detection is worth showing, it lies halfway between the best score and 1: a detection
    with a higher score than all of these is still visible.
    """
    order = np.argsort(-scores, kind="stable")
    levels = np.concatenate([[1.0], scores[order], [0.0]])
    sums = np.concatenate([[0.0], np.cumsum(savings[order])])
    ends = np.flatnonzero(levels[:-1] > levels[1:])  # equal scores are visible together
    best = ends[int(np.argmax(sums[ends]))]
    return round(float(levels[best] + levels[best + 1]) / 2, 4)

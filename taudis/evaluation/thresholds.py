"""Expected cost of correcting pre-annotations, and the score thresholds with the least cost.

The unit of cost is a drawing, the work to draw an object without a pre-annotation:

    DRAW = 1        drawing an object that no visible region fits
    1 - IoU         reshaping a visible region that fits an object (same label, IoU >= 0.5)
    DELETE = 0.2    deleting a visible region that fits no object

Drawing an object takes about 80 s in COCO (Lin et al. 2014), and about 10 s for a small object with
a brush. To see that a region is wrong, click it and press a key takes 2 s. So DELETE is between
0.03 and 0.2. The upper end also accounts for wrong regions that nobody notices. A region with the
right shape and the wrong label counts as deleted and drawn, although changing its label costs less.

Detections are matched in the order of their scores (`taudis.evaluation.matching`). So the savings
(IoU) or cost (DELETE) of a detection do not depend on detections with lower scores. The best
threshold is where the cumulative sum of the savings is highest.
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
"""Weight of a prior: as much as this many objects of a label."""
TYPICAL_IOU = 0.75  # assumed IoU of a region that fits, in the prior


@dataclass(frozen=True, eq=False)
class Savings:
    """The savings of each detection if it is visible, and the numbers of objects to draw.

    The rows are the detections of all images of a labelled set.
    """

    scores: FloatArray  # [n]
    labels: IntArray  # [n] 1..K
    savings: FloatArray  # [n] drawings; negative for a region that must be deleted
    objects: IntArray  # [K] number of objects of each label, without crowds
    images: int

    @classmethod
    def of(cls, images: Sequence[EvaluatedImage], labels: int) -> Savings:
        """The savings from the matches of detections with the ground truth. labels: K."""
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
        """The mean cost per image, in drawings, with these score thresholds [K]."""
        visible = self.scores >= thresholds[self.labels - 1]
        return float(DRAW * self.objects.sum() - self.savings[visible].sum()) / max(self.images, 1)


def _savings(image: EvaluatedImage) -> FloatArray:
    """The savings [n] of an image's detections; 0 in a crowd region."""
    savings = np.zeros(len(image.labels))
    for label in np.unique(image.labels):
        matching = match(image, label=int(label))
        without = np.where(matching.in_crowd, 0.0, -DELETE)
        found = matching.objects != NONE
        savings[matching.found] = np.where(found, DRAW * matching.ious, without)
    return savings


def with_visible_masks(target: Target, detection: Detection) -> EvaluatedImage:
    """An image with the detections of any score that could be visible."""
    instances = distinct(without_specks(detection.instances))
    return EvaluatedImage.of(target, replace(detection, instances=instances))


def choose_thresholds(found: Savings, label_map: LabelMap) -> dict[str, float]:
    """The score threshold of each label with the least expected cost; {} without objects.

    To avoid overfitting to few images, each estimate has a prior. The prior of a label's savings is
    the savings of all labels, with the weight of PRIOR objects. The prior of the latter, with the
    same weight, assumes that a detection with score s fits an object with probability s. A label
    without objects gets the threshold of all labels together.
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
    """The threshold above which the sum of the savings is largest, halfway between two scores.

    If no detection is worth showing, it is halfway between the best score and 1. So a later
    detection with a higher score can be visible.
    """
    order = np.argsort(-scores, kind="stable")
    levels = np.concatenate([[1.0], scores[order], [0.0]])
    sums = np.concatenate([[0.0], np.cumsum(savings[order])])
    ends = np.flatnonzero(levels[:-1] > levels[1:])  # no threshold between equal scores
    best = ends[int(np.argmax(sums[ends]))]
    return round(float(levels[best] + levels[best + 1]) / 2, 4)

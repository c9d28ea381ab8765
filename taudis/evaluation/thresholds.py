"""What a pre-annotation costs the person who corrects it, and the thresholds that cost least.

The cost of an image, in drawings (1 = drawing one object from nothing):

    DRAW = 1        an object that nothing shown fits is drawn
    1 - IoU         a shown region that fits an object (same label, IoU >= 0.5) is reshaped
    DELETE = 0.2    a shown region that fits no object is deleted

Drawing takes about 80 s an object in COCO (Lin et al. 2014) and some 10 s with a brush on a small
one; to see that a region is wrong, click it and press a key takes 2 s, so DELETE lies between 0.03
and 0.2; the upper end also pays for wrong regions that nobody notices. A region of the right shape
and the wrong label counts as deleted and drawn, though relabelling it is cheaper.

Matching goes by score, best first, as in COCO's protocol; so what a threshold shows is a prefix of
one ranking, each detection saves (IoU) or costs (DELETE) the same whatever is shown after it, and
the best threshold lies where the running sum of savings is highest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from faster_coco_eval import mask as rle_tools

from taudis.evaluation.metrics import Judged
from taudis.evaluation.visible import distinct, without_specks
from taudis.types import Detection, FloatArray, IntArray, LabelMap, Target

DRAW = 1.0
DELETE = 0.2
FITS = 0.5
"""IoU from which correcting a region is worth more than drawing anew."""
PRIOR = 20.0
"""Instances that the pooled evidence counts as beside a label's own."""
TYPICAL_IOU = 0.75  # of a region that fits, where nothing was measured


@dataclass(frozen=True, eq=False)
class Savings:
    """What each detection of a labelled set saves when it is shown, and how much there is to draw.

    Rows are detections of all images.
    """

    scores: FloatArray  # [n]
    labels: IntArray  # [n] 1..K
    savings: FloatArray  # [n] drawings; negative for a region that would be deleted
    objects: IntArray  # [K] objects of each label, crowds not counted
    images: int

    @classmethod
    def of(cls, judged: Sequence[Judged], labels: int) -> Savings:
        """Match the detections of each image to its truth. `labels` is K."""
        objects = np.zeros(labels, np.int64)
        for image in judged:
            objects += np.bincount(image.true_labels[~image.iscrowd], minlength=labels + 1)[1:]
        return cls(
            np.concatenate([np.zeros(0), *(image.scores for image in judged)]),
            np.concatenate([np.zeros(0, np.int64), *(image.labels for image in judged)]),
            np.concatenate([np.zeros(0), *(_savings(image) for image in judged)]),
            objects,
            len(judged),
        )

    def cost(self, thresholds: FloatArray) -> float:
        """The mean cost of an image, in drawings, when `thresholds` [K] decide what is shown."""
        seen = self.scores >= thresholds[self.labels - 1]
        return float(DRAW * self.objects.sum() - self.savings[seen].sum()) / max(self.images, 1)


def _savings(image: Judged) -> FloatArray:
    """The savings [n] of one image's detections; 0 for those in a crowd."""
    savings = np.full(len(image.labels), -DELETE)
    for label in np.unique(image.labels):
        found = np.flatnonzero(image.labels == label)
        found = found[np.argsort(-image.scores[found], kind="stable")]
        truth = np.flatnonzero(image.true_labels == label)
        if len(truth):
            savings[found] = _matched(image, found, truth)
    return savings


def _matched(image: Judged, found: IntArray, truth: IntArray) -> FloatArray:
    """Greedy one-to-one matching of one label's detections, best first, to its objects."""
    crowd = image.iscrowd[truth]
    ious = np.asarray(
        rle_tools.iou(
            [image.masks[row] for row in found],
            [image.true_masks[row] for row in truth],
            crowd.astype(np.uint8).tolist(),
        )
    )  # [found, truth]
    free, savings = ~crowd, np.full(len(found), -DELETE)
    for row, overlaps in enumerate(ious):
        best = int(np.argmax(np.where(free, overlaps, -1.0)))
        if free[best] and overlaps[best] >= FITS:
            free[best] = False
            savings[row] = DRAW * overlaps[best]
        elif (overlaps[crowd] >= FITS).any():
            savings[row] = 0.0
    return savings


def as_shown(target: Target, detection: Detection) -> Judged:
    """One image's truth and what a person could be shown of it, at any score."""
    instances = distinct(without_specks(detection.instances))
    return Judged.of(target, replace(detection, instances=instances))


def choose_thresholds(found: Savings, label_map: LabelMap) -> dict[str, float]:
    """The score threshold of each label with the least expected cost; {} without any object.

    Few images overfit: a label's own savings are joined by the pooled ones of all labels, which
    weigh as much as PRIOR objects; and the pooled ones are shrunk in the same way towards what a
    score promises by itself (a detection of score s fits with probability s). A label without an
    object to judge by so gets the pooled threshold.
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

    Where nothing is worth showing it lies halfway between the best score and 1: a detection surer
    than any that was judged is still shown.
    """
    order = np.argsort(-scores, kind="stable")
    levels = np.concatenate([[1.0], scores[order], [0.0]])
    sums = np.concatenate([[0.0], np.cumsum(savings[order])])
    ends = np.flatnonzero(levels[:-1] > levels[1:])  # equal scores are shown together
    best = ends[int(np.argmax(sums[ends]))]
    return round(float(levels[best] + levels[best + 1]) / 2, 4)

"""Which labels a detector mistakes for which: the confusion matrix of instances."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from faster_coco_eval import mask as rle_tools

from taudis.evaluation.matching import Judged
from taudis.types import FloatArray, IntArray

CONFIDENT = 0.5
"""Detections below this score are not counted: a person would hardly be shown them."""


def confusion(
    judged: Iterable[Judged], labels: int, *, score: float = CONFIDENT, iou: float = 0.5
) -> IntArray:
    """Counts [K+1,K+1] of instances: true label by row, detected label by column.

    Each detection of at least `score`, best first, takes the free instance that it overlaps most,
    whatever its label, from an IoU of `iou` on. Row 0 holds detections of nothing, column 0
    instances that were missed. Detections of a crowd are not counted.
    """
    counts = np.zeros((labels + 1, labels + 1), np.int64)
    for image in judged:
        sure = np.flatnonzero(image.scores >= score)
        sure = sure[np.argsort(-image.scores[sure], kind="stable")]
        free = ~image.iscrowd
        for row, overlap in zip(sure, _overlaps(image, sure), strict=True):
            able = np.where(free, overlap, 0.0)
            if able.max(initial=0.0) >= iou:
                found = int(able.argmax())
                free[found] = False
                counts[image.true_labels[found], image.labels[row]] += 1
            elif not (image.iscrowd & (overlap >= iou)).any():
                counts[0, image.labels[row]] += 1
        counts[:, 0] += np.bincount(image.true_labels[free], minlength=labels + 1)
    return counts


def _overlaps(image: Judged, rows: IntArray) -> FloatArray:
    """IoU [n,g] of detections with instances (with crowds: the detection's covered share)."""
    if not len(rows) or not len(image.true_labels):
        return np.zeros((len(rows), len(image.true_labels)))
    crowd = image.iscrowd.astype(np.uint8).tolist()
    return np.asarray(rle_tools.iou([image.masks[row] for row in rows], image.true_masks, crowd))

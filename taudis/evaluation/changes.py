"""Counts by label what a person changed in the pre-annotation of an image.

The regions of the pre-annotation are matched with the objects that the person submitted
(`taudis.evaluation.matching`): first within each label, then the remaining ones across labels.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from taudis.evaluation.matching import NONE, EvaluatedImage, match
from taudis.types import BoolArray, IntArray

ACCEPTED_IOU = 0.85
"""Least mask IoU of an accepted region. People do not correct every pixel, so this is a choice."""
UNCHANGED_IOU = 0.99
"""Least mask IoU of an untouched region. Below 1, because saving can change an outline a little."""


@dataclass(frozen=True)
class Changes:
    """Numbers of regions of pre-annotations, and of objects without a region."""

    accepted: int = 0  # regions: same label, IoU of at least ACCEPTED_IOU
    unchanged: int = 0  # accepted regions with an IoU of at least UNCHANGED_IOU
    reshaped: int = 0  # regions: same label, IoU from 0.5 to ACCEPTED_IOU
    relabelled: int = 0  # regions: another label, IoU of at least 0.5; under the region's label
    removed: int = 0  # regions: no object with an IoU of at least 0.5
    added: int = 0  # objects that no region fits, under any label

    def __add__(self, other: Changes) -> Changes:
        """The sum, field by field."""
        return Changes(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def regions(self) -> int:
        """Number of regions of the pre-annotations, without those in crowd regions."""
        return self.accepted + self.reshaped + self.relabelled + self.removed

    @property
    def objects(self) -> int:
        """Number of submitted objects."""
        return self.accepted + self.reshaped + self.relabelled + self.added


def changes(image: EvaluatedImage) -> dict[int, Changes]:
    """The changes in an image, by label.

    Args:
        image: the objects that a person submitted, and the regions of the pre-annotation as
            detections. Regions inside a crowd region of their label, or of ANY_LABEL, are not
            counted.
    """
    found: dict[int, Changes] = defaultdict(Changes)
    unmatched, free = np.zeros(len(image.labels), bool), ~image.iscrowd
    for label in np.unique(image.labels).tolist():
        matching = match(image, label=label)
        fits = matching.objects != NONE
        good = int((matching.ious >= ACCEPTED_IOU).sum())
        found[label] += Changes(
            accepted=good,
            unchanged=int((matching.ious >= UNCHANGED_IOU).sum()),
            reshaped=int(fits.sum()) - good,
        )
        free[matching.objects[fits]] = False
        unmatched[matching.found[~fits & ~matching.in_crowd]] = True
    rest = match(_part(image, unmatched, free))
    labels, objects = image.labels[unmatched], np.flatnonzero(free)
    for row, taken in zip(rest.found.tolist(), rest.objects.tolist(), strict=True):
        other = taken != NONE
        found[int(labels[row])] += Changes(relabelled=int(other), removed=int(not other))
    free[objects[rest.objects[rest.objects != NONE]]] = False
    for label in image.true_labels[free].tolist():
        found[label] += Changes(added=1)
    return dict(found)


def _part(image: EvaluatedImage, regions: BoolArray, objects: BoolArray) -> EvaluatedImage:
    """The image with some of its regions and objects. `objects` must have no crowd region."""
    return EvaluatedImage(
        image.size,
        image.true_labels[objects],
        _chosen(image.true_masks, np.flatnonzero(objects)),
        np.zeros(int(objects.sum()), bool),
        image.labels[regions],
        image.scores[regions],
        _chosen(image.masks, np.flatnonzero(regions)),
    )


def _chosen(rows: list[dict[str, Any]], which: IntArray) -> list[dict[str, Any]]:
    return [rows[row] for row in which.tolist()]

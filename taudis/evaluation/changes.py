"""What a person changed in the pre-annotation of one image, counted by label.

The regions of the pre-annotation are matched with the objects that the person submitted, by the
matching of all other figures (`taudis.evaluation.matching`): first within each label, then what is
left over across labels.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from taudis.evaluation.matching import NONE, EvaluatedImage, match
from taudis.types import BoolArray, IntArray

ACCEPTED_IOU = 0.85
"""Mask IoU from which on a region stays as it is. A choice: people do not correct every pixel."""
UNCHANGED_IOU = 0.99
"""Mask IoU from which on a region was not touched. Below 1, since outlines are drawn anew."""


@dataclass(frozen=True)
class Changes:
    """Counts of the regions of pre-annotations, and of the objects that no region was for."""

    accepted: int = 0  # same label, IoU of at least ACCEPTED_IOU
    unchanged: int = 0  # those of the accepted with an IoU of at least UNCHANGED_IOU
    reshaped: int = 0  # same label, IoU from 0.5 to ACCEPTED_IOU
    relabelled: int = 0  # another label, IoU of at least 0.5; counted for the region's label
    removed: int = 0  # no object with an IoU of at least 0.5
    added: int = 0  # objects that no region fits, whatever its label

    def __add__(self, other: Changes) -> Changes:
        """The sum, field by field."""
        return Changes(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def regions(self) -> int:
        """The regions of the pre-annotations. Those in crowd regions count nowhere."""
        return self.accepted + self.reshaped + self.relabelled + self.removed

    @property
    def objects(self) -> int:
        """The objects that were submitted."""
        return self.accepted + self.reshaped + self.relabelled + self.added


def changes(image: EvaluatedImage) -> dict[int, Changes]:
    """What became of each region of an image, by label.

    Args:
        image: the objects that a person submitted, and the regions of the pre-annotation as
            detections. A crowd region takes regions of its own label.
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
    """Some of an image's regions and objects. `objects` holds no crowd region."""
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

"""Counts the corrections that pre-annotations need, from the ground truth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from taudis.evaluation.changes import Changes, changes
from taudis.evaluation.matching import EvaluatedImage
from taudis.evaluation.visible import DEFAULT_THRESHOLD, visible
from taudis.simulation.row_format import Corrections
from taudis.types import Detection, Target


def corrections(seen: Iterable[tuple[Target, Detection]]) -> Corrections:
    """The numbers of regions that a person accepts, reshapes, adds and removes in all images.

    The person sees detections with a score of at least 0.5, one per object, without specks
    (`taudis.evaluation.visible`). A simulation has no validation images to choose other thresholds.
    A region that fits an object (same label, IoU of at least 0.5) is accepted or reshaped. A region
    that fits no object is removed, and an object that no region fits is added. A region with only
    the label wrong counts as both removed and added. Crowd regions are not counted.
    """
    total = Changes()
    for target, detection in seen:
        labels = detection.instances.class_probs.shape[1] - 1
        regions = visible(detection.instances, np.full(labels, DEFAULT_THRESHOLD))
        image = EvaluatedImage.of(target, replace(detection, instances=regions))
        total = sum(changes(image).values(), total)
    return Corrections(
        total.accepted,
        total.reshaped,
        total.added + total.relabelled,
        total.removed + total.relabelled,
    )

"""What a person does who corrects the pre-annotations of images, counted from the ground truth."""

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
    """The regions of all images by what happens to them.

    Visible are detections from a score of 0.5 on (a simulation has no validation images to choose
    thresholds on), one an object, without specks. A region that fits an object (same label, IoU of
    at least 0.5) is accepted or reshaped. An object that no region fits is added, a region that
    fits none is removed, both where the label alone is wrong. Crowd regions count nowhere.
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

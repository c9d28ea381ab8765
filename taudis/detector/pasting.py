"""Masks of detections at the size of their image.

The model gives each mask as 28 x 28 probabilities inside a box. Evaluation and COCO files need
masks of the image's size. They are resized with torchvision's function, so that they equal the
masks of torchvision's model bit for bit. (Pre-annotations need only the part inside the box.
`backend.label_studio.regions.encode` computes only this part, with OpenCV, which is faster.)
"""

from __future__ import annotations

import numpy as np
import torch
from torchvision.models.detection.roi_heads import paste_masks_in_image

from taudis.types import BoolArray, Detection


def pasted_masks(detection: Detection, threshold: float = 0.5) -> BoolArray:
    """The masks [n,H,W] of a detection: True where the probability is at least `threshold`.

    The detection must have `mask_probs`.
    """
    rows, (height, width) = detection.instances, detection.size
    pasted = np.zeros((len(rows), height, width), bool)
    probs = torch.from_numpy(rows.mask_probs)[:, None]
    boxes = torch.from_numpy(rows.boxes)
    for row in range(len(rows)):  # one at a time, because float masks of all detections are large
        one = slice(row, row + 1)
        found = paste_masks_in_image(probs[one], boxes[one], detection.size)
        pasted[row] = found[0, 0] >= threshold
    return pasted

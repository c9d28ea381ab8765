"""Masks of detections at the size of their image.

The model gives each mask as 28 x 28 probabilities inside a box. Evaluation and COCO files need one
mask of the image's height and width. The resizing is torchvision's own function, so that the masks
equal those of the stock model in every bit. (Pre-annotations need only the part inside the box;
`backend.label_studio.regions.encode` computes that part alone, with OpenCV, which is faster.)
"""

from __future__ import annotations

import numpy as np
import torch
from torchvision.models.detection.roi_heads import paste_masks_in_image

from taudis.types import BoolArray, Detection


def pasted_masks(detection: Detection, threshold: float = 0.5) -> BoolArray:
    """The masks [n,H,W] of a detection: True where the probability is at least `threshold`.

    The detection must hold `mask_probs`.
    """
    rows, (height, width) = detection.instances, detection.size
    pasted = np.zeros((len(rows), height, width), bool)
    probs = torch.from_numpy(rows.mask_probs)[:, None]
    boxes = torch.from_numpy(rows.boxes)
    for row in range(len(rows)):  # one at a time: float masks of a dense image are large
        one = slice(row, row + 1)
        found = paste_masks_in_image(probs[one], boxes[one], detection.size)
        pasted[row] = found[0, 0] >= threshold
    return pasted

"""Masks of detections at the size of their image.

The model gives each mask as 28 x 28 probabilities inside a box. Evaluation and COCO files need
masks of the image's size. They are resized with torchvision's function, so that they equal the
masks of torchvision's model bit for bit. (Pre-annotations need only the part inside the box.
`backend.label_studio.regions.encode` computes only this part, with OpenCV, which is faster.)
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torchvision.models.detection.roi_heads import paste_masks_in_image

from taudis.types import BoolArray, Detection


def each_pasted_mask(detection: Detection, threshold: float = 0.5) -> Iterator[BoolArray]:
    """The masks [H,W] of a detection, one after the other: those of all instances can be large.

    True where the probability is at least `threshold`. The detection must have `mask_probs`.
    """
    rows = detection.instances
    probs = torch.from_numpy(rows.mask_probs)[:, None]
    boxes = torch.from_numpy(rows.boxes)
    for row in range(len(rows)):
        one = slice(row, row + 1)
        found = paste_masks_in_image(probs[one], boxes[one], detection.size)
        yield (found[0, 0] >= threshold).numpy()


def pasted_masks(detection: Detection, threshold: float = 0.5) -> BoolArray:
    """The masks [n,H,W] of `each_pasted_mask`."""
    pasted = np.zeros((len(detection.instances), *detection.size), bool)
    for row, mask in enumerate(each_pasted_mask(detection, threshold)):
        pasted[row] = mask
    return pasted

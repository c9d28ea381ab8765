"""Hides crowd regions before training. This file does not import torch."""

from __future__ import annotations

from taudis.types import Image, Target

MEAN_COLOUR = (124, 116, 104)
"""The mean colour of ImageNet, RGB of 255 (`IMAGE_MEAN`). A normalised image is 0 there."""


def hide_crowds(image: Image, target: Target) -> tuple[Image, Target]:
    """Remove crowd regions from the target, and paint them in the mean colour in the image.

    They are neither objects nor background. Pixels of labelled instances are not painted.
    """
    if not target.iscrowd.any():
        return image, target
    single = ~target.iscrowd
    hidden = target.masks[target.iscrowd].any(0) & ~target.masks[single].any(0)
    image = image.copy()
    image[hidden] = MEAN_COLOUR
    return image, Target(
        target.boxes[single], target.labels[single], target.masks[single], target.iscrowd[single]
    )

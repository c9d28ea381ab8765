"""Training examples: one labelled image becomes one random crop, flipped and turned.

All randomness comes from the generator that is given, so that an example is a function of
(seed, step, place in the batch) alone.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from taudis.architecture import IMAGE_MEAN, ModelConfig
from taudis.errors import DataError
from taudis.instances import BoolArray, Target
from taudis.mask_rcnn import Image, check_image, to_tensor

MEAN_COLOUR = tuple(round(255 * value) for value in IMAGE_MEAN)


def check_sample(image: Image, target: Target, labels: int) -> None:
    """Raise DataError unless the target belongs to this image and to a map of `labels` labels."""
    check_image(image)
    if target.masks.shape[1:] != image.shape[:2] and len(target):
        raise DataError(
            f"Target.masks: expected the image's size {list(image.shape[:2])}, got"
            f" {list(target.masks.shape[1:])}."
        )
    if len(target) and target.labels.max() > labels:
        raise DataError(f"Target.labels: expected labels up to {labels}, got {target.labels.max()}")


def hide_crowds(image: Image, target: Target) -> tuple[Image, Target]:
    """Crowd regions painted in the mean colour and dropped: neither objects nor background.

    Pixels that also belong to a labelled instance stay as they are.
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


def at_working_size(image: Image, target: Target, config: ModelConfig) -> tuple[Image, Target]:
    """Image (bilinear, area when it shrinks) and masks (nearest) at the size the model works at."""
    height, width = image.shape[:2]
    size = config.working_size(height, width)
    if size == (height, width):
        return image, target
    method = cv2.INTER_AREA if size[0] < height else cv2.INTER_LINEAR
    scaled = cv2.resize(image, size[::-1], interpolation=method).astype(np.uint8)
    masks = np.zeros((len(target), *size), bool)
    for row, mask in enumerate(target.masks):
        masks[row] = cv2.resize(mask.view(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST)
    return scaled, Target.from_masks(masks, target.labels, target.iscrowd)


def prepare(image: Image, target: Target, config: ModelConfig, labels: int) -> tuple[Image, Target]:
    """What is the same in every epoch: checked, crowds hidden, at the working size."""
    check_sample(image, target, labels)
    return at_working_size(*hide_crowds(image, target), config)


def _window(length: int, crop: int | None, rng: np.random.Generator) -> slice:
    """A random window of `crop` px, or the whole length where that is shorter."""
    size = length if crop is None else min(crop, length)
    start = int(rng.integers(0, length - size + 1))
    return slice(start, start + size)


def _turned(image: Image, masks: BoolArray, rng: np.random.Generator) -> tuple[Image, BoolArray]:
    """One of the eight flips and quarter turns, the same for image [H,W,3] and masks [n,H,W]."""
    turns, flip = int(rng.integers(4)), bool(rng.integers(2))
    image, masks = np.rot90(image, turns), np.rot90(masks, turns, axes=(1, 2))
    return (image[:, ::-1], masks[:, :, ::-1]) if flip else (image, masks)


def example(
    image: Image, target: Target, *, crop: int | None, turns: bool, rng: np.random.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """A random crop of a prepared image with what is left of its instances.

    Returns the image float32 [3,h,w] in 0..1 and torchvision's target dictionary: tight boxes
    [n,4] of at least one pixel, labels [n], masks [n,h,w] uint8; n may be 0.
    """
    rows, columns = _window(image.shape[0], crop, rng), _window(image.shape[1], crop, rng)
    image, masks = image[rows, columns], target.masks[:, rows, columns]
    if turns:
        image, masks = _turned(image, masks, rng)
    elif rng.integers(2):
        image, masks = image[:, ::-1], masks[:, :, ::-1]
    left = Target.from_masks(np.ascontiguousarray(masks), target.labels)
    return to_tensor(image), {
        "boxes": torch.from_numpy(left.boxes),
        "labels": torch.from_numpy(left.labels),
        "masks": torch.from_numpy(left.masks.view(np.uint8)),
    }

"""Training examples: one labelled image becomes one random crop, flipped, turned and coloured.

All randomness comes from the generator that is given, so that an example is a function of
(seed, step, place in the batch) alone.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F  # noqa: N812

from taudis.detector.architecture import IMAGE_MEAN, ModelConfig
from taudis.errors import DataError
from taudis.types import Image, Target, check_image

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


def _window(length: int, crop: int | None, rng: np.random.Generator) -> tuple[int, int]:
    """Start and size of a random window of `crop` px, or the whole length where it is shorter."""
    size = length if crop is None else min(crop, length)
    return int(rng.integers(0, length - size + 1)), size


def _coloured(image: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Brightness, contrast and saturation, each times a random factor of 1 +- strength."""
    for adjust in (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation):
        image = adjust(image, float(rng.uniform(1 - strength, 1 + strength)))
    return image


def example(
    image: Image,
    target: Target,
    *,
    crop: int | None,
    turns: bool,
    colour: float = 0.0,
    rng: np.random.Generator,
) -> tuple[Tensor, dict[str, Tensor]]:
    """A random crop of a prepared image with what is left of its instances.

    torchvision.transforms.v2 changes the pixels; what it does is drawn from `rng`, since its own
    transforms draw from torch's global generator, which threads would share.

    Returns the image float32 [3,h,w] in 0..1 and torchvision's target dictionary: tight boxes
    [n,4] of at least one pixel, labels [n], masks [n,h,w] uint8; n may be 0.
    """
    top, height = _window(image.shape[0], crop, rng)
    left, width = _window(image.shape[1], crop, rng)
    pixels = F.crop(torch.from_numpy(image).permute(2, 0, 1), top, left, height, width)
    masks = F.crop(torch.from_numpy(target.masks), top, left, height, width)
    if turns:
        quarters = int(rng.integers(4))
        pixels, masks = (torch.rot90(each, quarters, (1, 2)) for each in (pixels, masks))
    if rng.integers(2):
        pixels, masks = F.horizontal_flip(pixels), F.horizontal_flip(masks)
    if colour:
        pixels = _coloured(pixels, colour, rng)
    seen = Target.from_masks(np.ascontiguousarray(masks.numpy()), target.labels)
    return F.to_dtype(pixels.contiguous(), torch.float32, scale=True), {
        "boxes": torch.from_numpy(seen.boxes),
        "labels": torch.from_numpy(seen.labels),
        "masks": torch.from_numpy(seen.masks.view(np.uint8)),
    }

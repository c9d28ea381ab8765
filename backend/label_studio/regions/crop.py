"""A mask with its position in the image. All shapes are converted to and from this form."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from backend.errors import RegionError
from taudis.types import BoolArray


@dataclass(frozen=True, eq=False)
class Crop:
    """A mask given by `mask` [h,w] at column x, row y of its image. Outside, it is empty."""

    mask: BoolArray
    x: int
    y: int

    def paste(self, height: int, width: int) -> BoolArray:
        """The full mask [height,width] px. The crop must lie inside."""
        full = np.zeros((height, width), bool)
        rows, columns = self.mask.shape
        full[self.y : self.y + rows, self.x : self.x + columns] = self.mask
        return full


def tight(crop: Crop) -> Crop:
    """The crop without empty outer rows and columns. Raises RegionError (no_pixel) if empty."""
    left, top, columns, rows = cv2.boundingRect(crop.mask.view(np.uint8))
    if not columns:
        raise RegionError("The region covers no pixel of the image.", "no_pixel")
    mask = crop.mask[top : top + rows, left : left + columns].copy()
    return Crop(mask, crop.x + left, crop.y + top)


def union(crops: list[Crop]) -> Crop:
    """The crop with the pixels of all given crops (at least one)."""
    x, y = min(crop.x for crop in crops), min(crop.y for crop in crops)
    right = max(crop.x + crop.mask.shape[1] for crop in crops)
    bottom = max(crop.y + crop.mask.shape[0] for crop in crops)
    mask = np.zeros((bottom - y, right - x), bool)
    for crop in crops:
        rows, columns = crop.mask.shape
        mask[crop.y - y : crop.y - y + rows, crop.x - x : crop.x - x + columns] |= crop.mask
    return Crop(mask, x, y)


def resized(mask: BoolArray, height: int, width: int) -> BoolArray:
    """A mask in another size: the pixels that are at least half covered.

    If a mask is too thin to cover half of any pixel, all pixels that it touches. A drawn object
    must not vanish, because its pixels would train as background.
    """
    if mask.shape == (height, width):
        return mask
    scaled = cv2.resize(mask.astype(np.uint8) * 255, (width, height), interpolation=cv2.INTER_AREA)
    found = np.asarray(scaled >= 128)
    if found.any() or not mask.any():
        return found
    rows, columns = np.nonzero(mask)
    found[rows * height // mask.shape[0], columns * width // mask.shape[1]] = True
    return found

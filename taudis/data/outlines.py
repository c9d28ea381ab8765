"""Traces the outlines of a mask along pixel corners, and joins holes to their outlines.

OpenCV traces pixel centres, so its outlines are half a pixel too small on every side.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from taudis.types import BoolArray, IntArray

Points = npt.NDArray[np.float64]
Part = tuple[IntArray, list[IntArray]]  # outline [n,2] and holes (x, y), px at pixel corners


def parts_of(mask: BoolArray) -> list[Part]:
    """The 8-connected parts of a mask [H,W], each with its holes, in the order of cv2."""
    # In the doubled mask, every corner has a separate contour pixel, whose centre maps to it.
    doubled = cv2.resize(mask.astype(np.uint8), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    contours, tree = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return []
    corners = [(contour[:, 0, :].astype(np.int64) + 1) // 2 for contour in contours]
    parents = tree[0, :, 3]
    return [
        (corners[index], [corners[hole] for hole in np.flatnonzero(parents == index)])
        for index in np.flatnonzero(parents < 0)
    ]


def area(points: IntArray | Points) -> float:
    """Signed area, px, of a ring of points, integers or halves; 0 for fewer than three points."""
    return float(cv2.contourArea(points.astype(np.float32), oriented=True))


def following(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The successor of each value in a ring [n,...]: np.roll by -1, but much faster."""
    return np.concatenate((values[1:], values[:1]))


def oriented(points: Points, sign: int) -> Points:
    """The ring, reversed if needed so that its area has this sign."""
    return points if area(points) * sign > 0 else points[::-1]


def bridge(outline: Points, hole: Points) -> Points:
    """A single ring: along the outline to the corner nearest to the hole, around it, and on."""
    best, at, start = np.inf, 0, 0
    for index, corner in enumerate(hole):
        distances = ((outline - corner) ** 2).sum(axis=1)
        nearest = int(distances.argmin())
        if distances[nearest] < best:
            best, at, start = float(distances[nearest]), nearest, index
    around = np.concatenate([hole[start:], hole[: start + 1]])
    return np.concatenate([outline[: at + 1], around, outline[at:]])

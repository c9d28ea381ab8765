"""The scene that each exporter writes: one picture with four objects. It needs numpy alone.

- a: a square of 400 px.
- b: 800 px, with a hole of 200 px.
- c: two parts of 100 px.
- d: a line, one px wide.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

HEIGHT, WIDTH = 80, 100
FILE = "scene.png"
NAMES = ("a", "b", "c", "d")
CATEGORIES = ("thing", "part")
CATEGORY = {"a": 0, "b": 0, "c": 1, "d": 1}
"""The row in CATEGORIES of each object."""

# x1, y1, x2, y2 at pixel corners
SQUARE = (10, 10, 30, 30)
PLATE, HOLE = (40, 10, 80, 35), (50, 15, 70, 25)
PARTS = ((10, 50, 20, 60), (30, 60, 40, 70))
LINE = (60, 40, 61, 75)

Mask = npt.NDArray[np.bool_]
Box = tuple[int, int, int, int]


def _filled(*boxes: Box) -> Mask:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    for x1, y1, x2, y2 in boxes:
        mask[y1:y2, x1:x2] = True
    return mask


def masks() -> dict[str, Mask]:
    """Each object's mask [HEIGHT,WIDTH], by name."""
    return {
        "a": _filled(SQUARE),
        "b": _filled(PLATE) & ~_filled(HOLE),
        "c": _filled(*PARTS),
        "d": _filled(LINE),
    }


def picture() -> npt.NDArray[np.uint8]:
    """The objects on a grey ground, uint8 [HEIGHT,WIDTH,3]."""
    image = np.full((HEIGHT, WIDTH, 3), 96, np.uint8)
    for row, mask in enumerate(masks().values()):
        image[mask] = (60 + 50 * row, 220 - 40 * row, 30 + 70 * (row % 3))
    return image


def ring(box: Box) -> list[list[int]]:
    """The corners of a box as a polygon's points."""
    x1, y1, x2, y2 = box
    return [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]

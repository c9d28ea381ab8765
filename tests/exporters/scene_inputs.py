"""The scene as an image file and as boxes: inputs that several exporters take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from scene import FILE, picture


def save_picture(folder: Path) -> Path:
    """Write the picture of the scene to a folder; the file's path."""
    path = folder / FILE
    Image.fromarray(picture()).save(path)
    return path


def box_of(mask: np.ndarray) -> list[int]:
    """The bounding box of a mask: x1, y1, x2, y2 at pixel corners."""
    ys, xs = np.nonzero(mask)
    return [int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1]

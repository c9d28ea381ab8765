"""Makes small pictures of images with the masks of their pre-annotations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from backend.errors import ImageError
from backend.images.decode import Pixels
from backend.label_studio.label_colours import RGB
from backend.label_studio.label_config import LabelConfig
from backend.label_studio.regions import decode_annotation
from taudis.types import Target

SIDE = 320  # px of the longer side
QUALITY = 82  # of the JPEG
FILL = 0.4  # opacity of a mask


def thumbnail(
    image: Pixels, regions: Sequence[Any], config: LabelConfig, colours: Sequence[RGB]
) -> tuple[bytes, tuple[int, int], dict[str, int]]:
    """A picture with the masks of its regions.

    Args:
        image: RGB uint8 [H,W,3].
        regions: a prediction's `result`.
        config: the labelling config.
        colours: RGB colour of each of its labels, 0 to 255.

    Returns:
        The JPEG, its height and width in px, and the number of masks by label.

    Raises ImageError if the picture cannot be encoded.
    """
    scale = min(1.0, SIDE / max(image.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    # Masks are resized one by one, because all masks of a large image do not fit in memory.
    own = (image.shape[0], image.shape[1])
    target = decode_annotation(regions, config, size=(height, width), largest=own).target
    found: dict[str, int] = {}
    if target is not None:
        small = _drawn(small, target, colours)
        for label in target.labels[~target.iscrowd].tolist():
            name = config.label_map.names[label - 1]
            found[name] = found.get(name, 0) + 1
    quality = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    well, data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), quality)
    if not well:
        raise ImageError("The picture for the status page could not be encoded.")
    return data.tobytes(), (height, width), found


def _drawn(small: Pixels, target: Target, colours: Sequence[RGB]) -> Pixels:
    """The picture with each mask filled and outlined in the colour of its label."""
    canvas = small.astype(np.float32)
    outlined = []
    for mask, label, crowd in zip(target.masks, target.labels, target.iscrowd, strict=True):
        if crowd:
            continue
        colour = colours[int(label) - 1]
        canvas[mask] = (1 - FILL) * canvas[mask] + FILL * np.array(colour, np.float32)
        outlines, _ = cv2.findContours(
            mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
        )
        outlined.append((outlines, colour))
    picture: Pixels = canvas.round().astype(np.uint8)
    for outlines, colour in outlined:
        cv2.drawContours(picture, outlines, -1, colour, 2)
    return picture

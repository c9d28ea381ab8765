"""Decodes an image file to RGB pixels. Errors name a remedy for users of Label Studio."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from backend.errors import ImageError
from taudis.data import images
from taudis.errors import DataError, ImageTooLarge

Pixels = npt.NDArray[np.uint8]


def decode_image(data: bytes, max_pixels: int) -> Pixels:
    """Decode a file to RGB uint8 [H,W,3] with `taudis.data.images`, like the command line.

    The size is checked before any pixel is decoded. Raises ImageError if the file is no image,
    damaged, truncated, of an unsupported kind, or larger than `max_pixels`.
    """
    try:
        return images.decode_image(data, max_pixels)
    except ImageTooLarge as error:
        raise ImageError(
            f"The image has {error.width} x {error.height} px, at most {max_pixels} px are decoded;"
            " scale it down or raise MAX_IMAGE_PIXELS."
        ) from None
    except DataError as error:
        raise ImageError(str(error)) from None

"""Label Studio's bitmask format: a PNG of the image's size as a data: address.

The editor (1.23.2, `regions/BitmaskRegion.jsx`) paints pixels whose alpha is above 0, so a PNG
without alpha paints the whole image. The editor writes black pixels on a transparent background, at
the image's size.
"""

from __future__ import annotations

import base64
from io import BytesIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from backend.errors import ImageError, RegionError
from backend.label_studio.addresses import is_data_address, read_data_address
from taudis.data.images import BROKEN
from taudis.types import BoolArray

FORMATS = ("PNG", "WEBP")
MAX_BYTES = 50_000_000


def decode_bitmask(address: object, max_pixels: int) -> BoolArray:
    """The mask [H,W] of a bitmask's `imageDataURL`: its pixels with an alpha above 0.

    Raises RegionError if it is no data: address, no PNG, damaged, or larger than `max_pixels`. The
    size is checked before any pixel is decoded.
    """
    if not isinstance(address, str) or not is_data_address(address.strip()):
        raise RegionError(f"Bitmask: expected data:image/png;base64,..., got {address!r:.40}.")
    try:
        data = read_data_address(address.strip(), MAX_BYTES)
    except ImageError as error:
        raise RegionError(f"Bitmask: {error}") from None
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise RegionError(
                    f"Bitmask: expected at most {max_pixels} px, got {width} x {height}."
                )
            if not image.has_transparency_data:
                return np.ones((height, width), bool)
            return np.asarray(image.convert("RGBA").getchannel("A")) > 0
    except RegionError:
        raise
    except UnidentifiedImageError:
        raise RegionError("Bitmask: expected a PNG, got no image.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise RegionError(f"Bitmask: expected at most {max_pixels} px, got far more.") from None
    except BROKEN:
        raise RegionError("Bitmask: the PNG is broken or cut short.") from None


def encode_bitmask(mask: BoolArray) -> str:
    """A mask [H,W] as a bitmask's `imageDataURL`: black inside the mask, else transparent."""
    image = Image.fromarray(np.asarray(mask, np.uint8), "P")
    image.putpalette([0, 0, 0, 0, 0, 0])
    file = BytesIO()
    image.save(file, "PNG", transparency=0, bits=1)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()

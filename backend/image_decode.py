"""Bytes of an image file -> the RGB pixels that the annotator's browser shows."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from backend.errors import ImageError

Pixels = npt.NDArray[np.uint8]

FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""What browsers show, and TIFF. Others (EPS, PSD, ...) bring interpreters nobody asked for."""

_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    OverflowError,
    MemoryError,
    struct.error,
    zlib.error,
)


def decode_image(data: bytes, max_pixels: int) -> Pixels:
    """Decode a file to RGB uint8 [H,W,3].

    As the browser shows it: turned by its EXIF orientation, the first frame of an animation,
    transparency on white, 16 bits cut to their upper 8. The size is checked before a pixel is
    decoded. Raises ImageError for what is no image, broken, cut short or larger than `max_pixels`.
    """
    if not data:
        raise ImageError("The image file is empty (0 bytes); import it again.")
    try:
        with _opened(data) as image:
            width, height = image.size
            if width < 1 or height < 1 or width * height > max_pixels:
                raise ImageError(
                    f"The image has {width} x {height} px, at most {max_pixels} px are decoded; "
                    "scale it down or raise MAX_IMAGE_PIXELS."
                )
            image.load()
            return np.array(_rgb(_upright(image)))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(
            f"The image decodes to far more than {max_pixels} px; scale it down."
        ) from None
    except _BROKEN as error:
        raise ImageError(f"The image file is broken or cut short ({error}).") from None


def _opened(data: bytes) -> Image.Image:
    Image.init()
    known = [name for name in FORMATS if name in Image.OPEN]
    try:
        return Image.open(BytesIO(data), formats=known)
    except UnidentifiedImageError:
        raise ImageError(f"{_what(data)} Expected one of {', '.join(known)}.") from None


def _what(data: bytes) -> str:
    start = data[:1000].lstrip().lower()
    if b"<svg" in start:
        return "The file is an SVG drawing, which has no pixels to label; export it as PNG."
    if start.startswith((b"<!doctype", b"<html", b"<")):
        return "The file is a web page, not an image (is a login or error page in its place?)."
    if start.startswith((b"{", b"[")):
        return "The file is JSON, not an image (is an error message in its place?)."
    return "The file is not an image of a known format."


def _upright(image: Image.Image) -> Image.Image:
    try:
        if image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
            return image  # exif_transpose would copy it
        return ImageOps.exif_transpose(image)
    except _BROKEN:  # a damaged EXIF block: browsers show such an image as it lies
        return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_eight_bits(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")  # convert would copy it


def _eight_bits(values: npt.NDArray[np.generic]) -> Pixels:
    """Grey of 16 or 32 bits as 8: the upper byte where values go beyond 8 bits, as browsers do."""
    numbers = np.nan_to_num(values.astype(np.float32))
    deep = values.dtype.itemsize == 2 or numbers.max(initial=0) > 255
    return (numbers / 256 if deep else numbers).clip(0, 255).astype(np.uint8)

"""Decodes image files to RGB pixels. All image files in the project are decoded here.

A decoded image equals the image that a browser shows, because annotators label in a browser. If
browsers do not show a file (TIFF) or show it with little contrast (16 bits of which few are used),
the values are scaled by their range. docs/images.md lists every kind of file; decision 15 gives the
reasons.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError
from PIL import Image as PillowImage

from taudis.data.colour import to_srgb
from taudis.errors import DataError, ImageNotRead, ImageTooLarge

__all__ = [
    "BROKEN", "FORMATS", "MAX_PIXELS", "decode_image", "eight_bits", "picture_suffixes",
    "read_image_file", "read_turned_file",
]  # fmt: skip

Pixels = npt.NDArray[np.uint8]
MAX_PIXELS = 100_000_000
"""Largest image that is decoded by default."""

FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM")
"""The formats that browsers show, and TIFF and PPM. Others need interpreters (EPS, PSD, ...)."""

TURNED = ("PNG", "JPEG", "MPO", "AVIF")
"""Formats that are turned by their EXIF orientation, as in Chromium 156. WebP is not. (TIFF is not
listed because Pillow turns it.)"""

ROWS = 64
"""Rows of grey values of more than 8 bits that are converted at a time."""

DEPTHS = (8, 10, 12, 14, 16, 24, 32)
"""Possible bits of a sensor's values. An image has the fewest bits for its largest value."""

SIGNATURES: Mapping[bytes, str] = {
    b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"8BPS": "PSD",
    b"%PDF": "PDF",
    b"%!PS": "EPS",
    b"\x89HDF": "HDF5",
}

BROKEN = (
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
"""Errors that Pillow raises for a damaged file. (It also raises MemoryError if memory is short.)"""
_BYTES_A_PIXEL = 12
"""Least memory per px to decode an image: Pillow's pixels, their conversion, and the array."""


def picture_suffixes() -> frozenset[str]:
    """The file name suffixes (".png") of FORMATS, in lower case."""
    known = PillowImage.registered_extensions()
    return frozenset(end for end, format in known.items() if format in FORMATS)


def read_image_file(path: Path, max_pixels: int = MAX_PIXELS) -> Pixels:
    """`decode_image` of a file. Raises DataError with the path.

    The error is ImageNotRead if the file is missing or cannot be read from the disk.
    """
    return read_turned_file(path, max_pixels)[0]


def read_turned_file(path: Path, max_pixels: int = MAX_PIXELS) -> tuple[Pixels, int]:
    """`read_image_file`, and the EXIF orientation that it was turned by: 1 (not turned) to 8."""
    try:
        return _decoded(path.read_bytes(), max_pixels)
    except OSError as error:
        raise ImageNotRead(f"{path}: expected an image that can be read: {error}.") from error
    except ImageTooLarge as error:
        raise ImageTooLarge(error.width, error.height, error.limit, f"{path}: ") from error
    except DataError as error:
        raise DataError(f"{path}: expected an image that can be decoded. {error}") from error


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS) -> Pixels:
    """The first image of a file as RGB uint8 [H,W,3], sRGB, writable.

    The image is turned by its EXIF orientation, transparent parts are put on white, colours are
    converted by the embedded profile, and grey values of more than 8 bits and floats are scaled by
    their range (`eight_bits`). The size is checked before any pixel is decoded.

    Raises:
        ImageTooLarge: more than `max_pixels`.
        DataError: not an image, a broken or truncated image, or values that are not an image.
        MemoryError: there is not enough memory for the image.
    """
    return _decoded(data, max_pixels)[0]


def _decoded(data: bytes, max_pixels: int) -> tuple[Pixels, int]:
    """`decode_image`, and the EXIF orientation that it was turned by: 1 (not turned) to 8."""
    if not data:
        raise DataError("The image file is empty (0 bytes).")
    width = height = 0
    try:
        with _opened(data) as image:
            width, height = image.size
            if width < 1 or height < 1 or width * height > max_pixels:
                raise ImageTooLarge(width, height, max_pixels)
            raw, turned = _raw_mode(image), _turned_by_pillow(image)
            image.load()
            orientation = _orientation(image)
            plain = _plain(_upright(image, orientation), image.info.get("transparency"), raw)
            gamma = image.info.get("gamma") if "srgb" not in image.info else None
            pixels = np.array(_flat(to_srgb(plain, image.info.get("icc_profile"), gamma)))
            return pixels, max(turned, orientation)
    except DataError:
        raise
    except (PillowImage.DecompressionBombError, PillowImage.DecompressionBombWarning):
        raise DataError(
            f"The image decodes to far more than {max_pixels} px; scale it down."
        ) from None
    except BROKEN as error:
        if isinstance(error, MemoryError):
            _check_memory(width * height)
        raise DataError(f"The image file is broken or cut short ({error}).") from None


def _check_memory(pixels: int) -> None:
    """Raise MemoryError if memory is too short for an image; if not, its file must be broken."""
    np.empty(pixels * _BYTES_A_PIXEL, np.uint8)


def eight_bits(values: npt.NDArray[Any]) -> Pixels:
    """Grey values [H,W] of more than 8 bits or floats as 8 bits, scaled by the range they use.

    - Integers >= 0: the upper 8 of the fewest bits in DEPTHS that hold the largest value. So an
      image that uses 16 bits looks as in a browser, and an image of 12 bits in a file of 16 bits is
      not nearly black.
    - Floats in 0..1: times 255. Other floats >= 0: as integers.
    - With negative values: from the smallest (black) to the largest (white).
    NaN and minus infinity are black, plus infinity is white. They do not count for the range.

    Raises DataError if no value is finite.
    """
    if values.dtype.kind == "f":
        return _of_floats(values)
    low, high = int(values.min()), int(values.max())
    if low < 0:
        return _stretched(values, low, high)
    return np.asarray(values >> (_depth(high) - 8), np.uint8)


def _of_floats(numbers: npt.NDArray[Any]) -> Pixels:
    finite = np.isfinite(numbers)
    if not finite.any():
        raise DataError("The image holds no number (every value is NaN or infinite).")
    low = float(numbers.min(where=finite, initial=np.inf))
    high = float(numbers.max(where=finite, initial=-np.inf))
    white = numbers == np.inf
    if not finite.all():
        numbers = np.where(finite, numbers, low)
    if low < 0 or high >= 2.0 ** DEPTHS[-1]:
        grey = _stretched(numbers, low, high)
    elif high <= 1:
        grey = np.rint(numbers * 255).astype(np.uint8)
    else:
        grey = (numbers // 2 ** (_depth(high) - 8)).astype(np.uint8)
    grey[~finite] = 0
    grey[white] = 255
    return grey


def _depth(high: float) -> int:
    """The fewest bits of DEPTHS that hold a value."""
    return next(bits for bits in DEPTHS if high < 2**bits)


def _stretched(numbers: npt.NDArray[Any], low: float, high: float) -> Pixels:
    """Scale linearly from `low` (0) to `high` (255); all black if they are equal."""
    span, grey = high - low, np.zeros(numbers.shape, np.uint8)
    for top in range(0, len(numbers) if span else 0, ROWS):  # in parts, as float64 is large
        part = numbers[top : top + ROWS].astype(np.float64)
        grey[top : top + ROWS] = np.rint((part - low) / span * 255)
    return grey


# --- opening --------------------------------------------------------------------------------------


def _opened(data: bytes) -> PillowImage.Image:
    PillowImage.init()
    known = [name for name in FORMATS if name in PillowImage.OPEN]
    try:
        return PillowImage.open(BytesIO(data), formats=known)
    except UnidentifiedImageError:
        raise DataError(f"{_kind_of_file(data)} Expected one of {', '.join(known)}.") from None


def _kind_of_file(data: bytes) -> str:
    """A sentence that names the kind of a file that is not an image of a known format."""
    start = data[:1000].lstrip().lower()
    if data[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"):
        return _kind_of_tiff(data)
    if data[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftyphevc"):
        return "The file is HEIC, which browsers do not show; export it as JPEG or PNG."
    for signature, name in SIGNATURES.items():
        if data.startswith(signature):
            return f"The file is {name}, which is not read; export it as PNG or TIFF."
    if b"<svg" in start:
        return "The file is an SVG drawing, which has no pixels to label; export it as PNG."
    if start.startswith((b"<!doctype", b"<html", b"<")):
        return "The file is a web page, not an image (is a login or error page in its place?)."
    if start.startswith((b"{", b"[")):
        return "The file is JSON, not an image (is an error message in its place?)."
    return "The file is not an image of a known format."


def _kind_of_tiff(data: bytes) -> str:
    """A sentence that describes the samples of a TIFF that is not an image."""
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(data[:8] if data[2:3] == b"*" else data[:16])
        file = BytesIO(data)
        file.seek(tags.next)
        tags.load(file)
        samples, bits = tags.get(277, 1), tags.get(258, (1,))
        kinds = {1: "unsigned", 2: "signed", 3: "float", 5: "complex", 6: "complex"}
        kind = kinds.get(tags.get(339, (1,))[0], "unknown")
    except BROKEN:
        return "The file is a broken TIFF."
    return (
        f"The TIFF has {samples} sample(s) a pixel of {'/'.join(map(str, bits))} bits ({kind}),"
        " which has no meaning as a picture; export the bands to show as grey or RGB."
    )


def _raw_mode(image: PillowImage.Image) -> str:
    """Pillow's name for the stored form of the pixels ("L;4", "RGB;16B"); '' if unknown.

    Raises DataError for signed bytes, which Pillow reads as unsigned ones.
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        if image.tag_v2.get(339, (1,))[0] == 2 and image.tag_v2.get(258, (1,))[0] == 8:
            raise DataError("The TIFF holds signed bytes; export it as unsigned bytes or float.")
        inverted = image.tag_v2.get(262) == 0 and image.mode[0] in "IF"
        unsigned = image.mode == "I" and image.tag_v2.get(339, (1,))[0] == 1
        return "inverted" if inverted else "unsigned" if unsigned else ""
    if isinstance(image, PngImagePlugin.PngImageFile) and image.tile:
        return str(image.tile[0].args)
    return ""


# --- from Pillow's modes to RGB -------------------------------------------------------------------


def _turned_by_pillow(image: PillowImage.Image) -> int:
    """The orientation by which Pillow turns a TIFF when it loads it; 1 for other formats."""
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    return _known(tags.get(ExifTags.Base.Orientation))


def _orientation(image: PillowImage.Image) -> int:
    """The EXIF orientation of a loaded image. As in browsers, XMP is not read."""
    block = image.info.get("exif")
    if image.format not in TURNED or not block:
        return 1
    exif = PillowImage.Exif()
    try:
        exif.load(block)
        return _known(exif.get(ExifTags.Base.Orientation))
    except BROKEN:  # browsers do not turn an image with a damaged EXIF block
        return 1


def _known(orientation: object) -> int:
    """An orientation from 2 to 8; 1 (not turned) for any other value."""
    return next((known for known in _TURNS if known == orientation), 1)


def _upright(image: PillowImage.Image, orientation: int) -> PillowImage.Image:
    """The image turned by an orientation from 1 to 8."""
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


_TURNS: Mapping[int, PillowImage.Transpose] = {
    2: PillowImage.Transpose.FLIP_LEFT_RIGHT,
    3: PillowImage.Transpose.ROTATE_180,
    4: PillowImage.Transpose.FLIP_TOP_BOTTOM,
    5: PillowImage.Transpose.TRANSPOSE,
    6: PillowImage.Transpose.ROTATE_270,
    7: PillowImage.Transpose.TRANSVERSE,
    8: PillowImage.Transpose.ROTATE_90,
}


def _plain(image: PillowImage.Image, key: object, raw: str) -> PillowImage.Image:
    """The image in mode L, RGB, RGBA or CMYK. key: the transparent grey, colour or index."""
    if image.mode.startswith(("I", "F")):
        return _plain_grey(np.asarray(image), key, raw)
    if image.mode == "L" and isinstance(key, int) and raw in ("L;2", "L;4"):
        image.info["transparency"] = (
            key * {"L;2": 85, "L;4": 17}[raw]
        )  # as Pillow scaled the pixels
    if image.mode == "RGB" and isinstance(key, tuple) and raw == "RGB;16B":
        image.info["transparency"] = tuple(part >> 8 for part in key)
    if image.has_transparency_data:
        return image if image.mode == "RGBA" else image.convert("RGBA")
    if image.mode in ("L", "RGB", "CMYK"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _plain_grey(values: npt.NDArray[Any], key: object, raw: str) -> PillowImage.Image:
    """Grey values of more than 8 bits as L, or as RGBA if `key` is a transparent grey."""
    numbers = values.view(np.uint32) if raw == "unsigned" else values
    grey = eight_bits(numbers)
    image = PillowImage.fromarray(255 - grey if raw == "inverted" else grey)
    if not isinstance(key, int):
        return image
    layer = image.convert("RGBA")
    layer.putalpha(PillowImage.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    return layer


def _flat(image: PillowImage.Image) -> PillowImage.Image:
    """The image as RGB, with transparency on white."""
    if image.mode == "RGBA":
        white = PillowImage.new("RGBA", image.size, (255, 255, 255, 255))
        return PillowImage.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")  # convert would copy it

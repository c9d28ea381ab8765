"""Every mode that Pillow writes in every format, and the two tables of docs/images.md.

`python -m tests.taudis.data.picture_files` writes the tables anew. All files are small and valid.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from tests.taudis.data.picture_cases import CASES
from tests.taudis.data.picture_writers import FORMATS, HAS_AVIF, saved, srgb_of_lab

DOCS = Path(__file__).resolve().parents[3] / "docs/images.md"


# --- every mode that Pillow writes ----------------------------------------------------------------

STORED: Mapping[str, tuple[str, ...]] = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I;16B"),
    "JPEG": ("1", "L", "RGB", "RGBX", "CMYK", "YCbCr"),
    "WEBP": ("RGB", "RGBA", "RGBX"),
    "GIF": ("1", "L", "P"),
    "BMP": ("1", "L", "P", "RGB"),
    "TIFF": ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "I", "F",
             "I;16", "I;16B", "I;16L"),
    "AVIF": ("L", "RGB", "RGBA", "RGBX"),
    "PPM": ("1", "L", "RGB", "I", "I;16", "F"),
}  # fmt: skip
"""Modes that a format holds as they are. In others Pillow converts the picture when it writes."""


def gradient(mode: str) -> Image.Image:
    """A smooth picture of 32 x 16 px in a mode, its last band falling."""
    width, height = 32, 16
    y, x = np.mgrid[:height, :width]
    if mode == "1":
        return Image.fromarray(((x + y) % 32 < 16).astype(np.uint8) * 255).convert("1")
    if mode.startswith("I;16"):
        values = (x * 2000 + y * 3).astype(">u2" if mode == "I;16B" else "<u2")
        return Image.frombytes(mode, (width, height), values.tobytes())
    if mode in "IF":
        return Image.fromarray((x * 2000 + y * 3).astype(np.int32 if mode == "I" else np.float32))
    bands = len(Image.new(mode, (1, 1)).getbands())
    if mode == "LAB":  # colours that sRGB has: a* and b* near 0, signed as in a TIFF
        planes = [60 + x * 4, (y - 8) % 256, (x // 4 - 4) % 256]
        return Image.frombytes(
            mode, (width, height), np.stack(planes, -1).astype(np.uint8).tobytes()
        )
    planes = [(x * 8 + y * band) % 256 if band == 0 else 40 * band + y * 3 for band in range(bands)]
    if mode in ("La", "RGBa"):  # no colour above its alpha
        planes = [np.minimum(plane, planes[-1]) for plane in planes]
    made = np.stack(planes, -1).astype(np.uint8)
    image = Image.frombytes(mode, (width, height), made.tobytes())
    if mode in ("P", "PA"):
        image.putpalette(bytes((np.arange(768) * 7 % 256).astype(np.uint8)))
    return image


def meaning(image: Image.Image) -> np.ndarray:
    """The RGB float [H,W,3] that a picture in memory means, by its mode's definition."""
    mode, (width, height) = image.mode, image.size
    if mode == "1":
        return np.repeat(np.asarray(image)[..., None] * 255.0, 3, -1)
    if mode in ("I", "F") or mode.startswith("I;16"):
        values = np.asarray(image).astype(float)
        assert 16384 <= values.max() < 65536  # all 16 bits
        return np.repeat((values // 256)[..., None], 3, -1)
    parts = np.frombuffer(image.tobytes(), np.uint8).reshape(height, width, -1).astype(float)
    if mode in ("P", "PA"):
        table = np.array(image.getpalette(), float).reshape(-1, 3)
        colour = table[parts[..., 0].astype(int)]
    elif mode in ("L", "LA", "La"):
        colour = np.repeat(parts[..., :1], 3, -1)
    elif mode == "CMYK":
        colour = (255 - parts[..., :3]) * (255 - parts[..., 3:]) / 255
    elif mode == "YCbCr":
        luma, blue, red = parts[..., 0], parts[..., 1] - 128, parts[..., 2] - 128
        green = luma - 0.344136 * blue - 0.714136 * red
        colour = np.stack([luma + 1.402 * red, green, luma + 1.772 * blue], -1)
    elif mode == "LAB":
        signed = parts[..., 1:].astype(np.uint8).view(np.int8)  # as a TIFF holds a* and b*
        lab = np.concatenate([parts[..., :1] * (100 / 255), signed], -1)
        colour = np.array([[srgb_of_lab(*pixel) for pixel in row] for row in lab], float)
    else:
        colour = parts[..., :3]
    if mode in ("LA", "PA", "RGBA"):
        alpha = parts[..., -1:] / 255
        colour = colour * alpha + 255 * (1 - alpha)
    return colour.clip(0, 255)


def written(format: str, mode: str) -> bytes | None:
    """The gradient of a mode in a format; None if Pillow does not write it."""
    best = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True, "exact": True},
            "AVIF": {"quality": 100, "subsampling": "4:4:4"}}  # fmt: skip
    try:
        return saved(gradient(mode), format, **best.get(format, {}))
    except (OSError, ValueError, KeyError):
        return None


# --- the tables -----------------------------------------------------------------------------------


def cases_table() -> str:
    rows = ["| file | rule | example | Chromium 156 |", "|---|---|---|---|"]
    for case in CASES:
        example = " ".join("/".join(map(str, pixel)) for pixel in case.pixels)
        rows.append(f"| {case.kind} | {case.rule} | {example} | {case.browser} |")
    return "\n".join(rows)


def modes_table() -> str:
    formats = [name for name in FORMATS if name != "AVIF" or HAS_AVIF]
    rows = ["| mode | " + " | ".join(formats) + " |", "|---" * (len(formats) + 1) + "|"]
    for mode in Image.MODES:
        cells = [_cell(name, mode) for name in formats]
        rows.append(f"| {mode} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _cell(format: str, mode: str) -> str:
    if written(format, mode) is None:
        return " "
    return "yes" if mode in STORED[format] else "converted"


def in_page(text: str) -> str:
    """The text of docs/images.md with both tables as they are now."""
    for name, table in (("cases", cases_table()), ("modes", modes_table())):
        text = re.sub(
            rf"(<!-- {name}:[^>]*-->\n).*?(\n<!-- /{name} -->)",
            lambda found, table=table: found[1] + table + found[2], text, flags=re.S,
        )  # fmt: skip
    return text


if __name__ == "__main__":
    DOCS.write_text(in_page(DOCS.read_text()))

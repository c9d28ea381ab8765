"""Writers of small image files of every kind, colour profiles included.

All files are valid. Pillow writes what it can; `png`, `tiff` and `profile` write the rest.
"""

import io
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from PIL import Image, features

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM")
HAS_AVIF = features.check("avif")

Colour = tuple[int, int, int]
BLACK, WHITE, RED = (0, 0, 0), (255, 255, 255), (255, 0, 0)


def grey(*values: int) -> list[Colour]:
    return [(value,) * 3 for value in values]


# --- writers for what Pillow does not write -------------------------------------------------------


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def line(mode: str, *pixels: object) -> Image.Image:
    """An image of one row."""
    image = Image.new(mode, (len(pixels), 1))
    for x, pixel in enumerate(pixels):
        image.putpixel((x, 0), pixel)
    return image


def block(mode: str, *pixels: object) -> Image.Image:
    """An image of squares of 16 x 16 px, which JPEG and AVIF keep apart."""
    return line(mode, *pixels).resize((16 * len(pixels), 16), Image.Resampling.NEAREST)


def png(depth: int, colour: int, rows: bytes, width: int, **chunks: bytes) -> bytes:
    """A PNG of one row. Further chunks by name, before the pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + check

    head = struct.pack(">IIBBBBB", width, 1, depth, colour, 0, 0, 0)
    more = b"".join(chunk(name.encode(), body) for name, body in chunks.items())
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + more
        + chunk(b"IDAT", zlib.compress(b"\0" + rows)) + chunk(b"IEND", b"")
    )  # fmt: skip


def shorts(*values: int) -> bytes:
    return struct.pack(f">{len(values)}H", *values)


def tiff(
    values: np.ndarray, *, photometric: int = 1, kind: int | None = None, **tags: Sequence[int]
) -> bytes:
    """An uncompressed little-endian TIFF of an array [W] or [W,S], one row, S samples a pixel."""
    samples = values.shape[1] if values.ndim == 2 else 1
    number = {"u": 1, "i": 2, "f": 3, "c": 6}[values.dtype.kind] if kind is None else kind
    body = values.astype(values.dtype.newbyteorder("<")).tobytes()
    entries: dict[int, Sequence[int]] = {
        256: [values.shape[0]], 257: [1], 258: [values.dtype.itemsize * 8] * samples, 259: [1],
        262: [photometric], 273: [8], 277: [samples], 278: [1], 279: [len(body)],
        339: [number] * samples, **{int(name[1:]): value for name, value in tags.items()},
    }  # fmt: skip
    body += b"\0" * (len(body) % 2)
    start, extra, rows = 8 + len(body), b"", b""
    after = start + 2 + 12 * len(entries) + 4
    for tag, value in sorted(entries.items()):
        packed = struct.pack(f"<{len(value)}H", *value)
        if len(packed) > 4:
            place = after + len(extra)
            extra += packed
            packed = struct.pack("<I", place)
        rows += struct.pack("<HHI", tag, 3, len(value)) + packed.ljust(4, b"\0")
    directory = struct.pack("<H", len(entries)) + rows + struct.pack("<I", 0)
    return b"II*\0" + struct.pack("<I", start) + body + directory + extra


# --- colour profiles ------------------------------------------------------------------------------


def fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def curve(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IHH", 1, round(gamma * 256), 0)


def profile(space: bytes, kind: bytes, connection: bytes, **tags: bytes) -> bytes:
    """A small ICC profile (version 2.4)."""
    name = b"a test's\0"
    tags = {
        "desc": b"desc" + bytes(4) + struct.pack(">I", len(name)) + name + bytes(78),
        "cprt": b"text" + bytes(4) + b"none\0",
        "wtpt": b"XYZ " + bytes(4) + fixed(0.9642, 1.0, 0.8249),
        **tags,
    }
    table, body, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for tag, content in tags.items():
        table += tag.encode() + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = (
        struct.pack(">I4xI", start + len(body), 0x02400000) + kind + space + connection
        + struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + fixed(0.9642, 1.0, 0.8249)
    )  # fmt: skip
    return head.ljust(128, b"\0") + table + body


def matrix_profile(columns: Mapping[str, Sequence[float]], gamma: float) -> bytes:
    tags = {f"{name}XYZ": b"XYZ " + bytes(4) + fixed(*xyz) for name, xyz in columns.items()}
    tags |= {f"{name}TRC": curve(gamma) for name in columns}
    return profile(b"RGB ", b"mntr", b"XYZ ", **tags)


WIDE = {
    "r": (0.60974, 0.31111, 0.01947), "g": (0.20528, 0.62567, 0.06087),
    "b": (0.14919, 0.06322, 0.74457),
}  # fmt: skip
WIDE_RGB = matrix_profile(WIDE, 2.2)
"""Primaries of Adobe RGB (1998), adapted to D50."""
LINEAR_GREY = profile(b"GRAY", b"mntr", b"XYZ ", kTRC=curve(1.0))


def ink_lab(c: float, m: float, y: float, k: float) -> tuple[float, float, float]:
    """L*, a*, b* of the test's ink; linear, so that every interpolation agrees."""
    return 100 - 20 * c - 20 * m - 10 * y - 50 * k, 40 * (m - c), 40 * y - 20 * c


def _ink_profile() -> bytes:
    corners = [(c, m, y, k) for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1)]
    grid = bytes(
        round(value)
        for corner in corners
        for value in (np.array(ink_lab(*corner)) * [2.55, 1, 1] + [0, 128, 128])
    )
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    lut += bytes(range(256)) * 4 + grid + bytes(range(256)) * 3
    return profile(b"CMYK", b"prtr", b"Lab ", A2B0=lut)


INK = _ink_profile()


def srgb_of_light(light: np.ndarray) -> np.ndarray:
    light = np.clip(light, 0, 1)
    low = 12.92 * light
    return np.rint(255 * np.where(light <= 0.0031308, low, 1.055 * light ** (1 / 2.4) - 0.055))


D50_TO_SRGB = np.array(
    [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540],
     [0.0719453, -0.2289914, 1.4052427]]
)  # fmt: skip
"""XYZ adapted to D50 -> linear sRGB (Bradford)."""


def srgb_of_lab(lightness: float, a: float, b: float) -> Colour:
    base = (lightness + 16) / 116
    parts = np.array([base + a / 500, base, base - b / 200])
    xyz = np.where(parts > 6 / 29, parts**3, 3 * (6 / 29) ** 2 * (parts - 4 / 29))
    return tuple(int(v) for v in srgb_of_light(D50_TO_SRGB @ (xyz * [0.9642, 1.0, 0.8249])))


def srgb_of_wide(*rgb: int) -> Colour:
    light = (np.array(rgb) / 255) ** 2.2
    xyz = np.array([WIDE["r"], WIDE["g"], WIDE["b"]]).T @ light
    return tuple(int(v) for v in srgb_of_light(D50_TO_SRGB @ xyz))


# --- pictures of a few pixels


def turn() -> Image.Exif:
    """EXIF of a picture that is stored on its side; a new one, since saving a TIFF changes it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


XMP_TURN = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
    b'syntax-ns#"><rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"'
    b"/></rdf:RDF></x:xmpmeta>"
)
PALETTE = bytes([255, 0, 0, 0, 255, 0, 0, 0, 255])


def paletted(*indices: int) -> Image.Image:
    image = line("P", *indices)
    image.putpalette(PALETTE)
    return image


def standing(format: str, **options: object) -> bytes:
    """Red above blue, stored as red, blue with orientation 6 (turn clockwise)."""
    on_its_side = block("RGB", (0, 0, 255), RED).transpose(Image.Transpose.ROTATE_180)
    return saved(on_its_side, format, exif=turn(), **options)


def animated(format: str, **options: object) -> bytes:
    first, second = (block("RGB", colour) for colour in (RED, (0, 0, 255)))
    return saved(first, format, save_all=True, append_images=[second], **options)


def pages() -> bytes:
    return saved(line("RGB", RED), "TIFF", save_all=True, append_images=[line("RGB", WHITE)])


def compressed(mode: str, *pixels: object, **options: object) -> Callable[[], bytes]:
    return partial(saved, block(mode, *pixels), "TIFF", **options)

"""Image files of every kind with the pixels that they mean, and the tables of docs/images.md.

`python -m tests.taudis.data.picture_files` writes the tables anew. All files are small and valid.
"""

import io
import re
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, features

DOCS = Path(__file__).resolve().parents[3] / "docs/images.md"
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


# --- the cases ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A kind of file, the RGB of its squares or pixels from the left, and what a browser shows.

    `browser` is "same" (within 2 of 255), "no" (it shows nothing), or what it shows instead.
    """

    kind: str
    rule: str
    make: Callable[[], bytes]
    pixels: Sequence[Colour]
    browser: str = "same"
    near: int = 0  # of 255, for lossy formats and converted colours
    row: bool = True  # False: squares of 16 px


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


def png_cases() -> list[Case]:
    trns = "transparency on white"
    upper = "the upper byte"
    return [
        Case("PNG, grey, 1 bit", "black and white", lambda: png(1, 0, b"\x40", 2), grey(0, 255)),
        Case("PNG, grey, 2 bits", "times 85", lambda: png(2, 0, b"\x1b", 4), grey(0, 85, 170, 255)),
        Case("PNG, grey, 4 bits", "times 17", lambda: png(4, 0, b"\x1f", 2), grey(17, 255)),
        Case("PNG, grey, 8 bits", "as it is", lambda: png(8, 0, b"\x07\xf0", 2), grey(7, 240)),
        Case("PNG, grey, 16 bits, largest 30,000", upper,
             lambda: png(16, 0, shorts(255, 30_000), 2),
             grey(0, 117)),
        Case("PNG, grey, 16 bits, largest 4,095", "bits 5 to 12 of 12",
             lambda: png(16, 0, shorts(2048, 4095), 2), grey(128, 255), "(8, 8, 8) (15, 15, 15)"),
        Case("PNG, grey, 16 bits, largest 200", "as it is", lambda: png(16, 0, shorts(7, 200), 2),
             grey(7, 200), "(0, 0, 0) (0, 0, 0)"),
        Case("PNG, grey, 1 bit, tRNS", trns, lambda: png(1, 0, b"\x40", 2, tRNS=shorts(0)),
             grey(255, 255)),
        Case("PNG, grey, 4 bits, tRNS", trns, lambda: png(4, 0, b"\x81", 2, tRNS=shorts(8)),
             grey(255, 17)),
        Case("PNG, grey, 8 bits, tRNS", trns, lambda: png(8, 0, b"\x08\x09", 2, tRNS=shorts(8)),
             grey(255, 9)),
        Case("PNG, grey, 16 bits, tRNS", trns,
             lambda: png(16, 0, shorts(30_000, 30_001), 2, tRNS=shorts(30_000)), grey(255, 117)),
        Case("PNG, grey and alpha, 8 bits", trns, lambda: png(8, 4, b"\x64\xff\x64\x80\x64\0", 3),
             grey(100, 177, 255), near=1),
        Case("PNG, grey and alpha, 16 bits", upper + ", " + trns,
             lambda: png(16, 4, shorts(30_000, 65_535, 30_000, 0), 2), grey(117, 255)),
        Case("PNG, RGB, 8 bits", "as it is", lambda: png(8, 2, b"\1\2\3", 1), [(1, 2, 3)]),
        Case("PNG, RGB, 8 bits, tRNS", trns,
             lambda: png(8, 2, b"\1\2\3\1\2\4", 2, tRNS=shorts(1, 2, 3)), [WHITE, (1, 2, 4)]),
        Case("PNG, RGB, 16 bits", upper, lambda: png(16, 2, shorts(256, 30_000, 65_535), 1),
             [(1, 117, 255)]),
        Case("PNG, RGB, 16 bits, tRNS", upper + ", all colours of its upper bytes on white",
             lambda: png(16, 2, shorts(300, 300, 300, 9, 9, 9), 2, tRNS=shorts(300, 300, 300)),
             [WHITE, BLACK]),
        Case("PNG, RGBA, 8 bits", trns, lambda: png(8, 6, b"\xc8\x64\x32\x80\0\0\0\0", 2),
             [(227, 177, 152), WHITE], near=1),
        Case("PNG, RGBA, 16 bits", upper + ", " + trns,
             lambda: png(16, 6, shorts(65_535, 0, 0, 65_535, 0, 0, 0, 0), 2), [RED, WHITE]),
        Case("PNG, palette", "its colours", lambda: saved(paletted(0, 2), "PNG"),
             [RED, (0, 0, 255)]),
        Case("PNG, palette, alpha by colour", trns,
             lambda: saved(paletted(0, 1), "PNG", transparency=b"\xff\x80"), [RED, (127, 255, 127)],
             near=1),
        Case("PNG, palette, one clear colour", trns,
             lambda: saved(paletted(0, 1), "PNG", transparency=1), [RED, WHITE]),
        Case("PNG, gAMA 1.0", "to sRGB", lambda: png(8, 0, b"\x40\x80", 2, gAMA=b"\0\1\x86\xa0"),
             grey(137, 188), near=1),
        Case("PNG, wide-gamut profile", "to sRGB",
             lambda: saved(line("RGB", (200, 100, 50), (10, 200, 90)), "PNG", icc_profile=WIDE_RGB),
             [srgb_of_wide(200, 100, 50), srgb_of_wide(10, 200, 90)], near=1),
        Case("PNG, RGBA, wide-gamut profile", "to sRGB, " + trns,
             lambda: saved(line("RGBA", (200, 100, 50, 255), (1, 2, 3, 0)), "PNG",
                           icc_profile=WIDE_RGB),
             [srgb_of_wide(200, 100, 50), WHITE], near=1),
        Case("PNG, grey, profile of linear light", "to sRGB",
             lambda: saved(line("L", 1, 64, 128), "PNG", icc_profile=LINEAR_GREY),
             grey(13, 137, 188), near=1),
        Case("PNG, grey and alpha, profile of linear light", "to sRGB, " + trns,
             lambda: saved(line("LA", (64, 255), (64, 0)), "PNG", icc_profile=LINEAR_GREY),
             grey(137, 255), near=1),
        Case("PNG, broken profile", "as it is",
             lambda: saved(line("RGB", (200, 100, 50)), "PNG", icc_profile=WIDE_RGB[:200]),
             [(200, 100, 50)]),
        Case("PNG, EXIF orientation", "turned", lambda: standing("PNG"), [RED], row=False),
    ]  # fmt: skip


def browser_cases() -> list[Case]:
    """What browsers show, besides PNG."""
    ink = (200, 100, 50, 20)
    plain = tuple(round((255 - part) * (255 - 20) / 255) for part in ink[:3])
    wide = (200, 100, 50)
    jpeg = partial(saved, format="JPEG", quality=100)
    found = [
        Case("JPEG, grey", "as it is", lambda: jpeg(block("L", 77)), grey(77), row=False),
        Case("JPEG, YCbCr", "to RGB", lambda: jpeg(block("RGB", (200, 100, 50))), [(200, 100, 50)],
             near=2, row=False),
        Case("JPEG, RGB", "as it is", lambda: jpeg(block("RGB", (200, 100, 50)), keep_rgb=True),
             [(200, 100, 50)], near=1, row=False),
        Case("JPEG, progressive", "to RGB", lambda: jpeg(block("RGB", RED), progressive=True),
             [RED], near=2, row=False),
        Case("JPEG, CMYK (inverted, as Adobe's)", "(1 - ink)(1 - black)",
             lambda: jpeg(block("CMYK", (0, 0, 0, 0), ink)), [WHITE, plain], near=2, row=False),
        Case("JPEG, CMYK with profile", "by the profile",
             lambda: jpeg(block("CMYK", ink, (0, 0, 0, 128)), icc_profile=INK),
             [srgb_of_lab(*ink_lab(*(np.array(ink) / 255))), srgb_of_lab(*ink_lab(0, 0, 0, 0.5))],
             "colours of inks mixed first", near=4, row=False),
        Case("JPEG, CMYK, profile for RGB", "(1 - ink)(1 - black)",
             lambda: jpeg(block("CMYK", ink), icc_profile=WIDE_RGB), [plain], near=2, row=False),
        Case("JPEG, wide-gamut profile", "to sRGB",
             lambda: jpeg(block("RGB", wide), icc_profile=WIDE_RGB), [srgb_of_wide(*wide)], near=3,
             row=False),
        Case("JPEG, grey, profile of linear light", "to sRGB",
             lambda: jpeg(block("L", 64), icc_profile=LINEAR_GREY), grey(137), near=1, row=False),
        Case("JPEG, EXIF orientation", "turned", lambda: standing("JPEG", quality=100), [RED],
             near=2, row=False),
        Case("JPEG, XMP orientation alone", "as it lies",
             lambda: jpeg(block("RGB", RED, WHITE), xmp=XMP_TURN), [RED, WHITE], near=2, row=False),
        Case("JPEG of several pictures (MPO)", "the first", lambda: animated("MPO", quality=100),
             [RED], near=2, row=False),
        Case("WebP, RGB", "as it is", lambda: saved(line("RGB", (1, 2, 3)), "WEBP", lossless=True),
             [(1, 2, 3)]),
        Case("WebP, RGBA", "transparency on white",
             lambda: saved(line("RGBA", (200, 100, 50, 128)), "WEBP", lossless=True),
             [(227, 177, 152)], near=1),
        Case("WebP, EXIF orientation", "as it lies", lambda: standing("WEBP", lossless=True),
             [RED, (0, 0, 255)], row=False),
        Case("WebP, wide-gamut profile", "to sRGB",
             lambda: saved(line("RGB", wide), "WEBP", lossless=True, icc_profile=WIDE_RGB),
             [srgb_of_wide(*wide)], near=1),
        Case("WebP, animated", "the first", lambda: animated("WEBP", lossless=True), [RED],
             row=False),
        Case("GIF", "its colours", lambda: saved(paletted(0, 2), "GIF"), [RED, (0, 0, 255)]),
        Case("GIF, one clear colour", "transparency on white",
             lambda: saved(paletted(0, 1), "GIF", transparency=1), [RED, WHITE]),
        Case("GIF, animated", "the first", lambda: animated("GIF"), [RED], row=False),
        Case("BMP, 1 bit", "black and white", lambda: saved(line("1", 0, 255), "BMP"),
             grey(0, 255)),
        Case("BMP, grey", "as it is", lambda: saved(line("L", 7), "BMP"), grey(7)),
        Case("BMP, palette", "its colours", lambda: saved(paletted(0, 2), "BMP"),
             [RED, (0, 0, 255)]),
        Case("BMP, RGB", "as it is", lambda: saved(line("RGB", (1, 2, 3)), "BMP"), [(1, 2, 3)]),
    ]  # fmt: skip
    if not HAS_AVIF:
        return found
    avif = partial(saved, format="AVIF", quality=100, subsampling="4:4:4")
    return [
        *found,
        Case("AVIF, RGB", "to RGB", lambda: avif(block("RGB", (200, 100, 50))), [(200, 100, 50)],
             near=2, row=False),
        Case("AVIF, RGBA", "transparency on white",
             lambda: avif(block("RGBA", (200, 100, 50, 128))), [(227, 177, 152)], near=2,
             row=False),
        Case("AVIF, turned", "turned",
             lambda: standing("AVIF", quality=100, subsampling="4:4:4"), [RED], near=2, row=False),
        Case("AVIF, wide-gamut profile", "to sRGB",
             lambda: avif(block("RGB", wide), icc_profile=WIDE_RGB), [srgb_of_wide(*wide)], near=3,
             row=False),
    ]  # fmt: skip


def tiff_cases() -> list[Case]:
    """What no browser shows."""
    white = "transparency on white"
    u8, u16, u32 = (partial(np.array, dtype=kind) for kind in (np.uint8, np.uint16, np.uint32))
    i16, f32 = partial(np.array, dtype=np.int16), partial(np.array, dtype=np.float32)
    nan, inf = float("nan"), float("inf")
    rows: list[tuple[str, str, Callable[[], bytes], Sequence[Colour]]] = [
        ("1 bit", "black and white", lambda: saved(line("1", 0, 255), "TIFF"), grey(0, 255)),
        ("grey, 8 bits", "as it is", lambda: tiff(u8([7, 240])), grey(7, 240)),
        ("grey, 8 bits, white is zero", "inverted", lambda: tiff(u8([7, 240]), photometric=0),
         grey(248, 15)),
        ("grey, 16 bits, largest 30,000", "the upper byte", lambda: tiff(u16([255, 30_000])),
         grey(0, 117)),
        ("grey, 16 bits, big-endian", "the upper byte",
         lambda: saved(Image.frombytes("I;16B", (2, 1), shorts(255, 30_000)), "TIFF"),
         grey(0, 117)),
        ("grey, 16 bits, largest 4,095", "bits 5 to 12 of 12", lambda: tiff(u16([2048, 4095])),
         grey(128, 255)),
        ("grey, 16 bits, largest 200", "as it is", lambda: tiff(u16([7, 200])), grey(7, 200)),
        ("grey, 16 bits, white is zero", "inverted",
         lambda: tiff(u16([0, 65_535]), photometric=0), grey(255, 0)),
        ("grey, 16 bits, signed, none negative", "as unsigned", lambda: tiff(i16([0, 4095])),
         grey(0, 255)),
        ("grey, 16 bits, signed, negative", "smallest black, largest white",
         lambda: tiff(i16([-1024, 0, 1024])), grey(0, 128, 255)),
        ("grey, 32 bits, largest 4,000,000,000", "the upper byte",
         lambda: tiff(u32([0, 4_000_000_000])), grey(0, 238)),
        ("grey, 32 bits, largest 70,000", "bits 17 to 24 of 24", lambda: tiff(u32([0, 70_000])),
         grey(0, 1)),
        ("float, 0 to 1", "times 255", lambda: tiff(f32([0, 0.5, 1])), grey(0, 128, 255)),
        ("float, largest 200", "as it is", lambda: tiff(f32([41.7, 200])), grey(41, 200)),
        ("float, largest 4,095", "bits 5 to 12 of 12", lambda: tiff(f32([2048, 4095])),
         grey(128, 255)),
        ("float, negative", "smallest black, largest white", lambda: tiff(f32([-1, 0, 3])),
         grey(0, 64, 255)),
        ("float, some not finite", "NaN and -inf black, +inf white",
         lambda: tiff(f32([nan, 0.5, inf, -inf])), grey(0, 128, 255, 0)),
        ("grey and alpha", white, lambda: saved(line("LA", (100, 255), (100, 0)), "TIFF"),
         grey(100, 255)),
        ("grey and an unnamed band", "the grey", lambda: tiff(u8([[7, 9]]), _338=[0]), grey(7)),
        ("RGB, 8 bits", "as it is", lambda: tiff(u8([[1, 2, 3]]), photometric=2), [(1, 2, 3)]),
        ("RGB, 8 bits, planes", "as it is",
         lambda: tiff(u8([[1, 2, 3]]), photometric=2, _284=[2], _273=[8, 9, 10], _279=[1, 1, 1]),
         [(1, 2, 3)]),
        ("RGB, 16 bits", "the upper byte",
         lambda: tiff(u16([[256, 30_000, 65_535]]), photometric=2), [(1, 117, 255)]),
        ("RGB and three unnamed bands", "the RGB",
         lambda: tiff(u8([[1, 2, 3, 4, 5, 6]]), photometric=2, _338=[0, 0, 0]), [(1, 2, 3)]),
        ("RGBA", white, lambda: tiff(u8([[1, 2, 3, 0]]), photometric=2, _338=[2]), [WHITE]),
        ("RGBA, multiplied by alpha", white,
         lambda: tiff(u8([[50, 0, 0, 50], [0, 0, 0, 0]]), photometric=2, _338=[1]),
         [(255, 205, 205), WHITE]),
        ("palette", "its colours", lambda: saved(paletted(0, 2), "TIFF"), [RED, (0, 0, 255)]),
        ("CMYK", "(1 - ink)(1 - black)", lambda: saved(line("CMYK", (255, 0, 0, 0)), "TIFF"),
         [(0, 255, 255)]),
        ("CMYK with profile", "by the profile",
         lambda: saved(line("CMYK", (0, 0, 0, 128)), "TIFF", icc_profile=INK),
         [srgb_of_lab(*ink_lab(0, 0, 0, 128 / 255))]),
        ("YCbCr", "to RGB", lambda: saved(line("YCbCr", (128, 128, 128)), "TIFF"), grey(128)),
        ("L*a*b*", "to sRGB", lambda: saved(line("LAB", (128, 128, 128)), "TIFF"), grey(119)),
        ("PackBits", "as it is", compressed("RGB", RED, WHITE, compression="packbits"),
         [RED, WHITE]),
        ("LZW, predictor", "as it is",
         compressed("RGB", RED, WHITE, compression="tiff_lzw", tiffinfo={317: 2}), [RED, WHITE]),
        ("deflate", "as it is", compressed("I;16", 0, 4095, compression="tiff_adobe_deflate"),
         grey(0, 255)),
        ("Zstandard", "as it is", compressed("F", 0.0, 1.0, compression="zstd"), grey(0, 255)),
        ("JPEG in TIFF", "to RGB", compressed("RGB", RED, compression="jpeg", quality=100), [RED]),
        ("fax (group 4)", "black and white", compressed("1", 0, 255, compression="group4"),
         grey(0, 255)),
        ("EXIF orientation", "turned", lambda: standing("TIFF"), [RED]),
        ("several pages", "the first", pages, [RED]),
    ]  # fmt: skip
    squares = ("PackBits", "LZW", "deflate", "Zstandard", "JPEG", "fax", "EXIF")
    near = {"JPEG in TIFF": 2, "CMYK with profile": 4, "L*a*b*": 2, "YCbCr": 1,
            "RGBA, multiplied by alpha": 1}  # fmt: skip
    found = [
        Case(f"TIFF, {kind}", rule, make, pixels, "no", near.get(kind, 0),
             not kind.startswith(squares))
        for kind, rule, make, pixels in rows
    ]  # fmt: skip
    return [
        *found,
        Case("PGM, 16 bits, largest 4,095", "bits 5 to 12 of 12",
             lambda: b"P5 2 1 65535\n" + shorts(2048, 4095), grey(128, 255), "no"),
        Case("PPM", "as it is", lambda: b"P6 1 1 255\n\1\2\3", [(1, 2, 3)], "no"),
        Case("PFM, 0 to 1", "times 255", lambda: saved(line("F", 0.0, 1.0), "PPM"), grey(0, 255),
             "no"),
    ]  # fmt: skip


CASES = [*png_cases(), *browser_cases(), *tiff_cases()]


def squares_of(case: Case, pixels: np.ndarray) -> list[Colour]:
    """A decoded case's pixels as the case lists them; the first row, or the squares' centres."""
    row = pixels[0] if case.row else pixels[8, 8::16]
    return [tuple(int(part) for part in pixel) for pixel in row]


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

"""Image files of every kind with the pixels that they mean: the cases of docs/images.md."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from tests.taudis.data.picture_writers import (
    BLACK,
    HAS_AVIF,
    INK,
    LINEAR_GREY,
    RED,
    WHITE,
    WIDE_RGB,
    XMP_TURN,
    Colour,
    animated,
    block,
    compressed,
    grey,
    ink_lab,
    line,
    pages,
    paletted,
    png,
    saved,
    shorts,
    srgb_of_lab,
    srgb_of_wide,
    standing,
    tiff,
)

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


# long: a table of files, a line each
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


# long: a table of files, a line each
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


# long: a table of files, a line each
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

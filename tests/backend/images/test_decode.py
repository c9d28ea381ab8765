"""Bytes of an image file become RGB pixels, or a reason for people."""

import io

import numpy as np
import pytest
from PIL import Image

from backend.errors import ImageError
from backend.images.decode import decode_image
from tests.backend.images.servers import (
    MAX,
    is_red,
    picture,
)  # fmt: skip


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.fault("F7", "decode")
def test_the_formats_that_browsers_show(format, figures):
    pixels = decode_image(picture(color=(250, 0, 0), format=format), MAX)
    assert pixels.shape == (6, 8, 3) and abs(int(pixels[0, 0, 0]) - 250) < 8
    figures(files=1, crashes=0)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (picture("L", color=77), [77, 77, 77]),
        (picture("1", color=1), [255, 255, 255]),
        (picture("LA", color=(0, 0)), [255, 255, 255]),
        (picture("RGBA", color=(255, 0, 0, 255)), [255, 0, 0]),
        (picture("RGBA", color=(255, 0, 0, 0)), [255, 255, 255]),
        (picture("P", color=0), [0, 0, 0]),
        (picture("I;16", color=0x8001), [128, 128, 128]),
        (picture("I;16", color=200), [200, 200, 200]),  # by its range: 8 bits hold it
        (picture("F", color=42.0, format="TIFF"), [42, 42, 42]),
        (picture("CMYK", color=(0, 0, 0, 0), format="JPEG"), [255, 255, 255]),
        (picture("RGB", (1, 1), color=(1, 2, 3)), [1, 2, 3]),
        (picture("RGB", (20_000, 10), color=(1, 2, 3)), [1, 2, 3]),
    ],
)
@pytest.mark.fault("F7", "decode")
def test_every_pixel_mode_becomes_rgb(data, expected, figures):
    pixels = decode_image(data, MAX)
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
    assert np.abs(pixels[0, 0].astype(int) - expected).max() <= 1
    assert pixels.flags.writeable
    figures(files=1, crashes=0)


@pytest.mark.fault("F7", "decode")
def test_an_animation_shows_its_first_frame(figures):
    frames = [Image.new("RGB", (8, 6), color) for color in ("red", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    assert is_red(decode_image(buffer.getvalue(), MAX))
    figures(files=1, crashes=0)


@pytest.mark.fault("F7", "turned")
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_as_browsers_do(orientation):
    upright = np.zeros((40, 60, 3), np.uint8)
    upright[:20, :20] = 255  # a white top left corner
    back = {1: 0, 2: "flip", 3: 2, 4: "flip2", 5: "t", 6: 1, 7: "t2", 8: 3}[orientation]
    stored = {
        "flip": upright[:, ::-1],
        "flip2": upright[::-1],
        "t": upright.transpose(1, 0, 2),
        "t2": upright[::-1, ::-1].transpose(1, 0, 2),
    }.get(back) if isinstance(back, str) else np.rot90(upright, back)  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(stored)).save(buffer, "JPEG", exif=exif, quality=95)
    pixels = decode_image(buffer.getvalue(), MAX)
    assert pixels.shape == (40, 60, 3)
    assert pixels[10, 10].min() > 200 and pixels[30, 50].max() < 50 and pixels[10, 50].max() < 50


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow on damaged tags
def test_a_damaged_exif_block_is_ignored():
    data = picture(format="JPEG", color=(255, 0, 0), exif=b"Exif\x00\x00MM\x00\x2a\xff\xff\xff\xff")
    assert decode_image(data, MAX).shape == (6, 8, 3)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"\x00" * 100, "not an image"),
        (b"<!DOCTYPE html><html>login", "web page"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b'{"detail": "no"}', "JSON"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "EPS, which is not read"),
    ],
)
@pytest.mark.fault("F7", "decode")
def test_what_cannot_be_decoded_is_refused_with_a_reason(data, says, figures):
    with pytest.raises(ImageError, match=says):
        decode_image(data, MAX)
    figures(files=1, crashes=0)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.fault("F7", "decode")
def test_a_picture_above_the_limit_is_refused_before_its_pixels_are_decoded(
    format, monkeypatch, figures
):
    data = picture("RGB", (60, 40), format=format)
    assert decode_image(data, 2400).shape == (40, 60, 3)
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("pixels were decoded"))
    with pytest.raises(ImageError, match=r"60 x 40 px, at most 2399 px .* MAX_IMAGE_PIXELS"):
        decode_image(data, 2399)
    figures(files=1, crashes=0)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow on damaged tags
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_file_cut_anywhere_is_refused_or_whole(format):
    rng = np.random.default_rng(1)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (40, 50, 3), np.uint8)).save(buffer, format)
    data = buffer.getvalue()
    refused = 0
    for length in range(1, len(data), max(len(data) // 60, 1)):
        try:
            assert decode_image(data[:length], MAX).shape == (40, 50, 3)
        except ImageError:
            refused += 1
    assert refused >= 50


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow on damaged tags
def test_random_damage_never_does_more_than_raise_image_error():
    rng = np.random.default_rng(2)
    for format in ("PNG", "JPEG", "WEBP", "GIF", "TIFF"):
        whole = picture(size=(30, 20), color=(10, 200, 30), format=format)
        for _ in range(150):
            data = bytearray(whole)
            for place in rng.integers(0, len(data), 3):
                data[place] = int(rng.integers(0, 256))
            try:
                decode_image(bytes(data), 1_000_000)
            except ImageError:
                continue

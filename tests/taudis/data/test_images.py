"""One picture, one meaning: every kind of file, decoded for the command line and the backend."""

import io
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from backend.errors import ImageError
from backend.images.decode import decode_image as decode_for_the_backend
from taudis.data import images
from taudis.data.coco import read_image
from taudis.data.colour import MAX_PROFILE, to_srgb
from taudis.data.images import decode_image, eight_bits, read_image_file
from taudis.errors import DataError, ImageTooLarge
from tests.taudis.data import picture_files as files
from tests.taudis.data.picture_cases import CASES, Case, squares_of
from tests.taudis.data.picture_files import gradient, meaning
from tests.taudis.data.picture_writers import FORMATS, HAS_AVIF, saved, tiff

MAX = 1_000_000
ROOT = Path(__file__).resolve().parents[3]


def both_ways(data, folder):
    """The pixels of a file, equal for the command line and the backend."""
    path = folder / "picture"
    path.write_bytes(data)
    read = read_image(path)
    decoded = decode_for_the_backend(data, MAX)
    assert read.dtype == decoded.dtype == np.uint8 and np.array_equal(read, decoded)
    assert read.flags.writeable and read.ndim == 3 and read.shape[2] == 3
    return read


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.kind)
def test_a_file_means_the_same_both_ways_and_the_right_thing(case: Case, tmp_path):
    found = squares_of(case, both_ways(case.make(), tmp_path))
    assert len(found) == len(case.pixels)
    assert np.abs(np.subtract(found, case.pixels)).max() <= case.near, found


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("mode", Image.MODES)
def test_every_mode_that_pillow_writes(format, mode, tmp_path):
    if format == "AVIF" and not HAS_AVIF:
        pytest.skip("this Pillow has no AVIF")
    data = files.written(format, mode)
    if data is None:
        assert mode not in files.STORED[format]
        return
    found = both_ways(data, tmp_path).astype(float)
    assert found.shape == (16, 32, 3)
    if mode in files.STORED[format]:
        near = {"JPEG": 6, "AVIF": 6}.get(format, 1)
        near += 3 if mode in ("LAB", "YCbCr") else 0
        assert np.abs(found - meaning(gradient(mode))).max() <= near


def test_the_page_holds_the_tables_as_they_are():
    text = files.DOCS.read_text()
    assert files.cases_table() in text and files.modes_table() in text, (
        "run `.venv/bin/python -m tests.taudis.data.picture_files`"
    )


# --- numbers to eight bits ------------------------------------------------------------------------


@given(hnp.arrays(np.uint16, st.integers(1, 40), elements=st.integers(0, 65535)))
def test_deep_grey_keeps_its_order_and_uses_the_upper_half_of_its_depth(values):
    grey = eight_bits(values)
    order = np.argsort(values, kind="stable")
    assert (np.diff(grey[order].astype(int)) >= 0).all()
    high = int(values.max())
    if high > 255:
        assert grey.max() >= 64  # depths are two bits apart
    else:
        assert np.array_equal(grey, values)
    assert np.array_equal(grey, eight_bits(values.astype(np.int32)))
    if high > 1:
        assert np.array_equal(grey, eight_bits(values.astype(np.float32)))


@given(hnp.arrays(np.float64, st.integers(1, 40)))
def test_floats_of_any_size_become_grey_or_are_refused(values):
    if not np.isfinite(values).any():
        with pytest.raises(DataError, match="no number"):
            eight_bits(values)
        return
    with np.errstate(over="ignore", invalid="ignore"):
        grey = eight_bits(values)
    assert grey.dtype == np.uint8
    assert (grey[np.isnan(values) | (values == -np.inf)] == 0).all()
    assert (grey[values == np.inf] == 255).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([255], [255]), ([256], [64]), ([1023], [255]), ([1024], [64]), ([4095], [255]),
        ([4096], [64]), ([16383], [255]), ([16384], [64]), ([65535], [255]),
        ([65536], [1]), ([2**24], [1]), ([-5, -5], [0, 0]), ([-2, 0, 2], [0, 128, 255]),
    ],
)  # fmt: skip
def test_the_depth_is_the_smallest_that_holds_the_largest_value(values, expected):
    assert eight_bits(np.array(values, np.int64)).tolist() == expected


# --- what cannot be meant -------------------------------------------------------------------------


def bands(count, kind=np.uint8):
    return tiff(np.zeros((2, count), kind))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (tiff(np.full(3, np.nan, np.float32)), "no number"),
        (bands(5), r"5 sample\(s\) a pixel of 8/8/8/8/8 bits \(unsigned\)"),
        (bands(3, np.uint16), "3 sample"),
        (tiff(np.zeros(2, np.float64)), r"64 bits \(float\)"),
        (tiff(np.zeros(2, np.float16)), r"16 bits \(float\)"),
        (tiff(np.zeros(2, np.complex64)), "complex"),
        (tiff(np.array([-1, 1], np.int8)), "signed bytes"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(20), "JPEG 2000"),
        (b"\x00\x00\x00\x18ftypheic" + bytes(20), "HEIC"),
        (b"8BPS" + bytes(20), "PSD"),
        (b"%PDF-1.7", "PDF"),
        (b"II*\0" + bytes(20), "broken TIFF|no meaning"),
        (b"", "empty"),
        (b"GIF89a", "broken or cut short|not an image"),
    ],
)
def test_what_has_no_meaning_is_refused_by_name(data, says, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Pillow, on a TIFF without tags
        with pytest.raises(ImageError, match=says):
            decode_for_the_backend(data, MAX)
        (tmp_path / "x.tif").write_bytes(data)
        with pytest.raises(DataError, match=r"x\.tif: expected an image") as error:
            read_image(tmp_path / "x.tif")
    assert error.match(says)


def test_a_picture_of_too_many_pixels_is_refused_before_any_is_decoded(tmp_path, monkeypatch):
    data = saved(Image.new("RGB", (60, 40)), "PNG")
    path = tmp_path / "x.png"
    path.write_bytes(data[:60])  # the header alone: decoding would fail otherwise
    with pytest.raises(ImageTooLarge, match=r"x\.png: expected at most 2399 pixels, got 60 x 40"):
        read_image_file(path, 2399)
    with pytest.raises(ImageError, match=r"60 x 40 px, at most 2399 px .* MAX_IMAGE_PIXELS"):
        decode_for_the_backend(data[:60], 2399)
    assert decode_image(data, 2400).shape == (40, 60, 3)
    monkeypatch.setattr(images.PillowImage, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match="far more"):
        decode_image(data, 2400)


@pytest.mark.fault("F15", "reason")
def test_a_shortage_of_memory_is_not_a_broken_file(monkeypatch):
    done = subprocess.run(
        [sys.executable, "-m", "tests.taudis.data.short_decoding"],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["MemoryError", "(3000, 4000, 3)"]
    small = saved(Image.new("RGB", (40, 30)), "PNG")

    def load(_image):
        raise MemoryError  # as Pillow does for sizes in a damaged file

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", load)
    with pytest.raises(DataError, match="broken or cut short"):
        decode_image(small)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.png.*read"):
        read_image(tmp_path / "none.png")


# --- colours --------------------------------------------------------------------------------------


def test_a_profile_that_changes_nothing_leaves_every_pixel(tmp_path):
    from PIL import ImageCms

    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = gradient("RGB")
    data = saved(image, "PNG", icc_profile=srgb)
    assert np.array_equal(both_ways(data, tmp_path), np.asarray(image))


@pytest.mark.parametrize("profile", [None, "text", b"", b"x" * 200, bytes(MAX_PROFILE + 1)])
def test_an_unusable_profile_is_left_out_of_account(profile):
    image = gradient("RGB")
    assert to_srgb(image, profile) is image


def test_a_pillow_without_littlecms_says_so(monkeypatch):
    def missing(*_):
        raise ImportError("_imagingcms")

    monkeypatch.setattr("taudis.data.colour.ImageCms.ImageCmsProfile", missing)
    with pytest.raises(DataError, match="LittleCMS"):
        to_srgb(gradient("RGB"), b"a profile that was not seen before")


# --- orientation ----------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG"])
@pytest.mark.parametrize("orientation", [*range(1, 9), 0, 9])
def test_every_orientation_equals_pillows(format, orientation, tmp_path):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(gradient("RGB"), format, exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    found = both_ways(data, tmp_path)
    assert found.shape[:2] == ((32, 16) if 5 <= orientation <= 8 else (16, 32))
    assert np.array_equal(found, expected)

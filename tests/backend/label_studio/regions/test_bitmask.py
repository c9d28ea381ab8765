import base64
import io

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image

from backend.errors import RegionError
from backend.label_studio.regions import decode_annotation
from backend.label_studio.regions.bitmask import decode_bitmask, encode_bitmask
from tests.backend.label_studio.regions.drawn import only, region

masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))


def address(image, format="PNG", **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


@pytest.mark.slow
@given(masks)
@settings(max_examples=100, deadline=None)
def test_a_mask_comes_back(mask):
    assert np.array_equal(decode_bitmask(encode_bitmask(mask), 10_000), mask)


def test_what_is_written_is_what_the_editor_paints():
    """The editor paints where alpha is above 0, and draws in black."""
    mask = np.eye(9, 7, dtype=bool)
    with Image.open(io.BytesIO(base64.b64decode(encode_bitmask(mask).partition(",")[2]))) as image:
        assert image.format == "PNG" and image.size == (7, 9)
        pixels = np.asarray(image.convert("RGBA"))
    assert np.array_equal(pixels[..., 3], np.where(mask, 255, 0))
    assert not pixels[mask][:, :3].any()


@pytest.mark.parametrize("alpha", [1, 128, 255])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_every_alpha_above_zero_is_painted(mode, alpha):
    pixels = np.zeros((5, 6, 4), np.uint8)
    pixels[1:3, 2:5] = 255, 255, 255, alpha
    mask = decode_bitmask(address(Image.fromarray(pixels, "RGBA").convert(mode)), 30)
    assert np.array_equal(mask, pixels[..., 3] > 0)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P", "I;16"])
def test_without_alpha_all_is_painted(mode):
    assert decode_bitmask(address(Image.new(mode, (6, 5))), 30).all()


GOOD = encode_bitmask(np.eye(30, dtype=bool))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "expected data:"),
        (3, "expected data:"),
        ("", "expected data:"),
        ("/data/upload/1/mask.png", "expected data:"),
        ("data:image/png;base64", "Expected data:"),
        ("data:image/png;base64,###", "no image"),
        ("data:image/png;base64,aGVsbG8", "no image"),
        (GOOD[:80], "broken or cut short"),
        (address(Image.new("L", (4, 4)), "GIF"), "no image"),
        (encode_bitmask(np.ones((31, 30), bool)), "at most 900 px, got 30 x 31"),
    ],
)
def test_what_is_no_bitmask_is_refused_by_name(value, says):
    with pytest.raises(RegionError, match=f"Bitmask: .*{says}"):
        decode_bitmask(value, 900)


def test_an_address_beyond_the_limit_is_not_decoded(monkeypatch):
    monkeypatch.setattr("backend.label_studio.regions.bitmask.MAX_BYTES", 20)
    with pytest.raises(RegionError, match="at most 20 bytes"):
        decode_bitmask(GOOD, 900)


@pytest.mark.fault("F9", "bombs")
def test_a_bitmask_far_larger_than_its_image_is_refused_before_it_is_decoded(monkeypatch, figures):
    config = only("BitmaskLabels", "cat")
    rows = [
        region("bitmask", "t", {"imageDataURL": encode_bitmask(np.ones(size, bool))}, ["cat"])
        for size in ((240, 320), (60, 80))
    ]
    assert decode_annotation(rows, config, size=(60, 80)).problems == ()
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("pixels were decoded"))
    (problem,) = decode_annotation(rows[:1], config, size=(59, 79)).problems
    assert "expected at most 74576 px, got 320 x 240" in problem.reason
    figures(refused=1, crashes=0)

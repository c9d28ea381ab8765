import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import RegionError
from backend.label_studio.regions.crop import Crop
from backend.label_studio.regions.ellipse import ellipse_to_crop, mask_to_ellipse


def in_ellipse(value, height, width):
    """Brute force: which pixel centres lie inside, after turning the picture back."""
    y, x = np.mgrid[:height, :width] + 0.5
    dx, dy = x - value["x"] * width / 100, y - value["y"] * height / 100
    turned = (dx + 1j * dy) * np.exp(-1j * np.radians(value.get("rotation", 0)))
    a, b = value["radiusX"] * width / 100, value["radiusY"] * height / 100
    return (turned.real / a) ** 2 + (turned.imag / b) ** 2


ellipses = st.fixed_dictionaries(
    {
        "x": st.floats(-10, 110), "y": st.floats(-10, 110), "radiusX": st.floats(0.5, 80),
        "radiusY": st.floats(0.5, 80), "rotation": st.floats(-360, 360),
    }
)  # fmt: skip


@given(ellipses, st.integers(1, 90), st.integers(1, 90))
@settings(max_examples=300, deadline=None)
def test_an_ellipse_covers_the_pixels_whose_centres_lie_inside(value, height, width):
    depth = in_ellipse(value, height, width)
    clear = np.abs(depth - 1) > 1e-9
    try:
        drawn = ellipse_to_crop(value, height, width).paste(height, width)
    except RegionError:
        drawn = np.zeros((height, width), bool)
    assert np.array_equal(drawn[clear], (depth <= 1)[clear])


def test_radii_are_percent_of_width_and_height_rotation_is_clockwise_about_the_centre():
    flat = {"x": 50, "y": 50, "radiusX": 20, "radiusY": 10}
    crop = ellipse_to_crop(flat, 100, 200)  # 40 px and 10 px about (100, 50)
    assert (crop.x, crop.y, crop.mask.shape) == (60, 40, (20, 80))
    upright = ellipse_to_crop(flat | {"rotation": 90}, 100, 200)
    assert (upright.x, upright.y, upright.mask.shape) == (90, 10, (80, 20))
    falling = ellipse_to_crop(flat | {"rotation": 30}, 100, 200).paste(100, 200)
    assert falling[65, 126] and not falling[35, 126]  # down to the right


@given(st.floats(4, 30), st.floats(0.2, 1), st.floats(0, 180), st.floats(35, 65), st.floats(35, 45))
@settings(max_examples=200, deadline=None)
def test_an_ellipse_comes_back_from_its_mask(long, ratio, angle, x, y):
    height, width = 80, 100
    given_ = {
        "x": x, "y": y * 1.25, "radiusX": long, "radiusY": max(long * ratio, 3) * 1.25,
        "rotation": angle,
    }  # fmt: skip
    crop = ellipse_to_crop(given_, height, width)
    again = ellipse_to_crop(mask_to_ellipse(crop, height, width), height, width)
    mask, back = crop.paste(height, width), again.paste(height, width)
    assert (mask & back).sum() / (mask | back).sum() >= 0.9


def test_the_ellipse_of_any_mask_has_its_centre_and_area():
    mask = np.zeros((20, 40), bool)
    mask[3:7, 10:30] = True
    value = mask_to_ellipse(Crop(mask, 5, 7), 60, 80)
    assert (value["x"] * 0.8, value["y"] * 0.6) == pytest.approx((25, 12))
    a, b = value["radiusX"] * 0.8, value["radiusY"] * 0.6
    assert a > b and np.pi * a * b == pytest.approx(80) and value["rotation"] % 180 < 1e-6
    dot = mask_to_ellipse(Crop(np.ones((1, 1), bool), 3, 4), 10, 10)
    assert ellipse_to_crop(dot, 10, 10).paste(10, 10).sum() == 1


@pytest.mark.parametrize(
    "change",
    [
        {"radiusX": 0}, {"radiusY": 0}, {"radiusX": -3}, {"x": None}, {"x": "1_0"}, {"x": True},
        {"y": float("nan")}, {"radiusY": 1e308}, {"rotation": float("inf")}, {"x": 150},
        {"radiusX": 1e-9, "radiusY": 1e-9}, {"radiusX": 10**400}, {"radiusX": float("nan")},
        {"radiusX": [1]},
    ],
)  # fmt: skip
def test_what_makes_no_mask_is_refused(change):
    with pytest.raises(RegionError):
        ellipse_to_crop({"x": 10, "y": 10, "radiusX": 10, "radiusY": 10} | change, 100, 100)


def test_the_largest_numbers_allowed_fill_the_image():
    value = {"x": 50, "y": 50, "radiusX": 1e6, "radiusY": 1e6, "rotation": 45}
    assert ellipse_to_crop(value, 30, 20).mask.all()


@pytest.mark.parametrize(("height", "width"), [(90, 30), (30, 90)])
def test_a_long_object_keeps_its_radii_within_label_studios_bounds(height, width):
    """Its long axis goes along the image's long side, whichever that is: 50 % is the most."""
    value = {"x": 50, "y": 50, "radiusX": 10, "radiusY": 40, "rotation": 0}
    if width > height:
        value = {"x": 50, "y": 50, "radiusX": 40, "radiusY": 10, "rotation": 0}
    crop = ellipse_to_crop(value, height, width)
    again = mask_to_ellipse(crop, height, width)
    assert again["radiusX"] == pytest.approx(value["radiusX"], abs=1)
    assert again["radiusY"] == pytest.approx(value["radiusY"], abs=1)
    filled = mask_to_ellipse(Crop(np.ones((height, width), bool), 0, 0), height, width)
    assert filled["radiusX"] <= 50 and filled["radiusY"] <= 50

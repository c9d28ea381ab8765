import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import RegionError
from backend.label_studio.regions.rectangle import box_to_value, rectangle_to_crop


@given(st.integers(1, 300), st.integers(1, 300), st.data())
def test_boxes_of_whole_pixels_come_back_exactly(height, width, data):
    x1 = data.draw(st.integers(0, width - 1))
    y1 = data.draw(st.integers(0, height - 1))
    x2 = data.draw(st.integers(x1 + 1, width))
    y2 = data.draw(st.integers(y1 + 1, height))
    crop = rectangle_to_crop(box_to_value([x1, y1, x2, y2], height, width), height, width)
    assert (crop.x, crop.y) == (x1, y1)
    assert crop.mask.shape == (y2 - y1, x2 - x1) and crop.mask.all()


def test_a_box_is_cut_to_the_image():
    assert box_to_value([-10, -10, 50, 200], 100, 100) == {
        "x": 0, "y": 0, "width": 50, "height": 100, "rotation": 0,
    }  # fmt: skip
    for box in ([5, 5, 5, 9], [200, 200, 300, 300], [9, 9, 5, 5]):
        with pytest.raises(RegionError, match="no area"):
            box_to_value(box, 100, 100)


def test_a_quarter_turn_is_clockwise_about_the_top_left_corner():
    value = {"x": 50, "y": 10, "width": 40, "height": 20, "rotation": 90}
    crop = rectangle_to_crop(value, 100, 200)
    # 80 px wide, 20 px high, about (100, 10): now 80 px high, to the left of the corner
    assert (crop.x, crop.y) == (80, 10)
    assert crop.mask.shape == (80, 20) and crop.mask.all()


def test_any_rotation_keeps_the_area():
    for angle in (-30, 17, 45, 200):
        value = {"x": 50, "y": 50, "width": 20, "height": 10, "rotation": angle}
        assert abs(rectangle_to_crop(value, 200, 200).mask.sum() - 800) < 30


@pytest.mark.parametrize(
    "change",
    [
        {"width": 0}, {"height": 0}, {"x": None}, {"x": "1_0"}, {"x": "one"}, {"x": True},
        {"y": float("nan")}, {"width": 1e308}, {"rotation": float("inf")}, {"x": 150},
        {"width": 1e-9, "height": 1e-9},
    ],
)  # fmt: skip
def test_what_makes_no_mask_is_refused(change):
    with pytest.raises(RegionError):
        rectangle_to_crop({"x": 10, "y": 10, "width": 10, "height": 10} | change, 100, 100)


def test_what_lies_outside_is_cut_off():
    value = {"x": -50, "y": 90, "width": 200, "height": 50}
    crop = rectangle_to_crop(value, 100, 100)
    assert crop.mask.shape == (10, 100) and np.all(crop.mask)

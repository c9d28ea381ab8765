import json
from pathlib import Path

import cv2
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from scipy import ndimage

from backend.errors import RegionError
from backend.label_studio.regions.crop import Crop, resized, tight, union
from backend.label_studio.regions.polygon import mask_to_polygons, polygon_to_crop, trace

DATA = Path(__file__).resolve().parents[4] / "../shared/data"

masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=3, max_side=24))
shapes = st.lists(  # discs and boxes, which have slopes and corners as real objects have
    st.tuples(st.booleans(), *[st.floats(0, 40)] * 2, *[st.floats(1, 20)] * 2),
    min_size=1,
    max_size=4,
)


def redraw(polygons, height, width):
    drawn = [polygon_to_crop(points, height, width) for points in polygons]
    return union(drawn).paste(height, width) if drawn else np.zeros((height, width), bool)


def round_trip(mask, **kwargs):
    height, width = mask.shape
    return redraw(mask_to_polygons(Crop(mask, 0, 0), height, width, **kwargs), height, width)


def iou(a, b):
    return (a & b).sum() / max((a | b).sum(), 1)


def without_specks(mask):
    """Parts under 4 px go, smallest first, as long as they are 0.2 % of the mask altogether."""
    parts, count = ndimage.label(mask, np.ones((3, 3)))
    areas = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    kept, spare = mask.copy(), 0.002 * mask.sum()
    for part in np.argsort(areas, kind="stable")[:-1]:
        if areas[part] >= 4 or areas[part] > spare:
            break
        kept, spare = kept & (parts != part + 1), spare - areas[part]
    return kept if areas.size and areas.max() >= 4 else np.zeros_like(mask)


@pytest.mark.slow
@given(masks)
@settings(max_examples=300, deadline=None)
def test_unsimplified_outlines_give_the_mask_back_exactly_holes_and_parts_included(mask):
    assert np.array_equal(round_trip(mask, simplify_px=0), without_specks(mask))


def ring(side=60):
    y, x = np.mgrid[:side, :side]
    r = np.hypot(y - side / 2, x - side / 2)
    return (r < side * 0.45) & (r > side * 0.2)


def test_a_ring_is_one_polygon_with_its_hole_kept():
    mask = ring()
    polygons = mask_to_polygons(Crop(mask, 0, 0), *mask.shape)
    assert len(polygons) == 1
    drawn = redraw(polygons, *mask.shape)
    assert iou(drawn, mask) >= 0.98 and not drawn[30, 30]


def test_several_holes_and_parts_are_kept_largest_first():
    mask = np.zeros((80, 100), bool)
    mask[5:60, 5:60] = True
    for top in (10, 30):
        for left in (10, 30):
            mask[top : top + 12, left : left + 12] = False
    mask[65:75, 80:90] = True
    mask[0, 99] = True  # a speck
    polygons = mask_to_polygons(Crop(mask, 0, 0), 80, 100)
    assert len(polygons) == 2
    assert len(polygons[0]) > len(polygons[1]) == 4
    mask[0, 99] = False
    assert np.array_equal(redraw(polygons, 80, 100), mask)
    small = np.zeros((80, 100), bool)
    small[5:15, 5:15] = small[0, 99] = True  # here the speck is 1 % of the mask
    assert len(mask_to_polygons(Crop(small, 0, 0), 80, 100)) == 2


def drawn(parts):
    y, x = np.mgrid[:40, :40] + 0.5
    mask = np.zeros((40, 40), bool)
    for round_, cy, cx, h, w in parts:
        dy, dx = np.abs(y - cy) / h, np.abs(x - cx) / w
        mask |= dy**2 + dx**2 <= 1 if round_ else np.maximum(dy, dx) <= 1
    return mask


def along(outline, steps=24):
    """Points along a ring, its corners among them."""
    share = np.arange(steps)[:, None, None] / steps
    return (outline * (1 - share) + np.roll(outline, -1, axis=0) * share).reshape(-1, 2)


def farthest(points, ring):
    """The largest distance from a point to the nearest edge of a ring."""
    start, edge = ring, np.roll(ring, -1, axis=0) - ring
    to = points[:, None] - start
    share = ((to * edge).sum(2) / (edge**2).sum(1)).clip(0, 1)
    return np.sqrt(((to - share[:, :, None] * edge) ** 2).sum(2)).min(1).max()


@given(shapes)
@settings(max_examples=150, deadline=None)
def test_simplified_outlines_stay_within_half_a_pixel_of_the_pixels_edges(parts):
    mask = ndimage.binary_fill_holes(drawn(parts))
    labelled, count = ndimage.label(mask, np.ones((3, 3)))
    for part in range(1, count + 1):
        one = labelled == part
        if one.sum() < 4:
            continue
        (exact,), (simple,) = trace(one, simplify_px=0), trace(one)
        assert len(simple) <= len(exact)
        assert farthest(along(simple), exact) <= 0.5 + 1e-9


def test_stairs_become_slopes_and_right_angles_stay():
    y, x = np.mgrid[:60, :60]
    slope = (x + 2 * y < 90) & (x >= 10) & (y >= 10)
    (outline,) = trace(slope)
    assert len(outline) <= 8 and len(trace(slope, simplify_px=0)[0]) > 50
    assert np.array_equal(redraw(mask_to_polygons(Crop(slope, 0, 0), 60, 60), 60, 60), slope)
    assert len(trace((x > 20) & (y > 30))[0]) == 4


def test_the_canvas_fill_with_nonzero_winding_keeps_the_hole():
    """The editor fills with the canvas rule (non-zero winding); cv2's even-odd agrees here."""
    mask = ring()
    (points,) = mask_to_polygons(Crop(mask, 0, 0), 60, 60)
    scaled = (np.array(points) * 0.6 * 16).round().astype(np.int32)
    drawn = np.zeros((960, 960), np.uint8)
    cv2.fillPoly(drawn, [scaled], 1)
    assert iou(drawn[8::16, 8::16] > 0, mask) > 0.95


def test_a_crop_keeps_its_place():
    crop = Crop(np.ones((4, 6), bool), 10, 20)
    (points,) = mask_to_polygons(crop, 40, 50)
    assert np.array_equal(redraw([points], 40, 50), crop.paste(40, 50))
    assert np.allclose(np.min(points, axis=0), [20, 50])
    assert np.allclose(np.max(points, axis=0), [32, 60])


def real_masks(name, limit):
    file = json.loads((DATA / name / "instances.json").read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in file["images"]}
    annotations = file["annotations"]
    for annotation in annotations[:: max(len(annotations) // limit, 1)]:
        height, width = sizes[annotation["image_id"]]
        shape = annotation["segmentation"]
        if isinstance(shape, list):
            shape = coco_mask.merge(coco_mask.frPyObjects(shape, height, width))
        elif isinstance(shape["counts"], list):
            shape = coco_mask.frPyObjects(shape, height, width)
        yield coco_mask.decode(shape).astype(bool)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools
@pytest.mark.skipif(not DATA.exists(), reason="../shared/data is not there")
@pytest.mark.parametrize("name", ["coco_cc", "facades", "nuclei_dsb2018", "oam_buildings"])
def test_real_masks_over_100_px_come_back_with_iou_of_at_least_0995(name):
    seen, worst = 0, 1.0
    for mask in real_masks(name, 150):
        if mask.sum() > 100:
            seen, worst = seen + 1, min(worst, iou(round_trip(mask), mask))
    assert seen >= 10
    assert worst >= 0.995


def test_a_self_crossing_polygon_is_filled_as_the_editor_shows_it():
    star = [[50, 0], [80, 100], [0, 35], [100, 35], [20, 100]]
    drawn = polygon_to_crop(star, 100, 100).paste(100, 100)
    assert drawn[50, 50]  # non-zero winding fills the middle of a star


def test_what_lies_outside_is_cut_off():
    assert polygon_to_crop([[-50, -50], [50, -50], [50, 50], [-50, 50]], 10, 10).mask.shape == (
        5,
        5,
    )
    assert polygon_to_crop([[-1e5, -1e5], [1e5, -1e5], [1e5, 1e5], [-1e5, 1e5]], 9, 7).mask.all()


@pytest.mark.parametrize(
    "points",
    [
        None,
        "abc",
        {},
        [],
        [[1, 1]],
        [[1, 1], [2, 2]],
        [[1, 1], [2, 2], [3]],
        [[1, 1], [2, 2], ["a", "b"]],
        [[1, 1], [2, 2], [None, 3]],
        [[1, 1, 1], [2, 2, 2], [3, 3, 9]],
        [[1, 1], [2, 2], [float("nan"), 3]],
        [[1, 1], [2, 2], [float("inf"), 3]],
        [[1, 1], [2, 2], [1e308, 3]],
        [[1, 1], [2, 2], [10**400, 3]],
        [[1, 1], [50, 50], [1, 1]],
        [[200, 200], [300, 200], [300, 300]],
        [[1, 1], [1.001, 1], [1, 1.001]],
    ],
)
def test_what_makes_no_mask_is_refused(points):
    with pytest.raises(RegionError):
        polygon_to_crop(points, 100, 100)


def test_a_zigzag_of_many_points_is_refused_in_bounded_memory():
    zigzag = [[index / 1000, 100 * (index % 2)] for index in range(100_000)]
    with pytest.raises(RegionError, match="too many"):
        polygon_to_crop(zigzag, 3000, 3000)


def test_many_edges_are_rasterised_in_chunks_as_one():
    zigzag = [[index / 29.9, 100 * (index % 2)] for index in range(2990)] + [[100, 100], [0, 100]]
    drawn = polygon_to_crop(zigzag, 1000, 500)
    assert drawn.mask.any()


def test_resizing_a_mask_keeps_its_shape():
    mask = ring(120)
    small = resized(mask, 60, 60)
    assert iou(small, ring(60)) > 0.9
    assert iou(resized(small, 120, 120), mask) > 0.9
    with pytest.raises(RegionError, match="no pixel"):
        tight(Crop(np.zeros((3, 3), bool), 0, 0))


@pytest.mark.parametrize("side", [11, 22, 39, 44, 78, 1500])
def test_no_corner_lies_beyond_100_percent_which_label_studio_refuses(side):
    """100 / 11 * 11 is more than 100 in floating point."""
    (outline,) = mask_to_polygons(Crop(np.ones((side, side), bool), 0, 0), side, side)
    assert np.max(outline) == 100

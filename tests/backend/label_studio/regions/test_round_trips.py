"""Every region kind against Label Studio's own exports: the SDK's converter is the oracle.

An annotation made of our regions goes through the converter (brush to NumPy and PNG, polygons and
rectangles to COCO), and the masks of that export are compared with `decode_annotation`'s.
"""

import json
import tempfile
from pathlib import Path

import cv2
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from backend.label_studio.label_config import parse_label_config
from backend.label_studio.regions import decode_annotation
from backend.label_studio.regions.brush import encode_rle
from backend.label_studio.regions.crop import Crop
from backend.label_studio.regions.decode import INSTANCE_KEY, PART_KEY
from backend.label_studio.regions.ellipse import mask_to_ellipse
from backend.label_studio.regions.polygon import mask_to_polygons
from backend.label_studio.regions.rectangle import box_to_value
from taudis.data.coco import decode as decode_coco
from tests.backend.sdk import sdk

pytestmark = pytest.mark.slow  # the whole SDK
DATA = Path(__file__).resolve().parents[4] / "../shared/data"
XML = """<View><Image name="img" value="$image"/>
<BrushLabels name="brush" toName="img"><Label value="cat"/></BrushLabels>
<PolygonLabels name="poly" toName="img"><Label value="cat"/></PolygonLabels>
<RectangleLabels name="box" toName="img"><Label value="cat"/></RectangleLabels></View>"""
WAND = """<View><Image name="img" value="$image"/><MagicWand name="wand" toName="img"/>
<Labels name="labels" toName="img"><Label value="cat"/></Labels></View>"""
NAMES = {"brush": "brush", "polygon": "poly", "rectangle": "box"}

masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=3, max_side=24))
real = pytest.mark.skipif(not DATA.exists(), reason="../shared/data is not there")
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"  # pycocotools
)


def region(kind, value, size, number=0, **extra):
    key = f"{kind}labels"
    return {
        "id": f"r{number}", "from_name": NAMES.get(kind), "to_name": "img", "type": key,
        "original_height": size[0], "original_width": size[1], "image_rotation": 0,
        "value": {**value, key: ["cat"]},
    } | extra  # fmt: skip


def painted(mask, number=0):
    return region("brush", {"format": "rle", "rle": encode_rle(mask)}, mask.shape, number)


def outlined(mask):
    """A mask as polygon regions, tied as ours are where it has several parts."""
    outlines = mask_to_polygons(Crop(mask, 0, 0), *mask.shape)
    return [
        region(
            "polygon", {"points": outline, "closed": True}, mask.shape, part,
            meta={INSTANCE_KEY: "one", PART_KEY: part},
        )
        for part, outline in enumerate(outlines)
    ]  # fmt: skip


def exported(result, format_, xml=XML):
    """The folder that Label Studio's export writes for one task with this annotation."""
    annotation = {"id": 2, "completed_by": 3, "created_at": "2026-01-01", "result": result}
    task = {"id": 1, "data": {"image": "a.png"}, "annotations": [annotation]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tasks.json").write_text(json.dumps([task]))
        (folder / "out").mkdir()
        converter = sdk("converter").Converter(xml, name, download_resources=False)
        converter.convert(str(folder / "tasks.json"), str(folder / "out"), format_, is_dir=False)
        yield folder / "out"


def brushes_of(result, format_, xml=XML):
    """The masks of a brush export, in the order of the regions."""
    for folder in exported(result, format_, xml):
        files = sorted(folder.glob("task-*"), key=lambda path: int(path.stem.rsplit("-", 1)[1]))
        read = np.load if format_.endswith("NUMPY") else lambda path: np.asarray(Image.open(path))
        return [read(path) > 0 for path in files]
    raise AssertionError


def coco_of(result, format_="COCO"):
    for folder in exported(result, format_):
        (file,) = folder.glob("result*.json")
        return json.loads(file.read_text())["annotations"]
    raise AssertionError


def read(result, size, xml=XML):
    decoded = decode_annotation(result, parse_label_config(xml), size=size)
    assert decoded.problems == () and decoded.target is not None
    return decoded.target


def real_masks(count):
    """Real objects of every data set, evenly taken."""
    for path in sorted(DATA.glob("*/instances.json")):
        file = json.loads(path.read_text())
        sizes = {image["id"]: (image["height"], image["width"]) for image in file["images"]}
        rows = [row for row in file["annotations"] if row["area"] > 100]
        for row in rows[:: max(len(rows) // count, 1)][:count]:
            yield decode_coco(row["segmentation"], *sizes[row["image_id"]])


def edge(mask):
    """Pixels beside the mask's outline, inside and outside, the image's border included."""
    padded = np.pad(mask, 1)
    cross = np.ones((3, 3), bool)
    band = ndimage.binary_dilation(padded, cross) & ~ndimage.binary_erosion(padded, cross)
    return band[1:-1, 1:-1]


# --- brush: no pixel differs --------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("format_", ["BRUSH_TO_NUMPY", "BRUSH_TO_PNG"])
@given(drawn=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=3), shape=st.data())
@settings(max_examples=25, deadline=None)
def test_brushes_are_the_exports_pixel_for_pixel(format_, drawn, shape):
    size = shape.draw(st.tuples(st.integers(1, 30), st.integers(1, 30)))
    share = shape.draw(st.floats(0.05, 0.95))
    made = [np.random.default_rng(seed).random(size) < share for seed in drawn]
    made = [mask | (np.arange(mask.size).reshape(size) == 0) for mask in made]
    result = [painted(mask, number) for number, mask in enumerate(made)]
    theirs = brushes_of(result, format_)
    assert np.array_equal(read(result, size).masks, theirs)
    assert np.array_equal(theirs, made)


@pytest.mark.slow
@real
@pytest.mark.parametrize("format_", ["BRUSH_TO_NUMPY", "BRUSH_TO_PNG"])
def test_real_brushes_are_the_exports_pixel_for_pixel(format_):
    for mask in real_masks(8):
        (theirs,) = brushes_of([painted(mask)], format_)
        assert np.array_equal(theirs, mask)
        assert np.array_equal(read([painted(mask)], mask.shape).masks[0], theirs)


@pytest.mark.slow
@real
def test_a_magic_wands_region_is_the_exports_pixel_for_pixel():
    for mask in real_masks(2):
        row = painted(mask)
        value = {"format": "rle", "rle": row["value"]["rle"]}
        wand = row | {"from_name": "wand", "type": "magicwand", "value": value}
        labels = row | {"from_name": "labels", "type": "labels"}
        labels["value"] = value | {"labels": ["cat"]}
        (theirs,) = brushes_of([wand, labels], "BRUSH_TO_NUMPY", WAND)
        assert np.array_equal(read([wand, labels], mask.shape, WAND).masks, [theirs])


@pytest.mark.slow
@real
def test_the_brush_to_coco_export_differs_by_holes_and_hairlines_alone():
    """It keeps outer contours through pixel centres: filled with their border, the mask."""
    for mask in real_masks(8):
        whole = ndimage.binary_opening(np.pad(mask, 2), np.ones((2, 2)))[2:-2, 2:-2]
        if not whole.any():
            continue
        theirs = np.zeros(mask.shape, np.uint8)
        for row in coco_of([painted(whole)], "BRUSH_TO_COCO"):
            rings = row["segmentation"]
            for ring in rings if isinstance(rings[0], list) else [rings]:
                cv2.fillPoly(theirs, [np.array(ring, np.int32).reshape(-1, 2)], 1)
        ours = read([painted(whole)], whole.shape).masks[0]
        assert np.array_equal(ndimage.binary_fill_holes(ours), theirs > 0)


# --- polygon: COCO's own rasteriser differs beside the outline ----------------------------------


def coco_mask(rows, size):
    drawn = [decode_coco(row["segmentation"], *size) for row in rows]
    return np.logical_or.reduce(drawn) if drawn else np.zeros(size, bool)


@given(masks)
@settings(max_examples=60, deadline=None)
def test_polygons_differ_from_the_coco_export_beside_the_outline_alone(mask):
    mask = ndimage.binary_opening(np.pad(mask.repeat(4, 0).repeat(4, 1), 2), np.ones((3, 3)))
    result = outlined(mask)
    if not result:
        return
    ours = read(result, mask.shape).masks
    assert len(ours) == 1
    theirs = coco_mask(coco_of(result), mask.shape)
    assert not ((ours[0] ^ theirs) & ~edge(ours[0])).any()


@pytest.mark.slow
@real
def test_real_polygons_differ_from_the_coco_export_beside_the_outline_alone():
    differ = pixels = 0
    for mask in real_masks(25):
        result = outlined(mask)
        ours = read(result, mask.shape).masks[0]
        assert (ours & mask).sum() / (ours | mask).sum() >= 0.995
        theirs = coco_mask(coco_of(result), mask.shape)
        assert not ((ours ^ theirs) & ~edge(ours)).any()
        differ, pixels = differ + int((ours ^ theirs).sum()), pixels + int(ours.sum())
    print(f"COCO export of polygons: {differ} of {pixels} px differ ({differ / pixels:.2%})")
    assert differ <= 0.001 * pixels


# --- rectangle ----------------------------------------------------------------------------------


@given(st.integers(1, 90), st.integers(1, 90), st.data())
@settings(max_examples=60, deadline=None)
def test_rectangles_are_the_exports_boxes(height, width, data):
    x1, y1 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x2, y2 = data.draw(st.integers(x1 + 1, width)), data.draw(st.integers(y1 + 1, height))
    value = box_to_value([x1, y1, x2, y2], height, width)
    result = [region("rectangle", value, (height, width))]
    (theirs,) = coco_of(result)
    target = read(result, (height, width))
    assert target.boxes[0].tolist() == [x1, y1, x2, y2]
    assert target.masks[0].sum() == pytest.approx(theirs["area"])
    assert theirs["bbox"] == pytest.approx([x1, y1, x2 - x1, y2 - y1])


@given(st.floats(-180, 180), st.floats(5, 40), st.floats(5, 40))
@settings(max_examples=60, deadline=None)
def test_the_export_boxes_a_turned_rectangle_within_a_pixel_on_square_images(turn, wide, high):
    """On others it turns percentages of width and height alike, which is not what is drawn."""
    value = {"x": 50, "y": 50, "width": wide, "height": high, "rotation": turn}
    result = [region("rectangle", value, (300, 300))]
    (theirs,) = coco_of(result)
    x, y, w, h = theirs["bbox"]
    expected = np.clip([x, y, x + w, y + h], 0, 300)
    assert np.abs(read(result, (300, 300)).boxes[0] - expected).max() <= 1.5


# --- ellipse: the converter has none ------------------------------------------------------------


@pytest.mark.slow
@real
def test_real_masks_as_ellipses_keep_their_area_and_place():
    """The SDK exports no ellipse; test_ellipse.py holds the brute-force oracle."""
    xml = XML.replace("RectangleLabels", "EllipseLabels")
    seen = 0
    for mask in real_masks(25):
        value = mask_to_ellipse(Crop(mask, 0, 0), *mask.shape)
        row = region("ellipse", value, mask.shape, from_name="box")
        target = read([row], mask.shape, xml)
        rows, columns = np.nonzero(target.masks[0])
        if 0 in (rows.min(), columns.min()) or rows.max() + 1 == len(mask):
            continue
        if columns.max() + 1 == mask.shape[1]:
            continue
        seen += 1
        assert target.masks[0].sum() == pytest.approx(mask.sum(), rel=0.05)
        centre = [place.mean() for place in np.nonzero(mask)]
        # A thin, slanted ellipse is a few px wide, so that whole pixels move its centre.
        stray = 0.25 + 0.005 * max(np.ptp(rows), np.ptp(columns))
        assert [rows.mean(), columns.mean()] == pytest.approx(centre, abs=stray)
    assert seen >= 20

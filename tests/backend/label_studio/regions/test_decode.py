from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.detection.roi_heads import paste_masks_in_image

from backend.errors import RegionError
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.regions import decode_annotation, encode_prediction
from backend.label_studio.regions.brush import encode_rle
from backend.label_studio.regions.encode import paste
from taudis.types import Instances

XML = """<View><Image name="img" value="$image"/>
<BrushLabels name="brush" toName="img"><Label value="cat"/><Label value="dog"/></BrushLabels>
<PolygonLabels name="poly" toName="img"><Label value="tree"/><Label value="cat"/></PolygonLabels>
<RectangleLabels name="box" toName="img"><Label value="car"/></RectangleLabels></View>"""
CONFIG = parse_label_config(XML)
SIZE = (60, 80)


def only(tag, *labels):
    inside = "".join(f'<Label value="{label}"/>' for label in labels)
    control = f'<{tag} name="t" toName="img">{inside}</{tag}>'
    return parse_label_config(f'<View><Image name="img" value="$image"/>{control}</View>')


def region(kind, name, value, labels, size=SIZE, **extra):
    key = f"{kind}labels"
    return {
        "id": f"{kind}-{labels}",
        "from_name": name,
        "to_name": "img",
        "type": key,
        "original_height": size[0],
        "original_width": size[1],
        "image_rotation": 0,
        "value": {**value, key: labels},
    } | extra


def brush(mask, label="cat", **extra):
    value = {"format": "rle", "rle": encode_rle(mask)}
    return region("brush", "brush", value, [label], size=mask.shape, **extra)


def square(top=10, left=20, side=15, size=SIZE):
    mask = np.zeros(size, bool)
    mask[top : top + side, left : left + side] = True
    return mask


BOX = {"x": 25, "y": 50, "width": 25, "height": 25, "rotation": 0}
TRIANGLE = {"points": [[0, 0], [50, 0], [0, 50]], "closed": True}


def test_the_three_kinds_become_one_target():
    result = [
        brush(square(), "dog"),
        region("polygon", "poly", TRIANGLE, ["tree"]),
        region("rectangle", "box", BOX, ["car"]),
    ]
    decoded = decode_annotation(result, CONFIG)
    assert decoded.problems == ()
    assert decoded.target is not None
    assert [CONFIG.label_map.name(int(label)) for label in decoded.target.labels] == [
        "dog", "tree", "car",
    ]  # fmt: skip
    assert np.array_equal(decoded.target.masks[0], square())
    assert decoded.target.boxes[0].tolist() == [20, 10, 35, 25]
    assert decoded.target.boxes[2].tolist() == [20, 30, 40, 45]
    assert decoded.target.masks.shape == (3, 60, 80)


TOOLS = parse_label_config(
    """<View><Image name="img" value="$image"/>
<MagicWand name="wand" toName="img"/><Brush name="brush" toName="img"/>
<Polygon name="poly" toName="img"/><Rectangle name="box" toName="img"/>
<Ellipse name="ell" toName="img"/>
<Labels name="labels" toName="img"><Label value="cat"/><Label value="dog"/></Labels></View>"""
)
OVAL = {"x": 50, "y": 50, "radiusX": 20, "radiusY": 20, "rotation": 0}


def drawn_with(tool, name, value, labels, id_="r1"):
    """What the editor writes for a tool beside Labels: a result of each, both with the shape."""
    common = {
        "id": id_, "to_name": "img", "original_height": SIZE[0], "original_width": SIZE[1],
        "image_rotation": 0, "origin": "manual",
    }  # fmt: skip
    first = common | {"from_name": name, "type": tool, "value": value}
    second = {"from_name": "labels", "type": "labels", "value": value | {"labels": labels}}
    return [first, common | second] if labels else [first]


def test_an_ellipse_is_read():
    config = only("EllipseLabels", "x")
    (target,) = (decode_annotation([region("ellipse", "t", OVAL, ["x"])], config).target,)
    assert target is not None and target.boxes[0].tolist() == [24, 18, 56, 42]


@pytest.mark.parametrize(
    ("tool", "name", "value", "box"),
    [
        ("magicwand", "wand", None, [20, 10, 35, 25]),
        ("brush", "brush", None, [20, 10, 35, 25]),
        ("polygon", "poly", TRIANGLE, [0, 0, 39, 30]),
        ("rectangle", "box", BOX, [20, 30, 40, 45]),
        ("ellipse", "ell", OVAL, [24, 18, 56, 42]),
    ],
)
def test_a_tool_beside_labels_gives_one_instance(tool, name, value, box):
    value = value or {"format": "rle", "rle": encode_rle(square())}
    decoded = decode_annotation(drawn_with(tool, name, value, ["dog"]), TOOLS)
    assert decoded.problems == () and decoded.target is not None
    assert decoded.target.labels.tolist() == [2] and decoded.target.boxes.tolist() == [box]


def test_a_region_without_its_label_is_named():
    value = {"format": "rle", "rle": encode_rle(square())}
    rows = drawn_with("magicwand", "wand", value, []) + drawn_with(
        "rectangle", "box", BOX, ["cat"], "r2"
    )
    decoded = decode_annotation(rows, TOOLS)
    assert decoded.target is not None and decoded.target.iscrowd.tolist() == [False, True]
    assert np.array_equal(decoded.target.masks[1], square())
    (problem,) = decoded.problems
    assert str(problem) == "Region r1: it has no label; select it in Label Studio and choose one."
    assert (problem.kind, problem.effect) == ("no_label", "painted_out")


def test_a_magic_wand_beside_brush_labels_is_one_instance():
    wand = brush(square(), "dog") | {"from_name": "wand", "type": "magicwand"}
    decoded = decode_annotation([wand, brush(square(), "dog")], CONFIG)
    assert decoded.problems == () and decoded.target is not None
    assert decoded.target.labels.tolist() == [2]
    # a tool's region that was never labelled is neither object nor background
    alone = decode_annotation([wand], CONFIG, size=SIZE)
    assert alone.target is not None and alone.target.iscrowd.tolist() == [True]
    assert [problem.kind for problem in alone.problems] == ["no_label"]


def test_one_region_under_labels_of_two_tags_is_one_instance_of_the_first():
    value = {"format": "rle", "rle": encode_rle(square())}
    rows = [
        region("brush", "brush", value, ["dog"]) | {"id": "a"},
        region("polygon", "poly", value, ["tree"]) | {"id": "a"},
    ]
    decoded = decode_annotation(rows, CONFIG)
    assert decoded.target is not None and decoded.target.labels.tolist() == [2]
    assert len(decoded.problems) == 1 and "several labels" in str(decoded.problems[0])
    gone = [rows[1] | {"from_name": "gone"}, rows[0]]
    assert decode_annotation(gone, CONFIG).problems == ()


def test_instances_that_touch_or_overlap_stay_apart():
    left, right = square(10, 10, 20), square(10, 30, 20)
    decoded = decode_annotation(
        [brush(left, id="a"), brush(right, id="b"), brush(left | right, id="c")], CONFIG
    )
    assert decoded.target is not None
    assert np.array_equal(decoded.target.masks, np.stack([left, right, left | right]))


def test_a_brush_of_several_strokes_with_an_erased_part_is_one_instance_with_a_hole():
    mask = square(2, 2, 20) | square(30, 40, 25)
    mask[8:12, 8:12] = False
    decoded = decode_annotation([brush(mask)], CONFIG)
    assert decoded.target is not None and np.array_equal(decoded.target.masks[0], mask)


def test_no_regions_is_a_true_negative_where_the_size_is_known():
    empty = decode_annotation([], CONFIG, size=SIZE)
    assert empty.target is not None and len(empty.target) == 0
    assert empty.target.masks.shape == (0, 60, 80)
    assert decode_annotation([], CONFIG).target is None


def test_other_results_are_left_alone():
    others = [
        {"type": "choices", "from_name": "c", "value": {"choices": ["x"]}},
        {"type": "relation", "from_id": "a", "to_id": "b"},
        {"type": "textarea", "id": "brush-['cat']", "value": {"text": ["hi"]}},
    ]
    decoded = decode_annotation([*others, brush(square())], CONFIG)
    assert decoded.problems == () and decoded.target is not None and len(decoded.target) == 1


def bad(**changes):
    return brush(square()) | changes


@pytest.mark.parametrize(
    ("wrong", "kind", "says"),
    [
        (bad(value=None), "unreadable_shape", "expected a value"),
        (bad(value={"format": "rle", "rle": [1], "brushlabels": ["fox"]}), "unknown_label", "fox"),
        (bad(value={"rle": [1], "brushlabels": ["cat"]}), "unreadable_shape", "header"),
        (bad(value={"brushlabels": ["cat"]}), "unreadable_shape", "run lengths"),
        (bad(value={"format": "png", "brushlabels": ["cat"]}), "unreadable_shape", "run lengths"),
        (bad(value={"rle": "AAEC", "brushlabels": ["cat"]}), "unreadable_shape", "list of numbers"),
        (bad(value={"touches": [{}], "brushlabels": ["cat"]}), "unreadable_shape", "touches"),
        (bad(value=brush(square(size=(9, 9)))["value"]), "other_image", "header says"),
        (bad(original_width=60, original_height=80), "other_image", "80x60"),
        (bad(item_index=2), "other_image", "page 2"),
        (region("ellipse", "poly", OVAL | {"radiusX": -1}, ["cat"]), "unknown_tag", "above 0"),
        (region("polygon", "poly", OVAL | {"radiusX": -1}, ["cat"]), "unreadable_shape", "above 0"),
        (region("polygon", "poly", OVAL | {"radiusY": float("nan")}, ["cat"]), "unreadable_shape",
         "expected radiusY in percent"),
    ],
)  # fmt: skip
def test_a_region_of_unknown_place_is_dropped_the_good_ones_are_kept(wrong, kind, says):
    good = brush(square(), "dog")
    decoded = decode_annotation([wrong, good], CONFIG, size=SIZE)
    assert decoded.target is not None
    assert decoded.target.labels.tolist() == [2] and not decoded.target.iscrowd.any()
    (problem,) = decoded.problems
    assert (problem.kind, problem.effect) == (kind, "dropped") and says in str(problem)


@pytest.mark.parametrize(
    ("wrong", "kind", "says"),
    [
        (bad(to_name="other"), "unknown_tag", "to_name 'other'"),
        (bad(from_name="gone"), "unknown_tag", "'gone' (brushlabels)"),
        (bad(from_name="poly"), "unknown_tag", "not in the labelling config"),
        (bad(from_name="wand", type="magicwand"), "no_label", "has no label"),
        (bad(value=bad()["value"] | {"brushlabels": ["fox"]}), "unknown_label", "['fox']"),
        (bad(value=bad()["value"] | {"brushlabels": "cat"}), "unknown_label", "got cat"),
        (bad(value=bad()["value"] | {"brushlabels": []}), "no_label", "got []"),
        (bad(type="textarea", from_name="note"), "no_label", "has no label"),
        (bad(type=None, from_name="gone"), "no_label", "has no label"),
    ],
)
def test_a_region_of_known_place_and_unknown_label_is_a_crowd(wrong, kind, says):
    good = brush(square(40, 50), "dog")
    decoded = decode_annotation([wrong, good], CONFIG, size=SIZE)
    assert decoded.target is not None
    assert decoded.target.labels.tolist() == [2, 1]
    assert decoded.target.iscrowd.tolist() == [False, True]
    assert np.array_equal(decoded.target.masks[1], square())
    (problem,) = decoded.problems
    assert (problem.kind, problem.effect) == (kind, "painted_out") and says in str(problem)


@pytest.mark.parametrize(
    "nothing",
    [
        brush(np.zeros(SIZE, bool)),
        region("polygon", "poly", {"points": [[1, 1], [5, 5]]}, ["cat"]),
        region("rectangle", "box", BOX | {"width": 0}, ["car"]),
        region("rectangle", "box", BOX | {"x": 130}, ["fox"]),
        region("polygon", "poly", OVAL | {"radiusX": 0}, ["cat"]),
    ],
)
def test_a_region_without_a_pixel_is_told_and_needs_no_paint(nothing):
    decoded = decode_annotation([nothing, brush(square(), "dog")], CONFIG, size=SIZE)
    assert decoded.target is not None and decoded.target.labels.tolist() == [2]
    (problem,) = decoded.problems
    assert problem.effect == "painted_out"
    assert problem.kind in ("no_pixel", "unknown_label")


def test_what_is_no_region_at_all_is_ignored():
    nothing = [None, 3, "x", [], {}, {"type": []}, {"type": {}}, {"type": "labels"}]
    nothing.append({"type": "keypointlabels", "value": {"x": 1, "y": 2, "width": 1}})
    decoded = decode_annotation(nothing, CONFIG, size=SIZE)
    assert decoded.problems == () and decoded.target is not None and len(decoded.target) == 0


def test_several_labels_on_one_region_use_the_first_known_and_say_so():
    value = {"format": "rle", "rle": encode_rle(square()), "brushlabels": ["fox", "dog", "cat"]}
    decoded = decode_annotation([bad(value=value)], CONFIG)
    assert decoded.target is not None and decoded.target.labels.tolist() == [2]
    assert "several labels" in str(decoded.problems[0])


def test_a_brush_of_another_size_is_resized_one_of_another_image_refused():
    doubled = square(20, 40, 30, size=(120, 160))
    decoded = decode_annotation([brush(doubled)], CONFIG, size=SIZE)
    assert decoded.target is not None
    assert np.array_equal(decoded.target.masks[0], square())
    turned = decode_annotation([brush(square(size=(80, 60)))], CONFIG, size=SIZE)
    assert turned.target is not None and len(turned.target) == 0
    assert "80x60" in str(turned.problems[0])
    box = region("rectangle", "box", BOX, ["car"], size=(80, 60))
    assert "exchanged" in str(decode_annotation([box], CONFIG, size=SIZE).problems[0])


def test_parts_of_one_instance_are_tied_copies_of_a_part_are_not():
    def part(name, number, top):
        meta = {"taudis_instance": name, "taudis_part": number, "text": ["a note"]}
        return brush(square(top, 5, 8), meta=meta)

    tied = [part("a", 0, 2), part("b", 0, 20), part("a", 1, 40), part("a", 1, 50)]
    decoded = decode_annotation(tied, CONFIG)
    assert decoded.target is not None and len(decoded.target) == 3
    assert decoded.target.boxes[0].tolist() == [5, 2, 13, 48]
    assert decoded.target.masks[0].sum() == 128


def test_masks_beyond_the_memory_bound_are_named(monkeypatch):
    monkeypatch.setattr("backend.label_studio.regions.decode.MAX_MASK_BYTES", 3 * 60 * 80)
    decoded = decode_annotation([brush(square(side=5 + n)) for n in range(5)], CONFIG)
    assert decoded.target is not None and decoded.target.iscrowd.tolist() == [False, False, True]
    assert np.array_equal(decoded.target.masks[2], square(side=9))
    assert "first 2 are used" in str(decoded.problems[-1])
    assert decoded.problems[-1].effect == "painted_out"


def test_crowds_beyond_the_memory_bound_are_one(monkeypatch):
    monkeypatch.setattr("backend.label_studio.regions.decode.MAX_MASK_BYTES", 3 * 60 * 80)
    gone = [bad(from_name="gone") | {"id": str(n)} for n in range(5)]
    decoded = decode_annotation([*gone, brush(square(40, 50))], CONFIG)
    assert decoded.target is not None and decoded.target.iscrowd.tolist() == [False, True]
    assert np.array_equal(decoded.target.masks[1], square())


@pytest.mark.slow
def test_ten_thousand_regions_decode():
    result = [region("rectangle", "box", BOX, ["car"]) for _ in range(10_000)]
    decoded = decode_annotation(result, CONFIG, size=SIZE)
    assert decoded.target is not None and len(decoded.target) == 10_000


# --- encoding -------------------------------------------------------------------------------


def detection(boxes, probs, labels, scores, size=SIZE):
    n = len(boxes)
    instances = Instances(
        image_index=np.zeros(n, np.int64),
        boxes=np.array(boxes, np.float32).reshape(n, 4),
        scores=np.array(scores, np.float32),
        labels=np.array(labels, np.int64),
        class_probs=np.full((n, 5), 0.2, np.float32),
        embeddings=np.zeros((n, 3), np.float32),
        mask_probs=np.array(probs, np.float32).reshape(n, 28, 28),
    )
    return SimpleNamespace(instances=instances, size=size)


def disc():
    y, x = np.mgrid[:28, :28] - 13.5
    return np.clip(1 - np.hypot(y, x) / 28, 0, 1)


def smooth(seed):
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((1, 1, 5, 5), np.float32))
    return torch.nn.functional.interpolate(coarse, 28, mode="bicubic")[0, 0].numpy().clip(0, 1)


@given(st.integers(0, 10_000))
@settings(max_examples=200, deadline=None)
def test_pasting_is_torchvisions_pasting(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(2, 120, 2).tolist()
    corners = np.sort(rng.random((2, 2)) * (width, height), axis=0)
    box = np.array([*corners[0], *(corners[1] + 0.02)], np.float32).clip(0, [width, height] * 2)
    probs = smooth(seed).astype(np.float32)
    theirs = paste_masks_in_image(
        torch.from_numpy(probs)[None, None], torch.from_numpy(box)[None], (height, width)
    )[0, 0].numpy()
    crop = paste(probs, box, height, width)
    ours = np.zeros((height, width), bool) if crop is None else crop.paste(height, width)
    decided = np.abs(theirs - 0.5) > 1e-4  # cv2 and torch round the weights differently
    assert np.array_equal(ours[decided], (theirs >= 0.5)[decided])


def test_every_kind_is_encoded_as_label_studio_writes_it_and_read_back():
    labels = [1, 2, 3, 4]  # cat (brush), dog (brush), tree (polygon), car (rectangle)
    boxes = [[5, 5, 25, 30], [30, 5, 50, 30], [5, 32, 30, 58], [40, 32, 70, 50]]
    found = detection(boxes, [disc()] * 4, labels, [0.9, 0.8, 0.7, 0.6])
    regions = encode_prediction(found, CONFIG, threshold=0.5)
    assert [each["type"] for each in regions] == [
        "brushlabels", "brushlabels", "polygonlabels", "rectanglelabels",
    ]  # fmt: skip
    first = regions[0]
    assert first["value"]["brushlabels"] == ["cat"] and first["value"]["format"] == "rle"
    assert (first["from_name"], first["to_name"]) == ("brush", "img")
    assert (first["original_width"], first["original_height"]) == (80, 60)
    assert first["score"] == pytest.approx(0.9) and first["image_rotation"] == 0
    decoded = decode_annotation(regions, CONFIG)
    assert decoded.problems == () and decoded.target is not None
    assert decoded.target.labels.tolist() == labels
    assert np.abs(decoded.target.boxes[3] - boxes[3]).max() <= 1
    expected = paste(found.instances.mask_probs[0], found.instances.boxes[0], *SIZE)
    assert expected is not None
    assert np.array_equal(decoded.target.masks[0], expected.paste(*SIZE))


def test_ids_are_short_unique_and_the_same_each_time():
    boxes = [[5, 5, 25, 30], [30, 5, 50, 30], [5, 5, 25, 30]]  # the last of another label
    found = detection(boxes, [disc(), disc(), disc() * 0.6], [1, 1, 3], [0.9, 0.9, 0.9])
    first, again = (encode_prediction(found, CONFIG, threshold=0.5) for _ in range(2))
    assert first == again
    ids = [each["id"] for each in first]
    assert len(set(ids)) == 3 and all(0 < len(each) <= 10 for each in ids)


def test_only_scores_at_the_threshold_and_masks_above_a_speck_are_shown():
    low = np.zeros((28, 28))
    boxes = [[5, 5, 25, 30], [5, 5, 25, 30], [5, 5, 25, 30], [5.2, 5.2, 5.6, 5.6]]
    found = detection(boxes, [disc(), disc(), low, disc()], [1] * 4, [0.5, 0.49, 0.9, 0.9])
    assert [r["score"] for r in encode_prediction(found, CONFIG, threshold=0.5)] == [0.5]
    nothing = detection([], [], [], [])
    assert encode_prediction(nothing, CONFIG, threshold=0.0) == []


def test_a_polygon_in_parts_becomes_tied_regions_and_one_instance_again():
    probs = np.zeros((28, 28))
    probs[2:11, 2:26] = probs[17:26, 2:26] = 1
    config = only("PolygonLabels", "x")
    found = detection([[10, 5, 70, 55]], [probs], [1], [0.9])
    regions = encode_prediction(found, config, threshold=0.5)
    assert len(regions) == 2 and len({each["id"] for each in regions}) == 2
    decoded = decode_annotation(regions, config)
    assert decoded.target is not None and len(decoded.target) == 1
    brushed = encode_prediction(found, only("BrushLabels", "x"), threshold=0.5)
    reference = decode_annotation(brushed, only("BrushLabels", "x")).target
    assert reference is not None
    both = (decoded.target.masks[0] & reference.masks[0]).sum()
    assert both / (decoded.target.masks[0] | reference.masks[0]).sum() >= 0.98


@pytest.mark.parametrize("tool", ["Brush", "Bitmask", "Polygon", "Ellipse", "Rectangle"])
def test_beside_labels_a_region_is_written_as_the_editor_writes_it(tool):
    config = parse_label_config(
        f'<View><Image name="img" value="$image"/><{tool} name="tool" toName="img"/>'
        '<Labels name="labels" toName="img"><Label value="x"/></Labels></View>'
    )
    found = detection([[10, 5, 70, 55]], [disc()], [1], [0.9])
    first, second = encode_prediction(found, config, threshold=0.5)
    assert (first["from_name"], first["type"]) == ("tool", tool.lower())
    assert (second["from_name"], second["type"]) == ("labels", "labels")
    assert first["id"] == second["id"] and first["score"] == second["score"]
    assert second["value"] == first["value"] | {"labels": ["x"]}
    decoded = decode_annotation([first, second], config)
    assert decoded.problems == () and decoded.target is not None and len(decoded.target) == 1


def test_an_ellipse_pre_annotation_lies_on_its_mask():
    config = only("EllipseLabels", "x")
    found = detection([[10, 5, 70, 55]], [disc()], [1], [0.9])
    target = decode_annotation(encode_prediction(found, config, threshold=0.5), config).target
    mask = paste(found.instances.mask_probs[0], found.instances.boxes[0], *SIZE)
    assert target is not None and mask is not None
    both = target.masks[0] & mask.paste(*SIZE)
    assert both.sum() / (target.masks[0] | mask.paste(*SIZE)).sum() >= 0.97


def test_rectangles_need_no_masks_brushes_do():
    found = detection([[5, 5, 25, 30]], [disc()], [1], [0.9])
    without = Instances(**{**vars(found.instances), "mask_probs": None})
    bare = SimpleNamespace(instances=without, size=SIZE)
    (box,) = encode_prediction(bare, only("RectangleLabels", "x"), threshold=0.5)
    assert box["value"]["width"] == pytest.approx(25)
    with pytest.raises(RegionError, match="mask_probs"):
        encode_prediction(bare, only("BrushLabels", "x"), threshold=0.5)


POINTS = parse_label_config(
    '<View><Image name="img" value="$image"/><Labels name="tag" toName="img"><Label value="cat"/>'
    '</Labels><Rectangle name="box" toName="img"/><KeyPoint name="dot" toName="img"/>'
    '<Vector name="line" toName="img"/></View>'
)


def test_points_and_open_lines_beside_labels_leave_their_task_alone():
    common = {"to_name": "img", "original_width": 80, "original_height": 60}
    box = common | {
        "id": "b",
        "from_name": "tag",
        "type": "labels",
        "value": BOX | {"labels": ["cat"]},
    }
    dot = {"x": 10, "y": 10, "width": 1, "labels": ["cat"]}
    line = {"vertices": [{"id": "1", "x": 1, "y": 1}], "closed": False, "labels": ["cat"]}
    others = [
        common | {"id": name, "from_name": "tag", "type": "labels", "value": value}
        for name, value in (("d", dot), ("l", line))
    ]
    decoded = decode_annotation([box, *others], POINTS, size=SIZE)
    assert decoded.problems == () and decoded.target is not None
    assert decoded.target.labels.tolist() == [1] and not decoded.target.iscrowd.any()
    nothing = box | {"value": {"labels": ["cat"]}}  # a shape that is missing is no point
    assert decode_annotation([nothing], POINTS, size=SIZE).problems[0].effect == "dropped"


def test_a_bare_rectangle_beside_rectangle_labels_is_a_crop_not_an_object():
    config = parse_label_config(
        '<View><Image name="img" value="$image"/><RectangleLabels name="box" toName="img">'
        '<Label value="car"/></RectangleLabels><Rectangle name="crop" toName="img"/></View>'
    )
    whole = region("rectangle", "crop", {"x": 0, "y": 0, "width": 100, "height": 100}, [])
    whole |= {"type": "rectangle", "id": "whole"}
    decoded = decode_annotation(
        [whole, region("rectangle", "box", BOX, ["car"])], config, size=SIZE
    )
    assert decoded.problems == () and decoded.target is not None
    assert decoded.target.labels.tolist() == [1] and not decoded.target.iscrowd.any()


def test_a_stroke_too_thin_for_half_a_pixel_stays_where_it_was_drawn():
    thin = np.zeros((600, 800), bool)
    thin[305, 100:700] = True  # a tenth of a pixel high in the picture as it is used
    decoded = decode_annotation([brush(thin)], CONFIG, size=SIZE)
    assert decoded.problems == () and decoded.target is not None
    rows, columns = np.nonzero(decoded.target.masks[0])
    assert set(rows) == {30} and (columns.min(), columns.max()) == (10, 69)


def test_run_lengths_of_this_pictures_size_count_whatever_size_is_stated():
    misstated = brush(square()) | {"original_width": 200, "original_height": 80}
    decoded = decode_annotation([misstated], CONFIG, size=SIZE)
    assert decoded.problems == () and decoded.target is not None
    assert np.array_equal(decoded.target.masks[0], square())

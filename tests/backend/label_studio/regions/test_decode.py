"""Regions that people drew become the target of one image, or a named problem."""

import numpy as np
import pytest

from backend.label_studio.label_config import parse_label_config
from backend.label_studio.regions import decode_annotation
from backend.label_studio.regions.brush import encode_rle
from taudis.types import ANY_LABEL
from tests.backend.label_studio.regions.drawn import (
    BOX,
    CONFIG,
    OVAL,
    SIZE,
    TOOLS,
    TRIANGLE,
    brush,
    drawn_with,
    only,
    region,
    square,
)  # fmt: skip


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
    assert decoded.target.labels.tolist() == [2, ANY_LABEL]
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
@pytest.mark.fault("F9", "many")
def test_ten_thousand_regions_decode(figures):
    result = [region("rectangle", "box", BOX, ["car"]) for _ in range(10_000)]
    decoded = decode_annotation(result, CONFIG, size=SIZE)
    assert decoded.target is not None and len(decoded.target) == 10_000
    figures(regions=10_000)


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

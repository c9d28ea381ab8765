"""What annotators were shown, compared with the ground truth, on shapes counted by hand."""

import numpy as np
import pytest

from backend.label_studio.label_config import parse_label_config
from backend.label_studio.regions.brush import encode_rle
from backend.label_studio.regions.decode import INSTANCE_KEY, PART_KEY
from demo.pre_annotations import PreAnnotation, Total, by_round, compare, in_words
from taudis.types import Target

SIDE = 100  # px: a percent is a pixel


def config_of(tag):
    return parse_label_config(
        f'<View><Image name="i" value="$image"/><{tag} name="t" toName="i">'
        f'<Label value="a"/><Label value="b"/></{tag}></View>'
    )


def filled(x1, y1, x2, y2):
    mask = np.zeros((SIDE, SIDE), bool)
    mask[y1:y2, x1:x2] = True
    return mask


def truth_of(*objects):
    masks, labels, crowds = zip(*objects, strict=True)
    return Target.from_masks(np.stack(masks), np.array(labels), np.array(crowds))


def region(name, kind, label, value, **more):
    return {
        "id": name, "type": kind, "from_name": "t", "to_name": "i", "image_rotation": 0,
        "original_width": SIDE, "original_height": SIDE, "value": {**value, kind: [label]}, **more,
    }  # fmt: skip


def polygon(name, label, x1, y1, x2, y2, **more):
    points = [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]
    return region(name, "polygonlabels", label, {"points": points, "closed": True}, **more)


def tied(part):
    return {"meta": {INSTANCE_KEY: "five", PART_KEY: part}}


TRUTH = truth_of(
    (filled(0, 0, 20, 20), 1, False),
    (filled(40, 0, 60, 20), 1, False),
    (filled(0, 40, 20, 60), 2, False),
    (filled(60, 60, 100, 100), 1, True),
)
REGIONS = [
    polygon("1", "a", 0, 0, 20, 10),  # IoU 0.5 with the first object: matches
    polygon("2", "a", 0, 0, 20, 20),  # IoU 1, but the first object is taken
    polygon("3", "a", 40, 0, 60, 9),  # IoU 0.45
    polygon("4", "a", 0, 40, 20, 60),  # an object of the other label
    polygon("5", "b", 0, 40, 20, 48, **tied(0)),  # IoU 0.4 alone, 0.8 with its other part
    polygon("6", "b", 0, 52, 20, 60, **tied(1)),
    polygon("7", "a", 70, 70, 80, 80),  # inside the crowd region
    polygon("8", "b", 30, 30, 30, 30),  # covers no pixel: is there, and matches nothing
]


def test_regions_are_matched_best_first_by_label_and_as_whole_instances():
    seen = compare(7, "v", REGIONS, TRUTH, config_of("PolygonLabels"))
    assert seen == PreAnnotation(7, "v", regions=6, in_crowds=1, matched=2, objects=3)
    nothing = compare(7, "v", [], TRUTH, config_of("PolygonLabels"))
    assert nothing == PreAnnotation(7, "v", regions=0, in_crowds=0, matched=0, objects=3)
    unreadable = compare(7, "v", REGIONS[-1:], TRUTH, config_of("PolygonLabels"))
    assert unreadable == PreAnnotation(7, "v", regions=1, in_crowds=0, matched=0, objects=3)


def test_the_first_region_chooses_first():
    tall, short = filled(0, 0, 20, 20), filled(0, 0, 20, 14)
    truth, config = truth_of((tall, 1, False), (short, 1, False)), config_of("PolygonLabels")
    either = polygon("1", "a", 0, 0, 20, 20)  # IoU 1 with the tall object, 0.7 with the short one
    lower = polygon("2", "a", 0, 6, 20, 20)  # IoU 0.7 with the tall object, 0.4 with the short one
    assert compare(1, "v", [either, lower], truth, config).matched == 1
    assert compare(1, "v", [lower, either], truth, config).matched == 2


@pytest.mark.parametrize(("control", "matched"), [("RectangleLabels", 1), ("BrushLabels", 0)])
def test_rectangles_are_matched_by_box(control, matched):
    angle = filled(0, 0, 20, 2) | filled(0, 0, 2, 20)  # 76 of the box's 400 px
    value = {"x": 0, "y": 0, "width": 20, "height": 20, "rotation": 0}
    drawn = region("1", "rectanglelabels", "a", value)
    if control == "BrushLabels":
        rle = {"format": "rle", "rle": encode_rle(filled(0, 0, 20, 20))}
        drawn = region("1", "brushlabels", "a", rle)
    seen = compare(1, "v", [drawn], truth_of((angle, 1, False)), config_of(control))
    assert (seen.regions, seen.matched, seen.objects) == (1, matched, 1)


def test_a_task_counts_once_a_version_and_belongs_to_the_round_of_its_version():
    versions = ["taudis-0001-a", "taudis-0002-b", "taudis-0004-c"]
    seen = [
        PreAnnotation(1, "taudis-0001-a", 0, 0, 0, 5),
        PreAnnotation(2, "taudis-0002-b", 4, 0, 1, 5),
        PreAnnotation(2, "taudis-0002-b", 4, 0, 1, 5),  # the other annotator asked, too
        PreAnnotation(3, "taudis-0003-f", 2, 0, 1, 5),  # an order without a training round
        PreAnnotation(2, "taudis-0004-c", 4, 1, 3, 5),
        PreAnnotation(4, "taudis-0004-c", 2, 0, 0, 3),
    ]
    rounds = {number: Total.of(ones) for number, ones in by_round(seen, versions).items()}
    assert rounds == {
        0: Total(tasks=1, regions=0, in_crowds=0, matched=0, objects=5),
        1: Total(tasks=2, regions=6, in_crowds=0, matched=2, objects=10),
        2: Total(tasks=2, regions=6, in_crowds=1, matched=3, objects=8),
    }
    assert rounds[2].to_json() == {
        "tasks": 2, "regions": 6, "in_crowds": 1, "matched": 3, "objects": 8, "found": 3,
        "share_matched": 0.5, "share_found": 0.375,
    }  # fmt: skip
    assert rounds[0].to_json()["share_matched"] is None


def test_the_total_in_words():
    total = Total(tasks=40, regions=812, in_crowds=0, matched=301, objects=640)
    assert in_words(total.to_json()) == (
        "Of 812 regions that annotators were shown from the second model on, 301 (37 %) matched an"
        " object at IoU 0.5; 301 of 640 objects (47 %) were found."
    )
    none = Total(tasks=3, regions=0, in_crowds=0, matched=0, objects=9)
    assert "were shown no region from the second model on (3 tasks)" in in_words(none.to_json())

"""`check` reads every form of annotation that tools write, and counts what it leaves out."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from taudis.cli.coco_check import for_model
from taudis.data.coco import encode
from taudis.detector.card import read_card
from taudis.errors import DataError
from taudis.evaluation.matching import EvaluatedImage, match
from taudis.types import ANY_LABEL, LabelMap
from tests.taudis.data.coco_cases import RUNS, SQUARE, area, content, look, run, write


def test_a_plain_file_has_nothing_to_say(folder):
    checked = look(folder, content())
    assert checked.to_dict() == {"images": 2, "objects": 4, "crowds": 0, "labels": 2}
    assert checked.refusals == [] and area(checked) == [256, 64]
    done, said = run("check", folder / "coco.json", folder)
    assert done.exit_code == 0 and said["use"] is True
    assert "2 images, 4 objects can be used; 2 labels (square, bar)." in done.stdout


# change of an annotation -> the kinds that are counted, pixels of the first image's objects
READ = {
    "box and []": ({"segmentation": [], "bbox": [8, 8, 10, 4]}, {"box_mask": 1}, [40, 64]),
    "box and null": ({"segmentation": None, "bbox": [8, 8, 10, 4]}, {"box_mask": 1}, [40, 64]),
    "box and [[]]": ({"segmentation": [[]], "bbox": ["8", 8, 10, 4]},
                     {"box_mask": 1, "text_number": 1}, [40, 64]),
    "line as box": ({"segmentation": [], "bbox": [8, 8, 1, 30], "area": 30}, {"box_mask": 1},
                    [30, 64]),
    "bbox []": ({"bbox": []}, {"bad_box": 1}, [256, 64]),
    "bbox null": ({"bbox": None}, {"bad_box": 1}, [256, 64]),
    "bbox of three": ({"bbox": [1, 2, 3]}, {"bad_box": 1}, [256, 64]),
    "bbox NaN": ({"bbox": [1, 2, float("nan"), 4]}, {"bad_box": 1}, [256, 64]),
    "bbox negative": ({"bbox": [1, 2, -3, 4]}, {"bad_box": 1}, [256, 64]),
    "nested deeper": ({"segmentation": [SQUARE]}, {"nested": 1}, [256, 64]),
    "flat": ({"segmentation": SQUARE[0]}, {"nested": 1}, [256, 64]),
    "points": ({"segmentation": [[8, 8], [24, 8], [24, 24], [8, 24]]}, {"nested": 1}, [256, 64]),
    "points deeper": ({"segmentation": [[[8, 8], [24, 8], [24, 24], [8, 24]]]}, {"nested": 1},
                      [256, 64]),
    "run lengths in a list": ({"segmentation": [RUNS]}, {"nested": 1}, [64, 64]),
    "numbers as text": ({"segmentation": [[str(side) for side in SQUARE[0]]]},
                        {"text_number": 1}, [256, 64]),
    "ids as text": ({"image_id": "7", "category_id": "1"}, {"text_number": 1}, [256, 64]),
    "iscrowd false": ({"iscrowd": False}, {}, [256, 64]),
    "iscrowd as text": ({"iscrowd": "0"}, {}, [256, 64]),
    "iscrowd null": ({"iscrowd": None}, {}, [256, 64]),
    "size as text": ({"segmentation": {"size": ["64", "64"], "counts": [64, 64, 3968]}}, {},
                     [64, 64]),
    "area off": ({"area": 0}, {"area_off": 1}, [256, 64]),
    "area NaN": ({"area": float("nan")}, {}, [256, 64]),
    "id 0": ({"id": 0}, {}, [256, 64]),
    "no id": ({"id": None}, {"ids": 1}, [256, 64]),
    "id twice": ({"id": 2}, {"ids": 1}, [256, 64]),
    "beyond the image": ({"segmentation": [[-8, 8, 24, 8, 24, 24, -8, 24]]}, {"beyond": 1},
                         [384, 64]),
    "keypoints": ({"keypoints": [8, 8, 2]}, {"keypoints": 1}, [256, 64]),
}  # fmt: skip


@pytest.mark.parametrize("row", READ)
def test_what_is_read_is_read_right_and_said(folder, row):
    change, kinds, pixels = READ[row]
    value = content()
    value["annotations"][0].update(change)
    checked = look(folder, value)
    assert checked.to_dict().get("read", {}) == kinds
    assert checked.refusals == [] and checked.found.of("bad", "left out") == {}
    assert area(checked) == pixels


LEFT = {
    "a polygon of two points": ({"segmentation": [[8, 8, 8, 30]]}, {"no_pixel": 1}, [64]),
    "a polygon outside": ({"segmentation": [[70, 8, 80, 8, 80, 20]]}, {"no_pixel": 1}, [64]),
    "a polygon without area": ({"segmentation": [[8, 8, 8, 30, 8, 8]]}, {"no_pixel": 1}, [64]),
    "run lengths without a pixel": ({"segmentation": {"size": [64, 64], "counts": [4096]}},
                                    {"no_pixel": 1}, [64]),
    "a box without a side": ({"segmentation": [], "bbox": [8, 8, 0, 9]}, {"no_pixel": 1}, [64]),
    "a part of two points": ({"segmentation": [*SQUARE, [1, 2, 3, 4]]}, {"short_part": 1},
                             [256, 64]),
    "an image that is not listed": ({"image_id": 99}, {"unlisted": 1}, [64]),
}  # fmt: skip


@pytest.mark.parametrize("row", LEFT)
def test_what_is_left_out_is_counted(folder, row):
    change, kinds, pixels = LEFT[row]
    value = content()
    value["annotations"][0].update(change)
    checked = look(folder, value)
    assert checked.to_dict()["left out"] == kinds and checked.refusals == []
    assert area(checked) == pixels and checked.samples.labels_at(0).tolist() == [
        1 + (len(pixels) == 1), 2
    ][: len(pixels)]  # fmt: skip


BAD = {
    "no segmentation, no box": ({"segmentation": None}, "bad_mask", "annotation 1: it has no"),
    "no segmentation, a bad box": ({"segmentation": [], "bbox": [1]}, "bad_mask", r"\[1\]"),
    "a lost mask": ({"segmentation": None, "bbox": [8, 8, 20, 20], "area": 200}, "lost_mask",
                    "annotation 1: area 200, its box has 400"),
    "NaN": ({"segmentation": [[8, 8, float("nan"), 8, 24, 24]]}, "bad_mask", "annotation 1.*nan"),
    "infinity": ({"segmentation": [[8, 8, float("inf"), 8, 24, 24]]}, "bad_mask", "inf"),
    "text": ({"segmentation": [["a", 8, 9, 8, 24, 24]]}, "bad_mask", "'a'"),
    "odd": ({"segmentation": [[8, 8, 9, 8, 24, 24, 5]]}, "bad_mask", "7 numbers"),
    "nested far deeper": ({"segmentation": [[[SQUARE]]]}, "bad_mask", "expected polygons"),
    "run lengths of another size": ({"segmentation": {"size": [9, 8], "counts": [72]}}, "bad_mask",
                                    r"annotation 1.*\[64, 64\] .*\[9, 8\]"),
    "run lengths that do not sum": ({"segmentation": {"size": [64, 64], "counts": [10, 20]}},
                                    "bad_mask", "64 x 64 = 4096, got 30"),
    "run lengths of half a character": (
        {"segmentation": {"size": [64, 64], "counts": "\ud800"}}, "bad_mask", "characters 0 to o"),
    "unknown category": ({"category_id": 9}, "unknown_category", "annotation 1: category 9"),
    "category null": ({"category_id": None}, "unknown_category", "None"),
    "category a list": ({"category_id": [1]}, "unknown_category", r"\[1\]"),
    "iscrowd 2": ({"iscrowd": 2}, "bad_crowd", "annotation 1: 2"),
    "image null": ({"image_id": None}, "bad_record", "'image_id': None"),
}  # fmt: skip


@pytest.mark.parametrize("row", BAD)
def test_an_unusable_annotation_is_named_before_the_first_step(folder, row):
    change, kind, example = BAD[row]
    value = content()
    value["annotations"][0].update(change)
    checked = look(folder, value)
    assert checked.found.of("bad") == {kind: 1}
    assert re.search(example, checked.found.sentence(kind))
    done, _ = run("train", folder / "coco.json", folder, folder / "model", "--steps", 1)
    assert done.exit_code == 1 and isinstance(done.exception, DataError)
    assert "--skip-bad" in str(done.exception) and not list(folder.glob("model*"))


def test_skip_bad_ignores_the_box_like_a_crowd_else_leaves_the_image_out(folder):
    value = content()
    value["annotations"][0].update(segmentation=[[1, 2, 3]], bbox=[30, 30, 10, 10])
    value["annotations"][2].update(segmentation=[[1, 2, 3]])
    checked = look(folder, value, skip_bad=True)
    assert checked.samples.file_names == ("0.png",)
    target = checked.samples.target(0)
    assert target.iscrowd.tolist() == [False, True] and area(checked) == [64, 100]
    assert checked.to_dict()["skipped"] == {"images": 1, "objects_ignored": 1}
    assert checked.to_dict()["bad"] == {"bad_mask": 2}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("box", "left"),
    [
        ([-1e9, 32, 1e9 + 16, 1e9], [64, 512]),  # 16 x 32 px of it are in the image
        ([1e308, 8, 1e308, 8], None),
        ([500, 500, 9, 9], None),  # the object may be anywhere
        ([8, 8, 0, 9], None),
    ],
)
def test_an_ignored_place_is_cut_at_the_image_and_one_outside_is_none(folder, box, left):
    value = content()
    value["annotations"][0].update(segmentation=[[1e9, 1e9, 2e9, 1e9, 1e9, 2e9]], bbox=box)
    checked = look(folder, value, skip_bad=True)
    assert checked.refusals == [] and checked.found.of("bad") == {"bad_mask": 1}
    skipped = {"images": int(left is None), "objects_ignored": int(left is not None)}
    assert checked.to_dict()["skipped"] == skipped
    assert area(checked) == (left or [256, 64])  # without a place, the image is left out


def test_objects_of_an_image_that_is_left_out_are_not_counted(folder):
    value = content()
    value["annotations"][2].update(segmentation=[[1, 2, 3]])
    assert look(folder, value, skip_bad=True).to_dict()["objects"] == 2
    value["annotations"][0].update(segmentation=[[1, 2, 3]])
    checked = look(folder, value, skip_bad=True)
    assert len(checked.samples) == checked.objects == 0
    assert "no object to train on (2 annotations whose segmentation" in " ".join(checked.refusals)


def test_an_ignored_object_of_unknown_category_is_a_crowd_of_every_label(folder, capsys):
    value = content()
    value["annotations"][0].update(category_id=99, bbox=[8, 8, 16, 16])
    value["annotations"][2].update(segmentation=[[1, 2, 3]], bbox=[8, 8, 16, 16])
    checked = look(folder, {**value, "annotations": value["annotations"][:3]}, skip_bad=True)
    first, second = checked.samples.target(0), checked.samples.target(1)
    assert first.iscrowd.tolist() == [False, True] and first.labels.tolist() == [2, ANY_LABEL]
    assert second.labels.tolist() == [1]  # its category is known
    truth, there = [encode(mask) for mask in first.masks], [encode(first.masks[1])] * 2
    image = EvaluatedImage((64, 64), first.labels, truth, first.iscrowd, np.array([1, 2]),
                           np.ones(2), there)  # fmt: skip
    assert all(match(image, label=label).in_crowd.tolist() == [True] for label in (1, 2))
    one = dataclasses.replace(checked, samples=checked.samples.subset([0]))
    assert for_model(one, LabelMap(("bar",))).target(0).labels.tolist() == [1, ANY_LABEL]
    assert "square" in capsys.readouterr().err  # the model does not know it, no object has it


def test_the_card_and_the_output_of_a_training_count_what_was_left_out(folder):
    value = content()
    value["annotations"][0].update(segmentation=[[1, 2, 3]], bbox=[30, 30, 10, 10])
    value["annotations"][2].update(segmentation=[[1, 2, 3, 4]])
    path = write(folder, value)
    done, said = run("train", path, folder, folder / "model", "--steps", 1, "--skip-bad")
    assert done.exit_code == 0, done.output
    wanted = {"images": 2, "objects": 2, "crowds": 0, "labels": 2, "left out": {"no_pixel": 1},
              "bad": {"bad_mask": 1}, "skipped": {"images": 0, "objects_ignored": 1}}  # fmt: skip
    assert said["coco"] == wanted == read_card(folder / "model")["coco"]
    assert "left out: 1 objects whose mask covers no pixel" in done.stderr


# --- crowds --------------------------------------------------------------------------------------


def crowded(count):
    value = content()
    for annotation in value["annotations"][:count]:
        annotation.update(iscrowd=1, segmentation=RUNS)
    return value


@pytest.mark.parametrize("count", [1, 4])
def test_many_crowds_are_a_question_and_three_answers(folder, count):
    path = write(folder, crowded(count))
    done, said = run("check", path, folder)
    assert done.exit_code == 3 and f"{count} of 4 masks are crowds" in said["why"][0]
    done, _ = run("train", path, folder, folder / "model", "--steps", 1)
    assert done.exit_code == 1 and "--crowds objects" in str(done.exception)
    done, said = run("check", path, folder, "--crowds", "objects")
    assert done.exit_code == 0 and said["objects"] == 4
    assert said["read"]["crowds_as_objects"] == count
    done, said = run("check", path, folder, "--crowds", "ignore")
    assert said["objects"] == 4 - count and done.exit_code == (3 if count == 4 else 0)
    assert said["read"]["crowds"] == count
    done, _ = run("check", path, folder, "--crowds", "maybe")
    assert done.exit_code == 3 and "objects, ignore or ask" in done.stdout


def test_a_few_crowds_are_coco_and_are_said(folder):
    value = content()
    extra = [{**value["annotations"][1], "id": 10 + row} for row in range(16)]
    value["annotations"] += extra
    value["annotations"][0].update(iscrowd=1)
    checked = look(folder, value)
    assert checked.refusals == [] and (checked.objects, checked.crowds) == (19, 1)
    assert checked.to_dict()["read"] == {"crowds": 1, "doubled": 16}


WRITERS = {
    "darwin": {"info": {"description": "Exported from Darwin"}},
    "datumaro": {"info": {"contributor": "", "year": ""}},
    "supervision": {"categories": [{"id": 1, "name": "a", "supercategory": "common-objects"},
                                   {"id": 2, "name": "b", "supercategory": "common-objects"}]},
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_the_likely_writer_is_named(folder, name):
    checked = look(folder, {**crowded(2), **WRITERS[name]})
    assert name in checked.question and f"looks like {name}" in checked.question

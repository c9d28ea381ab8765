"""The matching equals that of pycocotools, object by object, also where scores and IoUs tie."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from taudis.data.coco import encode
from taudis.evaluation.matching import NONE, EvaluatedImage, match
from taudis.types import ANY_LABEL

SIZE = (12, 30)
SCORES = (0.25, 0.5, 0.75)


def strip(left, length):
    mask = np.zeros(SIZE, bool)
    mask[:, left : left + length] = True
    return mask


def evaluated(truth, found):
    """truth: (label, left, length, crowd); found: (label, left, length, score)."""
    return EvaluatedImage(
        SIZE,
        np.array([t[0] for t in truth], np.int64),
        [encode(strip(*t[1:3])) for t in truth],
        np.array([t[3] for t in truth], bool),
        np.array([f[0] for f in found], np.int64),
        np.array([f[3] for f in found], np.float64),
        [encode(strip(*f[1:3])) for f in found],
    )


def by_pycocotools(image, label, limit=100):
    """Detection row -> object row or NONE, and the detections that COCO ignores, at IoU 0.5."""
    annotations = [
        {"id": row + 1, "image_id": 1, "category_id": int(one), "segmentation": mask,
         "iscrowd": int(crowd), "area": 9, "bbox": [0, 0, 1, 1]}
        for row, (one, mask, crowd) in enumerate(
            zip(image.true_labels, image.true_masks, image.iscrowd, strict=True)
        )
    ]  # fmt: skip
    found = [
        {"image_id": 1, "category_id": int(one), "score": float(score), "segmentation": mask}
        for one, score, mask in zip(image.labels, image.scores, image.masks, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {}, "images": [{"id": 1, "height": SIZE[0], "width": SIZE[1]}],
            "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
            "annotations": annotations,
        }  # fmt: skip
        coco.createIndex()
        run = COCOeval(coco, coco.loadRes(found), "segm")
        run.params.iouThrs = np.array([0.5])
        run.params.areaRng = [[0, 1e5**2]]
        run.params.areaRngLbl = ["all"]
        run.params.maxDets = [limit]
        run.evaluate()
    (result,) = [r for r in run.evalImgs if r is not None and r["category_id"] == label] or [None]
    if result is None:
        return {}, set()
    rows = [number - 1 for number in result["dtIds"]]
    taken = [int(number) - 1 for number in result["dtMatches"][0]]
    ignored = {row for row, out in zip(rows, result["dtIgnore"][0], strict=True) if out}
    crowd = image.iscrowd
    objects = {
        row: NONE if at < 0 or crowd[at] else at for row, at in zip(rows, taken, strict=True)
    }
    return objects, ignored


strips = st.tuples(st.integers(1, 2), st.integers(0, 12), st.integers(1, 9))
truths = st.lists(st.tuples(strips, st.integers(0, 4)), max_size=6)
founds = st.lists(st.tuples(strips, st.sampled_from(SCORES)), min_size=1, max_size=8)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(truths, founds, st.sampled_from((1, 2, 100)))
def test_each_detection_finds_the_object_that_pycocotools_gives_it(truth, found, limit):
    image = evaluated(
        [(*strip, crowd == 0) for strip, crowd in truth],
        [(*strip, score) for strip, score in found],
    )
    for label in (1, 2):
        matching = match(image, label=label, limit=limit)
        objects = dict(zip(matching.found.tolist(), matching.objects.tolist(), strict=True))
        ignored = set(matching.found[matching.in_crowd].tolist())
        if objects or (image.true_labels == label).any():
            assert (objects, ignored) == by_pycocotools(image, label, limit)


def test_ties_go_to_the_first_detection_and_the_last_object():
    twins = evaluated([(1, 0, 10, False), (1, 0, 10, False)], [(1, 0, 10, 0.5)] * 3)
    matching = match(twins)
    assert matching.found.tolist() == [0, 1, 2]
    assert matching.objects.tolist() == [1, 0, NONE]
    assert matching.ious.tolist() == [1.0, 1.0, 0.0]


def test_labels_and_scores_decide_which_detections_take_part():
    image = evaluated([(1, 0, 10, False), (2, 15, 10, False)], [(2, 0, 10, 0.5), (1, 0, 9, 0.4)])
    assert match(image).objects.tolist() == [0, NONE]  # whatever the label, best score first
    assert match(image, label=1).objects.tolist() == [0]
    assert match(image, label=1).ious.tolist() == [0.9]
    assert match(image, score=0.45).found.tolist() == [0]
    assert match(image, label=1, score=0.45).found.tolist() == []


def test_a_detection_in_a_crowd_region_is_marked_only_if_it_finds_no_object():
    truth = [(1, 0, 10, False), (1, 0, 30, True)]
    matching = match(evaluated(truth, [(1, 0, 10, 0.9), (1, 0, 9, 0.8), (1, 20, 5, 0.7)]))
    assert matching.objects.tolist() == [0, NONE, NONE]
    assert matching.in_crowd.tolist() == [False, True, True]


def test_a_crowd_region_of_any_label_shields_the_detections_of_every_label():
    image = evaluated([(2, 0, 10, False), (ANY_LABEL, 0, 30, True)],
                      [(2, 0, 10, 0.9), (1, 15, 9, 0.8), (2, 20, 5, 0.7)])  # fmt: skip
    assert match(image, label=1).in_crowd.tolist() == [True]
    assert match(image, label=2).in_crowd.tolist() == [False, True]
    assert match(image, label=2).objects.tolist() == [0, NONE]
    assert match(image).in_crowd.tolist() == [False, True, True]


def test_an_image_without_objects_or_detections():
    assert match(evaluated([], [(1, 0, 5, 0.5)])).objects.tolist() == [NONE]
    assert match(evaluated([(1, 0, 5, False)], [])).objects.tolist() == []

"""Likely label errors: each kind is found where it is, and right labels are not accused."""

import numpy as np
import pytest

from taudis.data.coco import encode
from taudis.evaluation.label_errors import KINDS, HeldOutImage, find_suspects
from taudis.evaluation.matching import EvaluatedImage
from taudis.types import LabelMap

SIZE = (10, 100)
LABELS = LabelMap(("bolt", "nut"))


def strip(left, length=10):
    mask = np.zeros(SIZE, bool)
    mask[:, left : left + length] = True
    return encode(mask)


def image(number, truth, found):
    """truth: (label, left, length, crowd); found: (label, left, length, score)."""
    probs = np.zeros((len(found), 3))
    for row, (label, *_, score) in enumerate(found):
        probs[row, label], probs[row, 0] = score, 1 - score
    evaluated = EvaluatedImage(
        SIZE,
        np.array([each[0] for each in truth], np.int64),
        [strip(*each[1:3]) for each in truth],
        np.array([each[3] for each in truth], bool),
        np.array([each[0] for each in found], np.int64),
        np.array([each[3] for each in found], float),
        [strip(*each[1:3]) for each in found],
    )
    return HeldOutImage(number, evaluated, probs)


def good(number):
    """An image whose two objects a model found as they are labelled."""
    return image(
        number, [(1, 0, 10, False), (2, 50, 10, False)], [(1, 0, 10, 0.9), (2, 50, 10, 0.9)]
    )


GOOD = [good(number) for number in range(20)]


def test_right_labels_are_not_accused():
    assert find_suspects(GOOD) == []
    assert find_suspects([]) == []


@pytest.mark.parametrize(
    ("kind", "truth", "found", "expected"),
    [
        ("label", [(1, 20, 10, False)], [(2, 20, 10, 0.9)], (0, 0, 2)),
        ("outline", [(1, 20, 10, False)], [(1, 25, 10, 0.9)], (0, 0, 1)),
        ("missed", [(1, 20, 10, False)], [(1, 20, 10, 0.9), (2, 70, 10, 0.9)], (-1, 1, 2)),
        ("nothing", [(1, 20, 10, False)], [], (0, -1, 0)),
        ("double", [(1, 20, 10, False), (1, 21, 10, False)], [(1, 20, 10, 0.9)], (1, -1, 0)),
    ],
)
def test_each_kind_of_error_is_first(kind, truth, found, expected):
    first, *rest = find_suspects([*GOOD, image(99, truth, found)])
    assert (first.kind, first.image) == (kind, 99)
    assert (first.object, first.detection, first.likely) == expected
    assert 0.3 < first.suspicion <= 1
    assert all(each.suspicion < first.suspicion and each.image == 99 for each in rest)


def test_every_kind_has_a_sentence():
    wrong = image(
        99,
        [(1, 0, 10, False), (1, 20, 10, False), (1, 21, 10, False), (2, 40, 10, False),
         (1, 60, 10, False)],
        [(2, 0, 10, 0.9), (1, 20, 10, 0.9), (1, 64, 10, 0.9), (2, 85, 10, 0.9)],
    )  # fmt: skip
    found = find_suspects([*GOOD, wrong])
    assert {each.kind for each in found} == set(KINDS)
    words = {each.kind: each.sentence(LABELS) for each in found}
    assert words["label"] == "labelled bolt, and the model sees nut (90 %)"
    assert words["missed"].startswith("the model sees a nut that is not labelled")
    assert words["double"].startswith("lies on another bolt (IoU 0.8")
    assert words["nothing"].startswith("the model sees nothing here, but finds ")
    differs = "the model's mask of this bolt differs from the labelled mask (IoU 0.43)"
    assert words["outline"] == differs


def test_what_lies_in_a_crowd_region_is_not_missed():
    crowd = image(99, [(1, 50, 50, True)], [(1, 60, 10, 0.9), (1, 80, 10, 0.9)])
    assert find_suspects([*GOOD, crowd]) == []


def test_a_model_that_finds_little_accuses_little():
    """An object that is not seen means less where most objects are not seen."""
    blind = [image(number, [(1, 0, 10, False)], []) for number in range(9)]
    seen = [image(number, [(1, 0, 10, False)], [(1, 0, 10, 0.9)]) for number in range(9, 12)]
    (first, *_) = find_suspects([*blind, *seen])
    assert first.kind == "nothing" and first.suspicion < 0.3


def test_a_detection_of_a_score_that_is_often_wrong_is_believed_less():
    sure = [good(number) for number in range(10)]
    doubtful = [image(number, [], [(1, 0, 10, 0.4)]) for number in range(10, 20)]
    found = find_suspects([*sure, *doubtful, image(99, [], [(1, 0, 10, 0.9)])])
    assert found[0].image == 99
    assert all(each.suspicion < 0.05 + found[0].suspicion / 2 for each in found[1:])


def test_the_order_of_the_images_changes_nothing_but_ties():
    wrong = image(99, [(1, 20, 10, False)], [(2, 20, 10, 0.9), (1, 80, 10, 0.7)])
    one = find_suspects([*GOOD, wrong])
    assert one == find_suspects([wrong, *GOOD[::-1]])

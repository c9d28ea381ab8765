"""The confusion matrix of instances: by hand, and its sums on random images."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from taudis.data.coco import encode
from taudis.evaluation.matching import EvaluatedImage
from taudis.evaluation.metrics import Metrics, confusion, metrics_of
from taudis.types import LabelMap

SIZE = (20, 20)


def square(y, x, side=6):
    mask = np.zeros(SIZE, bool)
    mask[y : y + side, x : x + side] = True
    return encode(mask)


def evaluated(truth, found, crowd=()):
    """truth: (label, mask); found: (label, score, mask); crowd: rows of truth."""
    iscrowd = np.zeros(len(truth), bool)
    iscrowd[list(crowd)] = True
    return EvaluatedImage(
        SIZE,
        np.array([label for label, _ in truth], np.int64),
        [mask for _, mask in truth],
        iscrowd,
        np.array([label for label, _, _ in found], np.int64),
        np.array([score for _, score, _ in found], np.float32),
        [mask for _, _, mask in found],
    )


def test_by_hand():
    image = evaluated(
        truth=[(1, square(0, 0)), (2, square(0, 10)), (1, square(10, 0)), (2, square(12, 12))],
        found=[
            (1, 0.9, square(0, 0)),  # right
            (1, 0.8, square(0, 1)),  # the same instance again: nothing is there any more
            (1, 0.7, square(0, 10)),  # a 2 taken for a 1
            (2, 0.4, square(10, 0)),  # not sure enough: the 1 is missed
            (2, 0.6, square(12, 13)),  # on a crowd: not counted
        ],
        crowd=[3],
    )
    assert confusion([image], 2).tolist() == [[0, 1, 0], [1, 1, 0], [0, 1, 0]]
    assert confusion([image, image], 2).tolist() == [[0, 2, 0], [2, 2, 0], [0, 2, 0]]
    assert confusion([image], 2, score=0.3)[1].tolist() == [0, 1, 1]


def test_of_two_detections_the_surer_one_takes_the_instance():
    image = evaluated([(1, square(2, 2))], [(2, 0.6, square(2, 2)), (1, 0.9, square(3, 2))])
    assert confusion([image], 2).tolist() == [[0, 0, 1], [0, 1, 0], [0, 0, 0]]


def test_nothing_detected_and_nothing_there():
    assert confusion([], 1).tolist() == [[0, 0], [0, 0]]
    assert confusion([evaluated([(1, square(0, 0))], [])], 1).tolist() == [[0, 0], [1, 0]]
    assert confusion([evaluated([], [(1, 0.9, square(0, 0))])], 1).tolist() == [[0, 1], [0, 0]]


boxes = st.tuples(st.integers(1, 3), st.integers(0, 14), st.integers(0, 14))


@given(st.lists(boxes, max_size=5), st.lists(st.tuples(boxes, st.floats(0.5, 1)), max_size=6))
def test_every_instance_and_every_detection_is_counted_once(truth, found):
    image = evaluated(
        [(label, square(y, x)) for label, y, x in truth],
        [(label, score, square(y, x)) for (label, y, x), score in found],
    )
    counts = confusion([image], 3)
    present = np.bincount([label for label, _, _ in truth], minlength=4)[1:]
    assert counts[1:].sum(1).tolist() == present.tolist()
    assert counts[:, 1:].sum() == len(found)
    assert counts[0, 0] == 0


def test_the_metrics_carry_it_through_json():
    image = evaluated([(1, square(0, 0))], [(2, 0.9, square(0, 0))])
    metrics = metrics_of([image], LabelMap(("a", "b")))
    assert Metrics.from_dict(metrics.to_dict()).confusion == metrics.confusion
    assert metrics.confusion == ((0, 0, 0), (0, 0, 1), (0, 0, 0))

"""What a person does with pre-annotations, on masks whose overlaps are known."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np

from taudis.simulation.corrections import corrections
from taudis.simulation.row_format import Corrections
from taudis.types import Detection, Instances, Target

SCALE, SIDE = 4, 160
"""Boxes are in units of 4 px: pasted masks lose up to a pixel at their border."""


def box_mask(box):
    x1, y1, x2, y2 = (SCALE * place for place in box)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[y1:y2, x1:x2] = True
    return mask


def target(*objects):
    """(box, label, crowd) each."""
    masks = np.array([box_mask(box) for box, _, _ in objects], bool).reshape(-1, SIDE, SIDE)
    labels = np.array([label for _, label, _ in objects], np.int64)
    return Target.from_masks(masks, labels, np.array([crowd for *_, crowd in objects], bool))


def detection(*found):
    """(box, label, score) each, the box filled."""
    n = len(found)
    boxes = SCALE * np.array([box for box, _, _ in found], np.float32).reshape(n, 4)
    scores = np.array([score for *_, score in found], np.float32)
    labels = np.array([label for _, label, _ in found], np.int64)
    probs = np.zeros((n, 3), np.float32)
    probs[np.arange(n), labels] = scores
    probs[:, 0] = 1 - scores
    rows = Instances(
        np.zeros(n, np.int64), boxes, scores, labels, probs, np.zeros((n, 2), np.float32),
        np.ones((n, 28, 28), np.float32),
    )  # fmt: skip
    return Detection(rows, np.zeros(2, np.float32), (SIDE, SIDE))


def counts(*seen):
    return astuple(corrections(seen))


def test_every_kind_once():
    truth = target(
        ((0, 0, 10, 10), 1, False),  # found exactly
        ((20, 0, 30, 10), 1, False),  # found with an IoU of 0.6
        ((0, 20, 10, 30), 2, False),  # not found
        ((20, 20, 40, 40), 1, True),  # a crowd
    )
    found = detection(
        ((0, 0, 10, 10), 1, 0.9),
        ((20, 0, 26, 10), 1, 0.8),
        ((0, 32, 8, 40), 2, 0.7),  # on nothing
        ((22, 22, 30, 30), 1, 0.7),  # in the crowd
        ((0, 20, 10, 30), 2, 0.49),  # right, but invisible
    )
    assert corrections([(truth, found)]) == Corrections(1, 1, 1, 1)


def test_a_wrong_label_is_removed_and_drawn():
    truth = target(((0, 0, 10, 10), 1, False))
    assert counts((truth, detection(((0, 0, 10, 10), 2, 0.9)))) == (0, 0, 1, 1)


def test_a_second_region_on_an_object_is_not_visible():
    truth = target(((0, 0, 10, 10), 1, False))
    twice = detection(((0, 0, 10, 10), 1, 0.9), ((0, 0, 10, 9), 1, 0.8))
    assert counts((truth, twice)) == (1, 0, 0, 0)


def test_images_add_up_and_empty_ones_count_nothing():
    truth = target(((0, 0, 10, 10), 1, False))
    assert counts() == counts((target(), detection())) == (0, 0, 0, 0)
    assert counts((truth, detection()), (truth, detection())) == (0, 0, 2, 0)

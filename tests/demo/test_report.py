"""The picture of a demonstration does not change what it is made of."""

import numpy as np

from demo.report import overlay
from taudis.types import Detection, Instances


def detection(score):
    boxes = np.array([[4, 4, 20, 20]], np.float32)
    scores = np.array([score], np.float32)
    probs = np.array([[1 - score, score]], np.float32)
    masks = np.ones((1, 28, 28), np.float32)
    embeddings = np.ones((1, 3), np.float32)
    one = np.ones(1, np.int64)
    found = Instances(one - 1, boxes, scores, one, probs, embeddings, masks)
    return Detection(found, np.zeros(3, np.float32), (32, 32))


def test_outlines_are_drawn_on_a_copy_from_the_threshold_on():
    image = np.zeros((32, 32, 3), np.uint8)
    assert overlay(image, detection(0.9), 0.5).any()
    assert not overlay(image, detection(0.4), 0.5).any()
    assert not image.any()

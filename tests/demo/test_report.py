"""The picture of a demonstration does not change what it is made of."""

import numpy as np
import pytest

from demo import report
from demo.report import RoundRecord, overlay
from taudis.types import Detection, Instances
from tests.backend.store.test_arms import compared


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


def test_the_picture_has_the_curves_of_both_arms(tmp_path, monkeypatch):
    """One point of each arm for a comparison, and none where mAP50 is not known."""
    drawn = []
    monkeypatch.setattr(report.plt, "close", drawn.append)
    rounds = [RoundRecord("v1", 0, None, 0.0, [1]), RoundRecord("v2", 9, 0.4, 9.0, [1])]
    rounds[1].pre_annotations = [detection(0.9)]
    image = np.zeros((32, 32, 3), np.uint8)
    found = [compared(2, -0.1, 0.2), compared(3, 0.05, 0.2), compared(4, None, None)]
    for arms in ([], found):
        report.draw(tmp_path / "a.png", rounds, {1: image}, [image], "A run", 0.5, arms)
    without, both = ([axis for axis in figure.axes if axis.lines] for figure in drawn)
    assert len(without) == 1 and len(both) == 2
    lines = {c.get_label(): c.lines[0].get_ydata().tolist() for c in both[1].containers}
    assert lines["random order"] == [0.3, 0.3, 0.3]
    assert lines["order by taudis"] == pytest.approx([0.35, 0.425])

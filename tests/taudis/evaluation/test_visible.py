"""What is visible: thresholds by label, one detection an object, no specks."""

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from taudis.detector.pasting import pasted_masks
from taudis.errors import DataError
from taudis.evaluation.visible import (
    DEFAULT_THRESHOLD,
    OTHER_LABEL_IOU,
    SAME_LABEL_IOU,
    distinct,
    thresholds_for,
    visible,
    without_specks,
)
from taudis.types import Detection, Instances, LabelMap

LABELS = LabelMap(("facade", "window"))
FULL = np.full((28, 28), 0.9, np.float32)


def instances(boxes, probs, labels=None, scores=None):
    n = len(boxes)
    return Instances(
        np.zeros(n, np.int64),
        np.array(boxes, np.float32).reshape(n, 4),
        np.linspace(0.9, 0.5, n, dtype=np.float32) if scores is None else np.float32(scores),
        np.array([1] * n if labels is None else labels, np.int64).reshape(n),
        np.full((n, 3), 1 / 3, np.float32),
        np.zeros((n, 4), np.float32),
        np.array(probs, np.float32).reshape(n, 28, 28),
    )


def pasted(found, size=(120, 160)):
    return pasted_masks(Detection(found, np.zeros(4, np.float32), size))


def iou(a, b):
    return (a & b).sum() / max((a | b).sum(), 1)


# --- thresholds -----------------------------------------------------------------------------------


def test_each_label_has_its_own_threshold_inclusive_and_a_fixed_one_wins():
    chosen = {"window": 0.25, "door": 0.1}
    assert thresholds_for(LABELS, chosen).tolist() == [DEFAULT_THRESHOLD, 0.25]
    assert thresholds_for(LABELS, chosen, 0.0).tolist() == [0.0, 0.0]
    boxes = [[40 * i, 0, 40 * i + 30, 30] for i in range(4)]
    found = instances(boxes, [FULL] * 4, [1, 2, 1, 2], [0.49, 0.25, 0.5, 0.2])
    kept = visible(found, thresholds_for(LABELS, chosen))
    assert kept.scores.tolist() == [0.5, 0.25] and kept.labels.tolist() == [1, 2]


# --- one detection an object ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "width", "stays"),
    [
        ((1, 1), 45, True),
        ((1, 1), 60, False),
        ((1, 2), 60, True),
        ((1, 2), 75, True),
        ((1, 2), 90, False),
    ],
)
def test_overlap_is_allowed_more_between_labels(labels, width, stays):
    """A box that fills `width` % of another: nested objects of two labels both stay."""
    found = instances([[0, 0, 100, 50], [0, 0, width, 50]], [FULL] * 2, labels)
    assert iou(*pasted(found)) == pytest.approx(width / 100, abs=0.02)
    assert (len(distinct(found)) == 2) == stays


def test_a_chain_of_overlaps_keeps_both_ends():
    """What was dropped suppresses nothing: greedy, best first."""
    boxes = [[0, 0, 90, 40], [25, 0, 115, 40], [50, 0, 140, 40]]
    found = instances(boxes, [FULL] * 3)
    masks = pasted(found)
    assert iou(masks[0], masks[1]) > 0.5 > iou(masks[0], masks[2])
    assert distinct(found).boxes.tolist() == [boxes[0], boxes[2]]


def smooth(seed):
    noise = np.random.default_rng(seed).normal(size=(28, 28)).astype(np.float32)
    rough = cv2.GaussianBlur(noise, (0, 0), 4)
    return 1 / (1 + np.exp(-12 * (rough - np.median(rough) + 0.05)))


side = st.integers(0, 60)
corner = st.tuples(side, side, st.integers(12, 90), st.integers(12, 55))
drawn = st.lists(st.tuples(corner, st.integers(1, 2), st.integers(0, 9)), max_size=7)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(drawn, st.integers(0, 5))
def test_equals_greedy_suppression_of_pasted_masks(drawn, shift):
    """Sampling at the masks' own boxes decides as the exact IoU of full masks does."""
    drawn = [*drawn, *(((x + shift, y, w, h), k, s) for (x, y, w, h), k, s in drawn[:2])]
    boxes = [[x, y, x + w, y + h] for (x, y, w, h), _, _ in drawn]
    found = instances(boxes, [smooth(s) for _, _, s in drawn], [k for _, k, _ in drawn])
    masks, keep = pasted(found), []
    for row in range(len(found)):
        for better in keep:
            same = found.labels[row] == found.labels[better]
            limit = SAME_LABEL_IOU if same else OTHER_LABEL_IOU
            overlap = iou(masks[row], masks[better])
            assume(abs(overlap - limit) > 0.05)
            if overlap > limit:
                break
        else:
            keep.append(row)
    assert distinct(found).scores.tolist() == found.scores[keep].tolist()


# --- specks ---------------------------------------------------------------------------------------


def with_islands():
    probs = np.full((28, 28), 0.1, np.float32)
    probs[4:20, 4:20] = 0.8
    probs[24, 24] = 0.9  # 1 cell of 257: an island
    probs[2, 22:27] = probs[3, 22:27] = 0.9  # 10 cells: a part
    return probs


def test_islands_go_and_every_other_pixel_stays():
    found = instances([[10, 10, 122, 94]], [with_islands()])
    before, after = pasted(found)[0], pasted(without_specks(found))[0]
    count, _, stats, _ = cv2.connectedComponentsWithStats(before.astype(np.uint8))
    assert count == 4
    smallest = stats[1:, cv2.CC_STAT_AREA].argmin() + 1
    island = cv2.connectedComponents(before.astype(np.uint8))[1] == smallest
    assert (after == before & ~island).all() and island.any()


def test_small_parts_go_by_pixels_too_and_the_largest_always_stays():
    parts = np.zeros((28, 28), np.float32)
    parts[0:4, 0:4], parts[20:24, 20:24] = 0.9, 0.9
    large = instances([[0, 0, 56, 56]], [parts])  # 64 px a part
    assert (pasted(without_specks(large)) == pasted(large)).all()
    parts[20, 20:24] = 0
    small = instances([[0, 0, 13, 13]], [parts])  # 3.4 and 2.6 px: the larger is a speck itself
    assert len(without_specks(small)) == 0
    small = instances([[0, 0, 15, 15]], [parts])  # 4.6 and 3.4 px
    (kept,) = pasted(without_specks(small))
    assert kept.any() and not kept[8:].any() and pasted(small)[0][8:].any()


def test_masks_of_nothing_or_of_few_pixels_are_not_visible():
    boxes = [[0, 0, 40, 40], [0, 0, 1.9, 1.9], [50, 50, 52.5, 52.5]]
    found = instances(boxes, [FULL * 0.4, FULL, FULL])
    assert without_specks(found).boxes.tolist() == [boxes[2]]


@settings(max_examples=30, deadline=None)
@given(drawn)
def test_what_is_visible_once_is_visible_again(drawn):
    boxes = [[x, y, x + w, y + h] for (x, y, w, h), _, _ in drawn]
    found = instances(boxes, [smooth(s) for _, _, s in drawn], [k for _, k, _ in drawn])
    once = visible(found, np.array([0.6, 0.7]))
    again = visible(once, np.array([0.6, 0.7]))
    assert (again.scores == once.scores).all() and (again.mask_probs == once.mask_probs).all()
    assert (np.diff(once.scores) <= 0).all()


def test_no_detection_and_no_masks():
    nothing = instances([], [])
    assert len(visible(nothing, np.zeros(2))) == 0
    bare = Instances(*(getattr(instances([[0, 0, 9, 9]], [FULL]), f) for f in (
        "image_index", "boxes", "scores", "labels", "class_probs", "embeddings")))  # fmt: skip
    assert len(visible(bare, np.zeros(2))) == 1 and len(visible(bare, np.ones(2))) == 0
    with pytest.raises(DataError, match="masks"):
        without_specks(bare)

"""What became of the regions of a pre-annotation, on masks whose overlaps are known."""

from __future__ import annotations

import numpy as np

from taudis.data.coco import encode
from taudis.evaluation.changes import Changes, changes
from taudis.evaluation.matching import EvaluatedImage
from taudis.types import ANY_LABEL

SIDE = 60


def box(x1, y1, x2, y2):
    mask = np.zeros((SIDE, SIDE), bool)
    mask[y1:y2, x1:x2] = True
    return mask


def image(objects, regions):
    """Objects as (mask, label) or (mask, label, crowd), regions as (mask, label), best first."""
    return EvaluatedImage(
        (SIDE, SIDE),
        np.array([each[1] for each in objects], np.int64),
        [encode(each[0]) for each in objects],
        np.array([len(each) > 2 for each in objects], bool),
        np.array([label for _, label in regions], np.int64),
        -np.arange(len(regions), dtype=np.float64),
        [encode(mask) for mask, _ in regions],
    )


def test_every_kind_of_change_counts_for_its_label():
    found = changes(
        image(
            [
                (box(0, 0, 10, 10), 1),
                (box(20, 0, 30, 10), 1),
                (box(40, 0, 50, 10), 1),
                (box(0, 20, 10, 30), 2),
                (box(20, 20, 30, 30), 2),
            ],
            [
                (box(0, 0, 10, 10), 1),  # unchanged
                (box(20, 0, 29, 10), 1),  # IoU 0.9: accepted
                (box(40, 0, 46, 10), 1),  # IoU 0.6: reshaped
                (box(0, 20, 10, 28), 1),  # IoU 0.8 with an object of label 2: relabelled
                (box(40, 40, 50, 50), 1),  # on nothing: removed
            ],
        )
    )
    assert found == {
        1: Changes(accepted=2, unchanged=1, reshaped=1, relabelled=1, removed=1),
        2: Changes(added=1),
    }
    total = sum(found.values(), Changes())
    assert (total.regions, total.objects) == (5, 5)


def test_the_same_label_goes_before_a_better_overlap():
    """A region of another label takes only what is left over."""
    found = changes(
        image(
            [(box(0, 0, 10, 10), 2)],
            [(box(0, 0, 10, 10), 1), (box(0, 0, 10, 7), 2)],
        )
    )
    assert found == {1: Changes(removed=1), 2: Changes(reshaped=1)}


def test_one_object_takes_one_region():
    twice = [(box(0, 0, 10, 10), 1), (box(0, 0, 10, 9), 1)]
    found = changes(image([(box(0, 0, 10, 10), 1)], twice))
    assert found == {1: Changes(accepted=1, unchanged=1, removed=1)}


def test_crowds_and_empty_images_count_nowhere():
    crowd = (box(0, 0, 40, 40), 1, "crowd")
    assert changes(image([crowd], [(box(5, 5, 15, 15), 1)])) == {1: Changes()}
    anything = (box(0, 0, 40, 40), ANY_LABEL, "crowd")
    regions = [(box(5, 5, 15, 15), 1), (box(20, 5, 30, 15), 2)]
    assert changes(image([anything], regions)) == {1: Changes(), 2: Changes()}
    assert changes(image([crowd], [])) == changes(image([], [])) == {}
    assert changes(image([], [(box(0, 0, 9, 9), 1)])) == {1: Changes(removed=1)}
    assert changes(image([(box(0, 0, 9, 9), 2)], [])) == {2: Changes(added=1)}

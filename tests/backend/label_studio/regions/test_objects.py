"""Labelled objects as regions: none is too small, with every way to draw."""

import numpy as np
import pytest

from backend.label_studio.label_config import parse_label_config
from backend.label_studio.new_project import CONTROLS, label_config
from backend.label_studio.regions.decode import decode_annotation
from backend.label_studio.regions.objects import count_objects, encode_objects
from taudis.types import LabelMap, Target

LABELS = LabelMap(("cell", "debris"))
SIZE = (61, 83)
SMALL = {
    "one": [(20, 30)],
    "a row": [(20, 30), (20, 31), (20, 32)],
    "a column": [(20, 30), (21, 30), (22, 30)],
    "a corner": [(20, 30), (21, 30), (21, 31)],
    "at the border": [(60, 80), (60, 81), (60, 82)],
}


def target_of(*objects):
    masks = np.zeros((len(objects), *SIZE), bool)
    for mask, pixels in zip(masks, objects, strict=True):
        mask[tuple(np.transpose(pixels))] = True
    return Target.from_masks(masks, np.ones(len(objects), np.int64))


@pytest.mark.parametrize("draw", CONTROLS)
@pytest.mark.parametrize("pixels", SMALL.values(), ids=SMALL)
def test_a_small_object_is_one_region_of_the_same_pixels(draw, pixels):
    config = parse_label_config(label_config(LABELS, draw))
    target = target_of(pixels)
    regions = encode_objects(target, LABELS, config)
    assert len(regions) == count_objects(regions) == 1
    read = decode_annotation(regions, config, size=SIZE)
    assert read.problems == ()
    x1, y1, x2, y2 = target.boxes[0].astype(int)
    expected = target.masks[0].copy()
    expected[y1:y2, x1:x2] |= draw == "rectangle"  # its corners are part of it
    assert np.array_equal(read.target.masks, [expected])


def test_small_parts_of_a_large_object_are_kept_and_count_as_one():
    config = parse_label_config(label_config(LABELS, "polygon"))
    block = [(y, x) for y in range(50) for x in range(60)]
    target = target_of([*block, (55, 70), (58, 75)], [(52, 3)])
    regions = encode_objects(target, LABELS, config)
    assert (len(regions), count_objects(regions)) == (4, 2)
    assert np.array_equal(decode_annotation(regions, config, size=SIZE).target.masks, target.masks)

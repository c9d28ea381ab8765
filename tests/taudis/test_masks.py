"""Masks that are decoded one at a time equal the same masks in an array."""

from __future__ import annotations

import numpy as np
import pytest

from taudis.masks import CodedMasks
from taudis.types import Target


@pytest.fixture
def pair():
    masks = np.random.default_rng(2).random((5, 6, 4)) < 0.3
    codes = tuple(np.packbits(mask) for mask in masks)
    return masks, CodedMasks(
        codes, lambda code: np.unpackbits(code).astype(bool).reshape(6, 4), (6, 4)
    )


def test_coded_masks_read_like_an_array(pair):
    masks, coded = pair
    assert (coded.shape, coded.ndim, coded.dtype, len(coded)) == (masks.shape, 3, masks.dtype, 5)
    assert all(np.array_equal(one, other) for one, other in zip(coded, masks, strict=True))
    assert np.array_equal(coded[2], masks[2]) and np.array_equal(coded[-1], masks[-1])
    odd = np.arange(5) % 2 == 1
    for rows in (odd, ~odd, np.array([4, 0, 0]), slice(1, 3), [], np.zeros(5, bool)):
        expected = masks[np.array(rows, int) if isinstance(rows, list) else rows]
        found = coded[np.array(rows, int) if isinstance(rows, list) else rows]
        assert found.shape == expected.shape and np.array_equal(np.asarray(found), expected)
        assert np.array_equal(found.any(0), expected.any(0))
    with pytest.raises(ValueError, match="expected 0, got 1"):
        coded.any(1)


def test_a_target_takes_them_and_gives_them_in_an_array(pair):
    masks, coded = pair
    plain = Target.from_masks(masks, np.ones(5, np.int64))
    target = Target(plain.boxes, plain.labels, coded, plain.iscrowd)
    assert isinstance(target.in_memory().masks, np.ndarray)
    assert np.array_equal(target.in_memory().masks, masks)
    assert plain.in_memory().masks is plain.masks

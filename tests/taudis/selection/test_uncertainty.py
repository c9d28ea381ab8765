from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from taudis.errors import DataError
from taudis.selection.uncertainty import (
    classification_entropy,
    classification_margin,
    segmentation_entropy,
    uncertainty_of,
)

shapes = st.tuples(st.integers(0, 6), st.integers(2, 8))
weights = shapes.flatmap(lambda s: hnp.arrays(np.float64, s, elements=st.floats(0, 1)))
masks = hnp.arrays(
    np.float32,
    st.tuples(st.integers(0, 4), st.integers(1, 5), st.integers(1, 5)),
    elements=st.floats(0, 1, width=32),
)


def distributions(raw):
    raw = raw.copy()
    raw[:, 0] += 1e-3
    return raw / raw.sum(axis=1, keepdims=True)


@given(weights)
def test_entropy_equals_scipy(raw):
    probs = distributions(raw)
    got = classification_entropy(probs)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, stats.entropy(probs, axis=1), rtol=1e-6, atol=1e-7)


@given(weights)
def test_margin_equals_sorting(raw):
    probs = distributions(raw)
    best = [sorted(row, reverse=True) for row in probs.tolist()]
    np.testing.assert_allclose(
        classification_margin(probs), [row[0] - row[1] for row in best], atol=1e-7
    )


@given(masks)
def test_segmentation_entropy_equals_a_loop(probs):
    def bernoulli(p):
        return sum(-q * math.log(q) for q in (p, 1 - p) if q > 0)

    wanted = [np.mean([bernoulli(p) for p in mask.ravel().tolist()]) for mask in probs]
    np.testing.assert_allclose(segmentation_entropy(probs), wanted, rtol=1e-5, atol=1e-7)


def test_known_values():
    one = np.array([[0.0, 1.0, 0.0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.0, 0.5]], np.float32)
    np.testing.assert_allclose(classification_margin(one), [1, 0, 0], atol=1e-7)
    np.testing.assert_allclose(
        classification_entropy(one), [0, math.log(3), math.log(2)], rtol=1e-6
    )
    mask = np.array([[[0.0, 1.0]], [[0.5, 0.5]], [[0.5, 1.0]]], np.float32)
    np.testing.assert_allclose(
        segmentation_entropy(mask), [0, math.log(2), math.log(2) / 2], rtol=1e-6
    )


def test_one_label_is_not_constant():
    # the paper's OVERHEAD data has one class: background has to count
    probs = np.array([[0.1, 0.9], [0.5, 0.5]], np.float32)
    assert classification_entropy(probs)[0] < classification_entropy(probs)[1]
    assert classification_margin(probs)[0] > classification_margin(probs)[1]


@pytest.mark.parametrize(
    ("call", "bad"),
    [
        (classification_entropy, np.array([[np.nan, 1.0]])),
        (classification_entropy, np.array([[-0.1, 1.1]])),
        (classification_margin, np.array([[0.3, 0.3]])),
        (classification_margin, np.array([[1.0]])),
        (classification_margin, np.array([0.5, 0.5])),
        (classification_margin, np.array([[0, 1]])),
        (segmentation_entropy, np.array([[[np.nan]]])),
        (segmentation_entropy, np.array([[[1.5]]])),
        (segmentation_entropy, np.zeros((2, 0, 0))),
        (segmentation_entropy, np.zeros((2, 3))),
    ],
)
def test_what_is_no_probability_is_refused(call, bad):
    with pytest.raises(DataError, match="expected"):
        call(bad)


def test_uncertainty_of_needs_masks(build):
    found = build.pool({1: [(0, 0, (1, 0, 0))], 2: [(0, 0, (1, 0, 0))]}).instances
    with pytest.raises(DataError, match="before its masks are dropped"):
        uncertainty_of(found)
    with_masks = replace(found, mask_probs=np.full((2, 3, 3), 0.5, np.float32))
    got = uncertainty_of(with_masks)
    np.testing.assert_allclose([got.cm[0], got.ce[0], got.se[0]], [0, math.log(2), math.log(2)])


def test_no_instances(build):
    none = replace(build.pool({}).instances, mask_probs=np.zeros((0, 28, 28), np.float32))
    assert len(uncertainty_of(none)) == 0

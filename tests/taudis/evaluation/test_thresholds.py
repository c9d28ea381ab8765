"""The cost of correcting, against its definition; thresholds, against every other threshold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taudis.data.coco import encode
from taudis.evaluation import thresholds as thresholds_module
from taudis.evaluation.matching import FITS, EvaluatedImage
from taudis.evaluation.thresholds import DELETE, DRAW, Savings, choose_thresholds
from taudis.types import LabelMap

SIZE = (20, 40)
LABELS = LabelMap(("a", "b"))


def strip(left, length):
    mask = np.zeros(SIZE, bool)
    mask[:, left : left + length] = True
    return mask


def evaluated(truth, found):
    """truth: (label, left, length, crowd); found: (label, left, length, score)."""
    return EvaluatedImage(
        SIZE,
        np.array([t[0] for t in truth], np.int64),
        [encode(strip(*t[1:3])) for t in truth],
        np.array([t[3] for t in truth], bool),
        np.array([f[0] for f in found], np.int64),
        np.array([f[3] for f in found], np.float64),
        [encode(strip(*f[1:3])) for f in found],
    )


def iou(a, b):
    a, b = set(range(a[1], a[1] + a[2])), set(range(b[1], b[1] + b[2]))
    return len(a & b) / len(a | b)


def cost_by_hand(truth, found, thresholds):
    """The docstring of taudis.evaluation.thresholds, read aloud; no crowds."""
    seen = sorted((f for f in found if f[3] >= thresholds[f[0] - 1]), key=lambda f: -f[3])
    left, cost = list(truth), 0.0
    for region in seen:
        fits = [t for t in left if t[0] == region[0] and iou(t, region) >= FITS]
        if not fits:
            cost += DELETE
            continue
        best = max(fits, key=lambda t: iou(t, region))
        left.remove(best)
        cost += 1 - iou(best, region)
    return cost + DRAW * len(left)


strips = st.tuples(st.integers(1, 2), st.integers(0, 30), st.integers(1, 10))
truths = st.lists(strips, max_size=5, unique=True)
founds = st.lists(strips, max_size=8)
images = st.lists(st.tuples(truths, founds), min_size=1, max_size=4)


def with_scores(images, seed):
    """Distinct scores, in random order."""
    rng = np.random.default_rng(seed)
    scores = iter(rng.permutation(np.linspace(0.06, 0.99, 40)))
    return [
        ([(*t, False) for t in truth], [(*f, float(next(scores))) for f in found])
        for truth, found in images
    ]


@settings(max_examples=60, deadline=None)
@given(images, st.integers(0, 99), st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_the_cost_is_what_the_docstring_says(images, seed, thresholds):
    images = with_scores(images, seed)
    found = Savings.of([evaluated(*image) for image in images], 2)
    wanted = np.mean([cost_by_hand(*image, thresholds) for image in images])
    assert found.cost(np.array(thresholds)) == pytest.approx(wanted, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(images, st.integers(0, 99))
def test_without_the_prior_no_threshold_costs_less(images, seed):
    images = with_scores(images, seed)
    found = Savings.of([evaluated(*image) for image in images], 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thresholds_module, "PRIOR", 1e-9)
        chosen = choose_thresholds(found, LABELS)
    assert set(chosen) == (set(LABELS.names) if found.objects.any() else set())
    for row in np.flatnonzero(found.objects):
        at = np.array([chosen[name] for name in LABELS.names])
        least = found.cost(at)
        for at[row] in [0.0, 1.0, *(found.scores - 1e-6)]:
            assert found.cost(at) >= least - 1e-9


def test_a_second_region_on_one_object_is_deleted_and_one_in_a_crowd_is_free():
    truth, first = (1, 0, 10, False), (1, 0, 8, 0.9)
    twice = evaluated([truth], [first, (1, 0, 10, 0.8)])
    assert Savings.of([twice], 2).savings.tolist() == pytest.approx([0.8, -DELETE])
    crowd = evaluated([truth, (1, 20, 20, True)], [(1, 22, 6, 0.9), (2, 22, 6, 0.8)])
    found = Savings.of([crowd], 2)
    assert found.savings.tolist() == [0.0, -DELETE] and found.objects.tolist() == [1, 0]


def test_a_weak_model_that_is_right_shows_what_it_has():
    """Best score 0.3: a fixed 0.5 would leave everything to be drawn."""
    image = evaluated([(1, 0, 10, False)], [(1, 0, 10, 0.3), (1, 20, 10, 0.1), (1, 30, 9, 0.1)])
    found = Savings.of([image] * 30, 2)
    at = choose_thresholds(found, LABELS)
    assert 0.1 < at["a"] < 0.3
    assert found.cost(np.array([at["a"], 1.0])) == 0 < found.cost(np.array([0.5, 0.5])) == 1


def test_few_objects_lean_on_the_others_and_none_at_all_choose_nothing():
    good = evaluated([(1, 0, 10, False)], [(1, 0, 10, 0.4), (1, 20, 10, 0.2)])
    unlucky = evaluated([(2, 0, 10, False)], [(2, 20, 10, 0.6)])
    alone = choose_thresholds(Savings.of([unlucky] * 1000, 2), LABELS)
    assert alone["b"] > 0.6
    pooled = choose_thresholds(Savings.of([good] * 100 + [unlucky], 2), LABELS)
    assert pooled["b"] == pooled["a"] < 0.4
    unseen = choose_thresholds(Savings.of([good] * 100, 2), LABELS)
    assert unseen["b"] == unseen["a"]
    assert choose_thresholds(Savings.of([evaluated([], [(1, 0, 9, 0.9)])], 2), LABELS) == {}
    assert choose_thresholds(Savings.of([], 2), LABELS) == {}


def test_what_is_surer_than_any_evaluated_detection_is_still_visible():
    wrong = evaluated([(1, 0, 10, False)], [(1, 20, 10, 0.6)])
    assert 0.6 < choose_thresholds(Savings.of([wrong] * 1000, 2), LABELS)["a"] < 1


def test_equal_scores_are_visible_together(monkeypatch):
    monkeypatch.setattr(thresholds_module, "PRIOR", 1e-9)
    image = evaluated([(1, 0, 10, False)], [(1, 0, 10, 0.4), *[(1, 20, 9, 0.4)] * 6])
    assert choose_thresholds(Savings.of([image], 2), LABELS)["a"] > 0.4  # saves 1, costs 1.2

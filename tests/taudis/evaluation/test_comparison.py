"""Paired comparison: exact figures, an interval that covers, and a verdict that follows it."""

import dataclasses
import json
import math

import numpy as np
import pytest

from taudis.errors import DataError
from taudis.evaluation.comparison import Comparison, compare, compare_images
from taudis.evaluation.matching import EvaluatedImage
from taudis.evaluation.metrics import Metrics, evaluate, metrics_of
from taudis.evaluation.resampling import label_matches, weighted_map50
from taudis.types import Detection, Instances, LabelMap, Target
from tests.taudis.detector_cases import LABELS, Pictures, detector

SIDE = 28


def evaluated(truth, found, label=1):
    """One image of 8 places in a row, of which `truth` and `found` (with scores) hold squares."""

    def masks(places):
        made = np.zeros((len(places), SIDE, 8 * SIDE), bool)
        for row, place in enumerate(places):
            made[row, 4:24, place * SIDE + 4 : place * SIDE + 24] = True
        return made

    target = Target.from_masks(masks(truth), np.full(len(truth), label))
    boxes = Target.from_masks(masks([p for p, _ in found]), np.ones(len(found), np.int64)).boxes
    n = len(found)
    instances = Instances(
        np.zeros(n, np.int64), boxes.astype(np.float32),
        np.array([score for _, score in found], np.float32), np.full(n, label),
        np.tile(np.float32([0.5, 0.25, 0.25]), (n, 1)), np.zeros((n, 1), np.float32),
        np.ones((n, SIDE, SIDE), np.float32),
    )  # fmt: skip
    return EvaluatedImage.of(
        target, Detection(instances, np.zeros(1, np.float32), (SIDE, 8 * SIDE))
    )


def images(count, skill, seed):
    """Images with 4 objects each; a share `skill` is found, and what is missed is a false alarm.

    The same seed makes the same truth.
    """
    truth = np.random.default_rng(seed)
    luck = np.random.default_rng([seed, round(skill * 1000)])
    made = []
    for _ in range(count):
        places = truth.permutation(8)
        found = [
            (int(place if luck.random() < skill else other), float(luck.uniform(0.1, 1)))
            for place, other in zip(places[:4], places[4:], strict=True)
        ]
        made.append(evaluated(places[:4].tolist(), found))
    return made


ONE = LabelMap(("thing",))


def test_a_detector_equals_itself():
    same = images(12, 0.6, seed=1)
    found = compare_images(same, same, ONE)
    assert found.a == found.b == metrics_of(same, ONE)
    assert found.difference == 0 and found.interval == (0, 0) and found.winner == ""
    assert "12 validation images show no difference between A and B" in found.verdict("A", "B")


def test_swapping_the_two_mirrors_everything():
    weak, strong = images(20, 0.4, seed=2), images(20, 0.9, seed=2)
    there, back = compare_images(weak, strong, ONE), compare_images(strong, weak, ONE)
    assert there.difference == -back.difference > 0.2
    assert np.allclose(there.interval, [-back.interval[1], -back.interval[0]], atol=1e-12)
    assert (there.winner, back.winner) == ("b", "a")
    assert there.verdict("A", "B").startswith("B is better than A on 20 validation images: mAP50 +")
    assert back.verdict("A", "B").startswith("B is worse than A on 20 validation images: mAP50 -")


def test_the_interval_is_the_plain_bootstrap_of_the_difference():
    a, b = images(10, 0.5, seed=3), images(10, 0.7, seed=3)
    found = compare_images(a, b, ONE, seed=5, bootstrap=60)
    rng = np.random.default_rng(5)
    differences = []
    for _ in range(60):  # the slow way: draw images, not weights
        draw = rng.multinomial(10, np.full(10, 0.1))
        rows = np.repeat(np.arange(10), draw)
        ones = np.ones(10)
        maps = [
            weighted_map50(label_matches([one[r] for r in rows], ONE, 100), ones) for one in (a, b)
        ]
        differences.append(maps[1] - maps[0])
    # Equal scores of a repeated image may be ordered otherwise: no more than rounding here.
    assert np.allclose(found.interval, np.quantile(differences, [0.025, 0.975]), atol=1e-9)


def test_pairing_narrows_the_interval():
    """Images that are hard for both: the difference is known better than either figure."""
    rng = np.random.default_rng(0)
    a, b = [], []
    for skill in rng.choice([0.1, 0.9], 30):
        seed = int(rng.integers(1 << 30))
        a += images(1, skill, seed)
        b += images(1, min(skill + 0.05, 1), seed)
    found = compare_images(a, b, ONE)
    width = found.interval[1] - found.interval[0]
    apart = float(np.hypot(*(m.interval[1] - m.interval[0] for m in (found.a, found.b))))
    print(f"paired {width:.3f}, of two independent figures {apart:.3f}")
    assert width < 0.75 * apart


@pytest.mark.slow
def test_the_interval_covers_the_truth():
    """Two detectors of the same skill: about one comparison in twenty may call a winner."""
    called = sum(
        compare_images(images(20, 0.6, seed), images(20, 0.601, seed), ONE, bootstrap=200).winner
        != ""
        for seed in range(30)
    )
    print(f"{called} of 30 comparisons of equals call a winner")
    assert called <= 5  # binomial(30, 0.05): more has a chance of 0.3 %


@pytest.mark.parametrize(
    ("map50", "reach", "wanted"),
    [(0.5, 0.1, 0), (0.5, 0.2, 80), (0.5, 0.15, 45), (0.2, 0.1, 80), (0.2, 0.05, 0)],
)
def test_too_few_images_are_said_with_how_many_it_takes(map50, reach, wanted):
    """The width falls with the square root of the images: twice the reach takes four times them."""
    metrics = Metrics(map50, map50, {}, (0.0, 1.0), 20, 40)
    found = Comparison(metrics, metrics, 0.0, (-reach, reach), 1)
    assert found.images_wanted == wanted and bool(found.too_few) == bool(wanted)
    if wanted:
        assert f"expected about {wanted}," in found.too_few and "got 20" in found.too_few
        assert found.too_few in found.verdict("A", "B")
    assert Comparison(metrics, metrics, 0.3, (0.1, 0.1 + 2 * reach), 1).too_few == ""  # decided
    json.dumps(found.to_dict(), allow_nan=False)


def test_labels_on_two_images_are_too_few():
    a, b = images(2, 0.4, seed=2), images(2, 0.9, seed=2)
    found = compare_images(a, b, ONE)
    assert math.isnan(found.interval[0]) and found.labels == 0 and found.winner == ""
    assert "a label that 3 images show, got 2" in found.verdict("A", "B")
    assert found.to_dict()["interval"] == [None, None]


TWO = LabelMap(("common", "rare"))


def of_rare(found):
    """Two images of the rare label, in which it is found or not."""
    return [evaluated([0], [(0, 0.9)] if found else [], label=2) for _ in range(2)]


def test_difference_and_interval_are_over_the_same_labels():
    """The rare label is lost on its two images, which no interval covers: nothing is decided."""
    same = images(28, 0.6, seed=1)
    found = compare_images(same + of_rare(True), same + of_rare(False), TWO)
    assert found.labels == 1 and found.interval == (0, 0) and found.difference == 0
    assert found.over_all == found.to_dict()["over_all_labels"] == pytest.approx(-0.5)
    assert found.winner == "" and "every label on 3 or more, got 30" in found.too_few
    said = found.verdict("A", "B")
    assert "of the 1 of 2 labels that 3 or more images show; over all labels" in said
    assert "the difference is -0.500." in said
    assert found.too_few in said


def test_a_gain_that_rare_labels_turn_is_no_gain():
    weak, strong = images(28, 0.4, seed=2), images(28, 0.9, seed=2)
    alone = compare_images(weak, strong, ONE)
    lost = compare_images(weak + of_rare(True), strong + of_rare(False), TWO)
    kept = compare_images(weak + of_rare(True), strong + of_rare(True), TWO)
    assert alone.winner == "b" and alone.difference == alone.over_all
    assert lost.interval[0] > 0 > lost.over_all and lost.winner == "" and lost.images_wanted == 31
    assert kept.winner == "b" and kept.too_few == ""
    assert kept.difference == pytest.approx(2 * kept.over_all)
    back = compare_images(strong + of_rare(False), weak + of_rare(True), TWO)
    assert back.winner == "" and back.too_few


@pytest.mark.parametrize(("over_all", "winner"), [(0.005, "a"), (0.2, ""), (-0.2, "a")])
def test_rare_labels_must_turn_the_result_by_more_than_a_drop(over_all, winner):
    a = Metrics(0.5, 0.5, {}, (0.0, 1.0), 40, 80)
    b = dataclasses.replace(a, map50=0.5 + over_all)
    assert Comparison(a, b, -0.15, (-0.22, -0.08), 1).winner == winner


def test_no_truth_no_verdict():
    nothing = [evaluated([], [(0, 0.5)])]
    found = compare_images(nothing, nothing, ONE)
    assert math.isnan(found.difference) and found.winner == ""
    assert "no validation image shows an object" in found.verdict("A", "B")
    assert isinstance(compare_images([], [], ONE), Comparison)


@pytest.mark.slow
def test_compare_gives_the_metrics_that_evaluate_gives():
    a, b = detector(seed=1), detector(seed=2)
    found = compare(a, b, Pictures(3), bootstrap=20)
    assert found.a == evaluate(a, Pictures(3)) and found.b == evaluate(b, Pictures(3))
    with pytest.raises(DataError, match="same labels"):
        compare(a, detector(labels=LabelMap(tuple(reversed(LABELS.names)))), Pictures(1))

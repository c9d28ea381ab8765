"""Which model the judge lets serve, and what it says to people."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from backend.worker import judge
from backend.worker.serving import Serving
from taudis.detector.card import amend_card
from taudis.evaluation import metrics as evaluation
from taudis.evaluation.comparison import Comparison
from tests.taudis.detector_cases import LABELS, Pictures, detector


def verdict(monkeypatch, old_skill, new_skill, images=8):
    """The verdict on a new model; models find a share of the objects, `skill`, and nothing else."""
    samples = Pictures(images)
    old, new = detector(seed=1), detector(seed=2)
    truth = evaluation.evaluated_images(old, samples)

    def look(model, _samples, **_):
        return [found(image, old_skill if model is old else new_skill, row)
                for row, image in enumerate(truth)]  # fmt: skip

    monkeypatch.setattr(evaluation, "evaluated_images", look)
    seen = look(new, samples)
    metrics = evaluation.metrics_of(seen, LABELS)
    return judge._verdict(metrics, seen, new, Serving("v1", old), samples, 0)


def found(image, skill, row):
    """The image with the first objects found: all of them in a share `skill` of the images."""
    right = row % 8 < round(8 * skill)
    count = len(image.true_labels) if right else 0
    return dataclasses.replace(
        image,
        labels=image.true_labels[:count],
        scores=np.full(count, 0.9, np.float32),
        masks=image.true_masks[:count],
    )


def test_a_clearly_worse_model_is_refused_with_its_figures(monkeypatch):
    said = verdict(monkeypatch, 1.0, 0.25, images=16)
    assert not said["serve"] and said["compared_with"] == "v1" and said["undecided"] == ""
    # found in 4 of 16 images: recall 1/4 at precision 1, which is 26 of the 101 thresholds
    assert (
        f"not served: mAP50 {26 / 101:.3f}, the model before 1.000, on the same 16 validation"
        in said["reason"]
    )
    assert "over the 2 of 2 labels that 3 or more of them show" in said["reason"]
    assert said["difference"]["interval"][1] < 0 and said["difference"]["labels"] == 2


def test_an_equal_model_serves(monkeypatch):
    said = verdict(monkeypatch, 0.5, 0.5)
    assert said["serve"] and said["reason"].startswith(
        "mAP50 0.505, the model before 0.505, on the"
    )
    assert said["difference"]["interval"] == [0.0, 0.0]


def test_two_images_do_not_decide_and_the_reason_says_so(monkeypatch):
    said = verdict(monkeypatch, 1.0, 0.125, images=2)
    assert said["serve"]
    assert said["reason"].endswith(said["undecided"]) and "got 2" in said["undecided"]
    assert "label more images, or raise VALIDATION_FRACTION" in said["undecided"]


@pytest.mark.parametrize("images", [0, 3])
def test_without_evaluation_only_a_model_that_nobody_evaluated_is_replaced(images):
    nothing = evaluation.Metrics(math.nan, math.nan, {}, (math.nan, math.nan), images, 0)
    new = detector(seed=2)

    def decided(old):
        return judge._verdict(nothing, [], new, old, Pictures(images), 0)

    says = "without evaluation: no validation image " + (
        "shows an object" if images else "is labelled yet"
    )
    for old in (None, Serving("v1", new)):
        assert decided(old) == {"serve": True, "reason": f"served {says}"}
    held = decided(Serving("v1", new, evaluated=True))
    assert not held["serve"] and held["reason"].startswith(f"not served {says}, and v1 was eval")


@pytest.mark.parametrize("high", [-0.01, 0.01])
def test_the_interval_decides(high):
    a = evaluation.Metrics(0.5, 0.5, {}, (0.4, 0.6), 40, 90)
    b = dataclasses.replace(a, map50=0.4)
    refused = judge._reason(Comparison(a, b, -0.1, (-0.15, high), 2), 2).startswith("not served")
    assert refused == (high < 0)


@pytest.mark.slow
def test_while_the_first_order_is_pinned_the_newest_model_that_served_is_compared_with(make_loop):
    """No model made that order. Each training served, "no model before it has these labels"."""
    project = make_loop().project(14)
    first, model = project.version(), project.give_model()
    project.label_some(8)
    project.cli("rollback", first)
    round_ = project.train()
    assert round_.steps["evaluated"]["compared_with"] == model
    assert "no model before" not in round_.message


@pytest.mark.slow
def test_while_the_first_order_is_pinned_a_refused_model_does_not_serve_after_unpin(make_loop):
    project = make_loop(VALIDATION_FRACTION="0.0001").project(4)
    first, model = project.version(), project.give_model()
    amend_card(project.loop.data / "models" / str(project.id) / model, metrics={"map50": 0.5})
    project.label_some(2)
    project.cli("rollback", first)
    round_ = project.train()
    assert (
        f"not served without evaluation: no validation image is labelled yet, and {model} was"
        in (round_.message)
    )
    assert round_.steps["scored"] | {"model": model, "stand_in": ""} == round_.steps["scored"]
    assert project.version() == first and "rollback" in round_.message
    newest = round_.steps["published"]["version"]
    assert newest in project.cli("unpin")
    assert project.loop.store.project(project.id).state.model == model

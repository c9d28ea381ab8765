"""A Mask2Former trains as a Mask R-CNN does: it learns, resumes to the bit, refuses by name."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from taudis.data.statistics import LabelStatistics
from taudis.detector.checkpoint import load_checkpoint, save_checkpoint
from taudis.detector.mask2former import BACKBONE_PREFIX, build_model
from taudis.detector.mask2former_config import Mask2FormerConfig
from taudis.errors import DataError, TrainingError, TrainingStopped, WeightsError
from taudis.evaluation.metrics import evaluate
from taudis.training.recipes import choose
from taudis.training.train import Recipe, _optimizer
from taudis.training.training_state import clear_states
from taudis.types import Target
from tests.taudis.detector_cases import LABELS, TINY, TINY_QUERIES, Pictures, detector, mask2former
from tests.taudis.training.training_cases import QUICK, assert_same, run, weights

QUERIES = dataclasses.replace(QUICK, model=TINY_QUERIES, precision="fp32", colour=0.1)
FOUND = LabelStatistics(
    images=20, mean_instances=2.0, densest=80, object_share=0.1, image_side=96.0
)


def train_it(**options):
    return run(**{"recipe": QUERIES, **options})


@pytest.mark.slow
def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(tmp_path):
    whole = weights(train_it())
    for at in (1, 3):
        asked = iter([False] * at + [True])
        with pytest.raises(TrainingStopped, match=f"step {at} of 4"):
            train_it(resume_dir=tmp_path, stop=asked.__next__)
        torch.rand(at)  # the global generator may stand anywhere
        steps = []
        resumed = train_it(resume_dir=tmp_path, progress=lambda p, s=steps: s.append(p.step))
        assert steps == list(range(at + 1, 5))
        assert_same(whole, weights(resumed))
        clear_states(tmp_path)
    other = weights(train_it(seed=2))
    assert not torch.equal(*(w["network.class_predictor.weight"] for w in (whole, other)))


@pytest.mark.slow
def test_it_goes_on_from_a_checkpoint(tmp_path):
    save_checkpoint(tmp_path / "v1", mask2former(seed=4), card={})
    started = train_it(start=tmp_path / "v1", recipe=dataclasses.replace(QUERIES, steps=1, lr=1e-9))
    given = mask2former(seed=4).model.state_dict()
    assert all(torch.allclose(given[name], v, atol=1e-6) for name, v in weights(started).items())


@pytest.mark.slow
def test_it_learns_squares_and_bars(tmp_path):
    recipe = dataclasses.replace(
        QUERIES, steps=60, batch=4, crop=64, warmup=10, lr=2e-3, turns=False, checkpoint_every=100
    )
    losses = []
    made = train_it(samples=Pictures(16), recipe=recipe, progress=lambda p: losses.append(p.loss))
    found = evaluate(made, Pictures(8, first=100), bootstrap=0)
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    assert found.map50 > 0.5, found
    save_checkpoint(tmp_path / "v1", made, card={"recipe": dataclasses.asdict(recipe)})
    again, _ = load_checkpoint(tmp_path / "v1", label_map=LABELS)
    assert evaluate(again, Pictures(8, first=100), bootstrap=0) == found


@pytest.mark.slow
def test_images_without_objects_and_thin_ones_are_trained_on():
    rng = np.random.default_rng(0)

    def empty(size):
        image = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
        return image, Target.from_masks(np.zeros((0, *size), bool), np.zeros(0, np.int64))

    losses = []
    run([empty((64, 64)), empty((3, 90))], QUERIES, progress=lambda p: losses.append(p.loss))
    assert np.isfinite(losses).all()


@pytest.mark.slow
def test_the_backbone_has_its_own_rate_and_no_frozen_stages():
    model = build_model(TINY_QUERIES, 2, seed=0)
    rest, backbone = _optimizer(model, dataclasses.replace(QUERIES, backbone_lr=0.1)).param_groups
    inside = [v for name, v in model.named_parameters() if name.startswith(BACKBONE_PREFIX)]
    assert (rest["scale"], backbone["scale"]) == (1.0, 0.1)
    assert len(inside) == len(backbone["params"]) > 20
    with pytest.raises(TrainingError, match="frozen_stages are those of a Mask R-CNN"):
        train_it(recipe=dataclasses.replace(QUERIES, frozen_stages=1))


# --- the choice of a recipe ---------------------------------------------------------------------


def test_the_recipe_has_more_queries_than_the_densest_image_has_objects():
    recipe = choose("auto", FOUND, gpu=False, model="mask2former")
    assert isinstance(recipe.model, Mask2FormerConfig) and recipe.name == "cpu"
    assert recipe.model.queries == 120 and recipe.model.detections_per_image == 100
    assert recipe.precision == "fp32" and recipe.backbone_lr == 1
    assert json.loads(json.dumps(dataclasses.asdict(recipe)))["model"]["architecture"]
    large = choose("auto", FOUND, gpu=True, model="mask2former").model
    assert large.network["num_queries"] == 100 and large.max_size == 1333
    whole = dataclasses.replace(FOUND, object_share=0.9, image_side=512.0)
    assert choose("cpu", whole, gpu=False, model="mask2former").model.max_size == 192
    assert choose("cpu", FOUND, gpu=False) == choose("cpu", FOUND, gpu=False, model="mask_rcnn")


def test_what_is_mask_r_cnn_alone_is_refused_by_name():
    asked = {"gpu": False, "model": "mask2former"}
    for options, kind, message in (
        ({"name": "paper"}, DataError, "recipe: expected auto, cpu or small for a mask2former"),
        ({"backbone": "resnet50"}, DataError, "backbone: expected none for a mask2former"),
        ({"weights": "imagenet"}, WeightsError, "'imagenet' are for Mask R-CNN"),
        ({"weights": "coco"}, WeightsError, "'coco' are for Mask R-CNN"),
        ({"weights": "nowhere"}, WeightsError, "expected a folder with"),
        ({"model": "yolo"}, DataError, "model: expected one of"),
    ):
        given = {"name": "auto", **asked, **options}
        with pytest.raises(kind, match=message):
            choose(given.pop("name"), FOUND, **given)


def test_a_denser_image_keeps_the_warm_start_within_a_step_of_queries():
    counts = {densest: Mask2FormerConfig.small().with_queries(densest).queries
              for densest in (1, 32, 33, 64, 65)}  # fmt: skip
    assert counts == {1: 40, 32: 40, 33: 80, 64: 80, 65: 120}


def test_the_recipe_has_the_size_of_the_images_not_the_weights(tmp_path):
    build_model(TINY_QUERIES, 3, seed=5).network.save_pretrained(tmp_path)
    asked = {"weights": str(tmp_path), "model": "mask2former"}
    on_cpu, on_gpu = (choose("auto", FOUND, gpu=gpu, **asked).model for gpu in (False, True))
    assert (on_cpu.min_size, on_cpu.max_size) == (None, 512)
    assert (on_gpu.min_size, on_gpu.max_size) == (800, 1333)
    assert on_cpu.network == on_gpu.network
    assert on_cpu.network["hidden_dim"] == TINY_QUERIES.network["hidden_dim"]


@pytest.mark.slow
def test_weights_of_the_other_model_are_refused_by_name(tmp_path, caplog):
    save_checkpoint(tmp_path / "rcnn", detector(), card={})
    save_checkpoint(tmp_path / "queries", mask2former(), card={})
    with pytest.raises(WeightsError, match="expected a mask2former, got a mask_rcnn"):
        choose("auto", FOUND, gpu=False, weights=str(tmp_path / "rcnn"), model="mask2former")
    with pytest.raises(WeightsError, match="expected a mask_rcnn, got a mask2former"):
        choose("auto", FOUND, gpu=False, weights=str(tmp_path / "queries"))
    recipe = choose(
        "auto", FOUND, gpu=False, weights=str(tmp_path / "queries"), model="mask2former"
    )
    assert recipe.model.network == TINY_QUERIES.network and recipe.backbone_lr == 0.1
    assert "at most 12 objects an image, a labelled one has 80" in caplog.text
    assert isinstance(recipe, Recipe) and recipe.model != TINY

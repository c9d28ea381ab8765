"""Training learns, resumes to the bit, and refuses what it cannot learn from."""

from __future__ import annotations

import dataclasses
import json
from functools import partial

import numpy as np
import pytest
import torch

from taudis.errors import DataError, TrainingError, TrainingStopped
from taudis.evaluation.metrics import evaluate
from taudis.training import train as training
from taudis.training.crowds import MEAN_COLOUR
from taudis.training.samples import example, prepare
from taudis.training.train import Progress, Recipe, uses_bf16
from taudis.training.training_state import clear_states
from taudis.types import Target
from tests.taudis.detector_cases import PRETRAINED_TINY, TINY, Pictures, picture
from tests.taudis.training.training_cases import QUICK, assert_same, run, weights


def empty(height=64, width=64):
    return Target.from_masks(np.zeros((0, height, width), bool), np.zeros(0, np.int64))


class Images(list):
    """A list of (image, target) pairs."""


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        pytest.param({"precision": "fp32", "optimizer": "sgd"}, "none", marks=pytest.mark.slow),
        pytest.param({"precision": "bf16"}, "none", marks=pytest.mark.slow),
        ({"precision": "bf16", "model": PRETRAINED_TINY, "backbone_lr": 0.1}, "imagenet"),
    ],
    ids=["fp32-sgd", "bf16-adamw", "two learning rates"],
)
def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(tmp_path, changes, start):
    recipe = dataclasses.replace(QUICK, **changes)
    train_it = partial(run, weights=start)
    whole = weights(train_it(recipe=recipe))
    for at in (1, 3):
        asked = iter([False] * at + [True])
        with pytest.raises(TrainingStopped, match=f"step {at} of 4"):
            train_it(recipe=recipe, resume_dir=tmp_path, stop=lambda asked=asked: next(asked))
        steps: list[int] = []
        torch.rand(at)  # the global generator may stand anywhere
        resumed = train_it(
            recipe=recipe, resume_dir=tmp_path, progress=lambda p, steps=steps: steps.append(p.step)
        )
        assert steps == list(range(at + 1, 5))
        assert_same(whole, weights(resumed))
        clear_states(tmp_path)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_killed_run_goes_on_from_its_periodic_state(tmp_path):
    class Killed(BaseException):
        pass

    def kill(progress):
        if progress.step == 3:
            raise Killed

    with pytest.raises(Killed):
        run(resume_dir=tmp_path, progress=kill)
    steps = []
    resumed = run(resume_dir=tmp_path, progress=lambda p: steps.append(p.step))
    assert steps == [3, 4]
    assert_same(weights(run()), weights(resumed))


@pytest.mark.slow
def test_a_run_that_is_resumed_with_a_smaller_batch_goes_on_where_it_was(tmp_path, monkeypatch):
    with pytest.raises(TrainingStopped):
        run(resume_dir=tmp_path, stop=iter([False, False, True]).__next__)
    step, seen = training._Trainer.step, []
    monkeypatch.setattr(
        training._Trainer, "step", lambda *of: seen.append((of[2].step, of[2].batch)) or step(*of)
    )
    run(resume_dir=tmp_path, batch=1)
    assert seen == [(2, 1), (3, 1)]
    with pytest.raises(TrainingError, match="batch: expected 1 or more, got 0"):
        run(batch=0)


@pytest.mark.slow
def test_one_seed_gives_one_result_and_another_another():
    first, second, other = weights(run()), weights(run()), weights(run(seed=2))
    assert_same(first, second)
    assert not torch.equal(
        first["backbone.fpn.layer_blocks.0.0.weight"], other["backbone.fpn.layer_blocks.0.0.weight"]
    )


@pytest.mark.slow
def test_progress_tells_steps_loss_speed_and_time_left():
    seen: list[Progress] = []
    run(progress=seen.append)
    assert [p.step for p in seen] == [1, 2, 3, 4] and {p.steps for p in seen} == {4}
    assert all(np.isfinite(p.loss) and p.loss > 0 and p.images_per_s > 0 for p in seen)
    assert seen[0].eta_s is None and seen[1].eta_s > 0 and seen[-1].eta_s == 0


@pytest.mark.fault("F18", "diverges")
def test_a_loss_that_is_not_finite_stops_training(monkeypatch):
    recipe = dataclasses.replace(
        QUICK, steps=40, optimizer="sgd", lr=1e18, clip=1e30, precision="fp32"
    )
    with pytest.raises(TrainingError, match="diverged"):
        run(recipe=recipe)


@pytest.mark.slow
def test_images_without_instances_are_true_negatives():
    rng = np.random.default_rng(0)
    pictures = Images(
        (rng.integers(0, 256, (64, 64, 3)).astype(np.uint8), empty()) for _ in range(2)
    )
    losses = []
    run(pictures, progress=lambda p: losses.append(p.loss))
    assert np.isfinite(losses).all()
    mixed = Images([picture(0), *pictures])
    run(mixed)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 1), (3, 200), (30, 20)])
def test_tiny_and_thin_images_are_trained_on(size):
    image = np.full((*size, 3), 77, np.uint8)
    target = Target.from_masks(np.ones((1, *size), bool), np.array([1]))
    run(Images([(image, target), picture(0)]))


@pytest.mark.slow
def test_crowds_are_neither_objects_nor_background():
    image, target = picture(0)
    crowd = Target(target.boxes, target.labels, target.masks, np.array([True, False]))
    prepared, left = prepare(image, crowd, TINY, 2)
    assert left.labels.tolist() == [2]
    assert (prepared[target.masks[0]] == MEAN_COLOUR).all()
    assert np.array_equal(prepared[~target.masks[0]], image[~target.masks[0]])
    run(Images([(image, crowd)]))


def test_an_example_shows_what_its_target_says():
    image, target = picture(3)
    rng = np.random.default_rng(0)
    for _ in range(60):
        pixels, truth = example(image, target, crop=40, turns=True, rng=rng)
        assert pixels.shape == (3, 40, 40)
        for box, label, mask in zip(truth["boxes"], truth["labels"], truth["masks"], strict=True):
            x1, y1, x2, y2 = box.int().tolist()
            assert x2 - x1 >= 1 and y2 - y1 >= 1
            inside = mask[y1:y2, x1:x2]
            assert inside.sum() == mask.sum() > 0
            bright = pixels.mean(0)[mask.bool()].mean()
            assert (bright > 0.8) if label == 1 else (bright < 0.2)


def test_large_images_are_trained_at_the_size_they_are_evaluated_at():
    image = np.zeros((300, 200, 3), np.uint8)
    masks = np.zeros((2, 300, 200), bool)
    masks[0, 100:200, 50:150] = True
    masks[1, 7, 9] = True  # between the px of the working size
    prepared, left = prepare(image, Target.from_masks(masks, np.array([1, 2])), TINY, 2)
    assert prepared.shape == (96, 64, 3) and left.labels.tolist() == [1, 2]
    wanted = np.array([[50, 100, 150, 200], [9, 7, 10, 8]]) * 0.32
    assert np.allclose(left.boxes, wanted, atol=1)


@pytest.mark.slow
@pytest.mark.fault("F15", "halves")
def test_short_memory_halves_the_batch_and_at_one_image_gives_up(monkeypatch, caplog):
    step, batches, room = training._Trainer.step, [], 1

    def short(self, prepared, state):
        batches.append(state.batch)
        if state.batch > room:
            raise MemoryError
        return step(self, prepared, state)

    monkeypatch.setattr(training._Trainer, "step", short)
    run(recipe=dataclasses.replace(QUICK, batch=4, steps=2))
    assert batches == [4, 2, 1, 1] and "batch is now 1" in caplog.text
    room = 0
    with pytest.raises(TrainingError, match="memory"):
        run()


def test_an_error_that_is_no_shortage_is_not_retried(monkeypatch):
    def broken(self, prepared, state):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(training._Trainer, "step", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        run()


def test_what_cannot_be_trained_is_refused():
    with pytest.raises(TrainingError, match="at least one"):
        run(Pictures(0))
    with pytest.raises(TrainingError, match="steps"):
        run(recipe=dataclasses.replace(QUICK, steps=0))
    image, target = picture(0)
    with pytest.raises(DataError, match="labels up to 2"):
        run(Images([(image, dataclasses.replace(target, labels=np.array([1, 3])))]))
    with pytest.raises(DataError, match="image's size"):
        run(Images([(image[:50], target)]))


def test_the_learning_rate_follows_the_recipe():
    cosine = dataclasses.replace(QUICK, steps=100, warmup=10, lr=1.0)
    rates = [cosine.lr_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True) and rates[99] < 0.01
    paper = Recipe.paper()
    assert [paper.lr_at(s) for s in (14_999, 15_000, 20_000)] == pytest.approx(
        [0.12, 0.012, 0.0012]
    )
    assert paper.steps == 25_000 and paper.momentum == 0.997 and paper.batch == 128


def test_recipes_are_json_and_more_labels_get_more_steps():
    json.dumps(dataclasses.asdict(Recipe.cpu(20)))
    steps = [Recipe.cpu(count).steps for count in (1, 20, 60, 10_000)]
    assert steps == sorted(steps) and steps[0] < steps[2]
    assert uses_bf16("bf16", "cpu") and not uses_bf16("fp32", "cpu")


@pytest.mark.slow
def test_a_minute_of_training_finds_the_objects():
    recipe = Recipe(name="short", steps=250, model=dataclasses.replace(TINY, proposals=60),
                    crop=None, warmup=30)  # fmt: skip
    detector = run(Pictures(24), recipe, seed=0)
    metrics = evaluate(detector, Pictures(20, first=1000))
    assert metrics.map50 > 0.5, metrics


@pytest.mark.slow
def test_training_ends_early_and_the_best_look_is_the_result(tmp_path):
    recipe = dataclasses.replace(QUICK, steps=12, evaluate_every=1, patience=2)
    seen: dict[int, dict[str, torch.Tensor]] = {}
    marks = {6: 0.3, 7: 0.5, 8: float("nan"), 9: 0.4}

    def evaluate(detector):
        step = 6 + len(seen)
        seen[step] = {name: value.clone() for name, value in weights(detector).items()}
        return marks[step]

    steps: list[Progress] = []
    best = run(recipe=recipe, evaluate=evaluate, progress=steps.append)
    assert [p.step for p in steps] == list(range(1, 10))  # 2 evaluations after the best at step 7
    assert steps[-1].best == 0.5 and list(seen) == [6, 7, 8, 9]
    assert_same(seen[7], weights(best))
    assert not torch.equal(*(w["backbone.fpn.layer_blocks.0.0.weight"] for w in (seen[7], seen[9])))


@pytest.mark.slow
def test_a_resumed_run_remembers_the_best_look(tmp_path):
    recipe = dataclasses.replace(QUICK, steps=6, evaluate_every=1, patience=9, checkpoint_every=1)

    def evaluate(detector):  # depends on the weights alone, like an evaluation does
        return -float(weights(detector)["roi_heads.box_predictor.cls_score.bias"].abs().sum())

    whole = weights(run(recipe=recipe, evaluate=evaluate))
    with pytest.raises(TrainingStopped):
        run(recipe=recipe, evaluate=evaluate, resume_dir=tmp_path,
            stop=iter([False] * 4 + [True]).__next__)  # fmt: skip
    looked: list[int] = []
    resumed = run(
        recipe=recipe, evaluate=lambda d: looked.append(1) or evaluate(d), resume_dir=tmp_path
    )
    assert len(looked) == 2
    assert_same(whole, weights(resumed))


@pytest.mark.slow
def test_without_a_validation_split_nothing_ends_early():
    recipe = dataclasses.replace(QUICK, evaluate_every=1, patience=1)
    steps: list[int] = []
    run(recipe=recipe, evaluate=lambda _: float("nan"), progress=lambda p: steps.append(p.step))
    assert steps == [1, 2, 3, 4]

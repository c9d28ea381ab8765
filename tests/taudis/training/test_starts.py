"""A training starts from ImageNet weights, or goes on from a trained model."""

import dataclasses

import pytest
import torch

from taudis.detector.checkpoint import save_checkpoint
from taudis.detector.imagenet import PREFIX, packaged_weights
from taudis.errors import CheckpointError, TrainingStopped
from taudis.training.train import train
from taudis.types import LabelMap
from tests.taudis.detector_cases import PRETRAINED_TINY, TINY, Pictures
from tests.taudis.training.training_cases import QUICK, assert_same, run, weights


@pytest.mark.slow
def test_a_training_goes_on_from_a_trained_model(tmp_path):
    first = run(seed=1)
    save_checkpoint(tmp_path / "v1", first, card={})
    still = dataclasses.replace(QUICK, lr=0.0, model=dataclasses.replace(TINY, proposals=40))
    same = run(recipe=still, start=tmp_path / "v1")
    assert_same(weights(first), weights(same))  # label predictors included
    assert same.config.proposals == 40  # thresholds are the recipe's
    other = run(start=tmp_path / "v1")
    assert not torch.equal(*(next(iter(weights(each).values())) for each in (first, other)))
    with pytest.raises(CheckpointError, match="expected a model of backbone efficientnet_lite0"):
        run(recipe=dataclasses.replace(QUICK, model=PRETRAINED_TINY), start=tmp_path / "v1")
    with pytest.raises(CheckpointError, match="another architecture"):
        run(
            recipe=dataclasses.replace(QUICK, model=dataclasses.replace(TINY, box_mlp=8)),
            start=tmp_path / "v1",
        )
    with pytest.raises(CheckpointError, match="labels"):
        train(Pictures(3), LabelMap(("a", "b")), QUICK, seed=1, start=tmp_path / "v1")


@pytest.mark.slow
def test_a_resumed_training_from_a_model_wants_the_same_model(tmp_path, caplog):
    for name, seed in (("v1", 1), ("v2", 2)):
        save_checkpoint(tmp_path / name, run(seed=seed), card={})
    folder = tmp_path / "training"
    folder.mkdir()
    asked = iter([False, True])
    with pytest.raises(TrainingStopped):
        run(start=tmp_path / "v1", resume_dir=folder, stop=lambda: next(asked))
    steps: list[int] = []
    run(start=tmp_path / "v2", resume_dir=folder, progress=lambda p: steps.append(p.step))
    assert steps[0] == 1 and "another run" in caplog.text


@pytest.mark.slow
def test_frozen_stages_keep_their_weights_and_the_backbone_moves_less():
    recipe = dataclasses.replace(
        QUICK, model=PRETRAINED_TINY, backbone_lr=0.1, frozen_stages=2, weight_decay=0.0
    )
    start, end = packaged_weights(), weights(run(recipe=recipe, weights="imagenet"))
    moved = {name for name, value in start.items() if not torch.equal(value, end[name])}
    frozen = tuple(f"{PREFIX}{child}." for child in range(6))  # up to the end of stride 8
    assert {name for name in start if not name.startswith(frozen)} == moved
    # AdamW moves a value by at most its learning rate a step, sign and all.
    far = max(float((start[name] - end[name]).abs().max()) for name in moved)
    limit = recipe.backbone_lr * sum(recipe.lr_at(step) for step in range(recipe.steps))
    assert 0 < far <= 1.1 * limit

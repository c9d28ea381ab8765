"""The recipe is chosen by the machine, the labels and the initial weights."""

from __future__ import annotations

import pytest
import torch
from torchvision import models

from taudis.data.statistics import LabelStatistics
from taudis.detector.architecture import ModelConfig, build_model, make_model
from taudis.detector.checkpoint import save_checkpoint
from taudis.detector.mask_rcnn import Detector
from taudis.errors import DataError, WeightsError
from taudis.training import recipes
from taudis.training.train import Recipe
from taudis.types import LabelMap


def test_whole_images_where_a_crop_would_cut_typical_objects():
    small = Recipe.cpu(60)
    assert small.for_objects(share=0.3, side=192) is small  # 58 px fit a crop of 128
    assert small.for_objects(share=0.9, side=120) is small
    whole = small.for_objects(share=0.95, side=512)
    assert (whole.crop, whole.turns, whole.model.max_size) == (None, False, 192)
    assert Recipe.paper().for_objects(share=1.0, side=2000) == Recipe.paper()


@pytest.mark.parametrize(
    ("share", "size"),
    [(1.0, 192), (0.9, 192), (0.84, 224), (0.7, 256), (0.48, 256)],
)
def test_the_size_of_whole_images_follows_the_objects(share, size):
    """An object as long as the crop: 192 px over its share of the image, in steps of 32 px."""
    learnt, random = (
        recipes.choose("cpu", found(share=share, side=512), gpu=False, weights=weights)
        for weights in ("imagenet", "none")
    )
    assert (learnt.crop, learnt.model.max_size) == (None, size)
    assert (random.crop, random.model.max_size) == (None, 192)


def found(images=60, densest=5, share=0.1, side=192.0, upright=0.0):
    return LabelStatistics(images, 2.0, densest, share, side, upright)


def test_images_whose_objects_stand_upright_are_not_turned():
    overhead, street = (recipes.choose("cpu", found(upright=n), gpu=False) for n in (0.02, 0.45))
    assert overhead.turns and not street.turns
    assert not recipes.choose("small", found(upright=0.45), gpu=True).turns


def test_few_images_train_for_longer_from_imagenet_weights():
    steps = [
        recipes.choose("cpu", found(images=n), gpu=False, weights=weights).steps
        for weights in ("none", "imagenet")
        for n in (11, 100)
    ]
    assert steps == [95, 324, 240, 324]
    few = recipes.choose("cpu", found(images=11), gpu=False, weights="imagenet")
    assert (few.evaluate_every, few.crop) == (48, 192)  # still five evaluations


def test_the_recipe_is_chosen_by_the_machine_and_the_labels():
    assert recipes.choose("auto", found(), gpu=False).name == "cpu"
    assert recipes.choose("auto", found(), gpu=True).name == "small"
    assert recipes.choose("paper", found(), gpu=False) == Recipe.paper()
    few, many = (recipes.choose("cpu", found(images=n), gpu=False) for n in (5, 100))
    assert few.steps < many.steps
    dense = recipes.choose("cpu", found(densest=400), gpu=False)
    assert dense.model.detections_per_image == 500
    whole = recipes.choose("cpu", found(share=0.9, side=512), gpu=False)
    assert whole.crop is None and not whole.turns
    with pytest.raises(DataError, match="auto or one of"):
        recipes.choose("fast", found(), gpu=False)


def test_weights_and_backbone_decide_the_architecture():
    coco = recipes.choose("cpu", found(), gpu=False, weights="coco", backbone="resnet18")
    assert coco.model == ModelConfig.standard()  # its weights fit nothing else
    other = recipes.choose("cpu", found(), gpu=False, backbone="mobilenet_v3_large")
    assert other.model.backbone == "mobilenet_v3_large"
    with pytest.raises(DataError, match="resnet18, resnet50"):
        recipes.choose("cpu", found(), gpu=False, backbone="vgg")


def test_imagenet_weights_bring_their_backbone_and_its_learning_rate(tmp_path):
    chosen = recipes.choose("cpu", found(), gpu=False, weights="imagenet")
    assert (chosen.model.backbone, chosen.model.norm) == ("efficientnet_lite0", "folded")
    assert chosen.backbone_lr < 1.0
    named = recipes.choose(
        "cpu", found(), gpu=False, weights="imagenet", backbone="efficientnet_lite0"
    )
    assert named == chosen
    with pytest.raises(
        WeightsError, match="expected the backbone efficientnet_lite0, got resnet18"
    ):
        recipes.choose("cpu", found(), gpu=False, weights="imagenet", backbone="resnet18")
    with pytest.raises(WeightsError, match="'imagenet': the paper's recipe trains a ResNet-50"):
        recipes.choose("paper", found(), gpu=False, weights="imagenet")
    control = recipes.choose("cpu", found(), gpu=False, backbone="efficientnet_lite0")
    assert (control.model.norm, control.backbone_lr) == ("group", 1.0)
    torch.save(models.mobilenet_v2(weights=None).state_dict(), tmp_path / "own.pth")
    own = recipes.choose(
        "cpu", found(), gpu=False, weights=str(tmp_path / "own.pth"), backbone="mobilenet_v2"
    )
    assert (own.model.backbone, own.model.norm) == ("mobilenet_v2", "folded")
    assert own.backbone_lr == chosen.backbone_lr
    with pytest.raises(
        WeightsError, match=r"own\.pth': .*of a detector or checkpoint of that arch"
    ):
        recipes.choose("paper", found(), gpu=False, weights=str(tmp_path / "own.pth"))


def test_a_checkpoint_brings_its_architecture(tmp_path):
    made = ModelConfig(backbone="mobilenet_v2", norm="folded", fpn_width=16, box_mlp=16,
                       mask_head=(16,), mask_deconv=8, anchors=(4, 8, 16, 32, 64),
                       max_size=64)  # fmt: skip
    model = make_model(made, 2)
    labels = LabelMap(("square", "bar"))
    save_checkpoint(tmp_path / "own", Detector(model.eval(), made, labels, "cpu"), card={})
    folder = str(tmp_path / "own")
    chosen = recipes.choose("cpu", found(), gpu=False, weights=folder)
    built = build_model(chosen.model, 5, seed=0, weights=folder).state_dict()  # other labels
    for name, value in model.state_dict().items():
        if "predictor" not in name:  # they belong to the labels
            assert torch.equal(built[name], value), name
    assert chosen.model.anchors == made.anchors
    plain = recipes.choose("cpu", found(), gpu=False)
    assert chosen.model.max_size == plain.model.max_size  # the labels decide it, not the checkpoint
    assert chosen.backbone_lr == 0.1
    with pytest.raises(WeightsError, match="expected the backbone mobilenet_v2, got resnet18"):
        recipes.choose("cpu", found(), gpu=False, weights=folder, backbone="resnet18")


def test_a_warm_start_takes_a_share_of_the_steps_and_is_evaluated_still():
    recipe = recipes.Recipe(name="short", steps=5).evaluated(5)
    assert recipe.evaluate_every == 1
    warm = recipe.warm(0.4)
    assert (warm.steps, warm.evaluate_every) == (2, 1)
    assert Recipe.paper().warm().evaluate_every == 0  # none is asked for

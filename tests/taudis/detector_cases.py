"""Small detectors and labelled pictures for the tests of the detector half."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from taudis.data.coco import coco_of
from taudis.detector import mask2former as mask2former_model
from taudis.detector.architecture import ModelConfig, build_model
from taudis.detector.mask2former_config import Mask2FormerConfig, small_network
from taudis.detector.mask2former_detector import Mask2FormerDetector
from taudis.detector.mask_rcnn import Detector
from taudis.types import LabelMap, Target

LABELS = LabelMap(("square", "bar"))

TINY = ModelConfig(
    fpn_width=16,
    box_mlp=16,
    mask_head=(16, 16),
    mask_deconv=16,
    max_size=96,
    anchors=(8, 16, 24, 32, 48),
    rpn_samples=16,
    box_samples=16,
    proposals=30,
    detections_per_image=20,
)

TINY_QUERIES = Mask2FormerConfig(
    network={
        **small_network(),
        "backbone_config": {
            **small_network()["backbone_config"],
            "embed_dim": 16,
            "depths": [1, 1, 1, 1],
            "num_heads": [1, 2, 4, 8],
        },
        "feature_size": 32,
        "mask_feature_size": 32,
        "hidden_dim": 48,  # another width than that of the features
        "encoder_feedforward_dim": 32,
        "encoder_layers": 1,
        "decoder_layers": 3,
        "dim_feedforward": 32,
        "num_queries": 12,
        "train_num_points": 256,
    },
    max_size=96,
)

PRETRAINED_TINY = dataclasses.replace(TINY, backbone="efficientnet_lite0", norm="folded")


def picture(seed: int, height: int = 64, width: int = 64) -> tuple[np.ndarray, Target]:
    """A noisy picture with one bright square and one dark bar, and its truth."""
    rng = np.random.default_rng(seed)
    image = rng.integers(90, 120, (height, width, 3)).astype(np.uint8)
    masks = np.zeros((2, height, width), bool)
    y, x = rng.integers(2, height // 2 - 12), rng.integers(2, width - 22)
    masks[0, y : y + 16, x : x + 16] = True
    y, x = rng.integers(height // 2 + 2, height - 10), rng.integers(2, width - 26)
    masks[1, y : y + 8, x : x + 24] = True
    image[masks[0]] = 230
    image[masks[1]] = 20
    return image, Target.from_masks(masks, np.array([1, 2]))


class Pictures:
    """`count` pictures as taudis.training.train.Samples."""

    def __init__(self, count: int, first: int = 0) -> None:
        self.count, self.first = count, first

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int, /) -> tuple[np.ndarray, Target]:
        return picture(self.first + index)


def detector(seed: int = 0, config: ModelConfig = TINY, labels: LabelMap = LABELS) -> Detector:
    """An untrained detector whose random outputs are spread out, so that much is detected."""
    weights = "imagenet" if config.norm == "folded" else "none"
    model = build_model(config, len(labels), seed=seed, weights=weights)
    with torch.no_grad():
        model.roi_heads.box_predictor.cls_score.weight.mul_(8)
        model.roi_heads.mask_predictor.mask_fcn_logits.weight.mul_(2)
    return Detector(model, config, labels)


def mask2former(
    seed: int = 0, config: Mask2FormerConfig = TINY_QUERIES, labels: LabelMap = LABELS
) -> Mask2FormerDetector:
    """The same for a Mask2Former."""
    model = mask2former_model.build_model(config, len(labels), seed=seed)
    with torch.no_grad():
        model.network.class_predictor.weight.mul_(8)
    return Mask2FormerDetector(model, config, labels)


def varied(module):
    """Batch norms whose statistics and factors are not those of a new module."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for value in (layer.running_mean, layer.bias.data):
                value.normal_(0, 0.2)
            for value in (layer.running_var, layer.weight.data):
                value.uniform_(0.5, 1.5)
    return module.eval()


def save_coco(
    path: Path,
    labels: LabelMap,
    images: list[tuple[int, str, tuple[int, int]]],
    targets: list[Target],
) -> None:
    """A COCO file of images (id, file name, (height, width)) and their targets."""
    path.write_text(json.dumps(coco_of(labels, images, targets)), encoding="utf-8")


def save_pictures(folder: Path, number: int) -> None:
    """`coco.json` and so many pictures 0.png, 1.png, ... with ids from 7 on."""
    pairs = [picture(seed) for seed in range(number)]
    for row, (image, _) in enumerate(pairs):
        Image.fromarray(image).save(folder / f"{row}.png")
    images = [(7 + row, f"{row}.png", (64, 64)) for row in range(number)]
    save_coco(folder / "coco.json", LABELS, images, [target for _, target in pairs])

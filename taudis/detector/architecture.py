"""Builds torchvision's Mask R-CNN in two sizes, small and standard.

Letters: K labels, D' FPN width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RPNHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from taudis.detector.backbones import Backbone, Norm, make_backbone
from taudis.detector.weights import load_initial
from taudis.errors import DataError, WeightsError

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
CENTRED = {"efficientnet_lite0"}
"""Backbones whose weights were trained on pixels in -1..1."""

ARCHITECTURE = (
    "backbone", "norm", "fpn_width", "box_mlp", "mask_head", "mask_deconv", "anchors"
)  # fmt: skip
"""Fields of a ModelConfig that must be equal for two models to share weights."""


@dataclass(frozen=True)
class ModelConfig:
    """The architecture and its thresholds. `from_dict` reads `dataclasses.asdict` of it."""

    backbone: Backbone = "resnet18"
    norm: Norm = "group"  # "frozen" and "folded" need pretrained weights
    fpn_width: int = 64
    box_mlp: int = 256
    mask_head: tuple[int, ...] = (64, 64, 64, 64)  # widths of the 3x3 convolutions
    mask_deconv: int = 64
    min_size: int | None = None  # px of the shorter side; None: images are never enlarged
    max_size: int = 512  # px of the longer side
    anchors: tuple[int, ...] = (8, 16, 32, 64, 128)  # px at the working size, one per FPN level
    rpn_samples: int = 64  # anchors per image in the RPN loss
    box_samples: int = 64  # proposals per image in the box loss
    proposals: int = 150  # kept after the RPN's NMS, per image
    proposals_nms: float = 0.7
    score_threshold: float = 0.05  # least score of a detection (T_F)
    nms: float = 0.5
    detections_per_image: int = 100

    @classmethod
    def small(cls) -> ModelConfig:
        """A model that two CPU cores train from scratch in a minute (decision 4)."""
        return cls()

    @classmethod
    def standard(cls) -> ModelConfig:
        """Torchvision's `maskrcnn_resnet50_fpn`, the architecture of its COCO weights."""
        return cls(
            backbone="resnet50",
            norm="frozen",
            fpn_width=256,
            box_mlp=1024,
            mask_head=(256, 256, 256, 256),
            mask_deconv=256,
            min_size=800,
            max_size=1333,
            anchors=(32, 64, 128, 256, 512),
            rpn_samples=256,
            box_samples=512,
            proposals=1000,
        )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """The inverse of `dataclasses.asdict`, also with lists for tuples, as JSON gives them."""
        try:
            fields: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            return cls(**fields)
        except TypeError as error:
            raise DataError(f"ModelConfig: {error}; it was written by another version.") from None

    @property
    def image_mean(self) -> tuple[float, float, float]:
        """Mean (R, G, B; 0..1) to subtract from the pixels, as the backbone was trained."""
        return (0.5, 0.5, 0.5) if self.backbone in CENTRED else IMAGE_MEAN

    @property
    def image_std(self) -> tuple[float, float, float]:
        """Standard deviation (R, G, B) to divide the pixels by, as the backbone was trained."""
        return (0.5, 0.5, 0.5) if self.backbone in CENTRED else IMAGE_STD

    def with_backbone(self, backbone: str) -> ModelConfig:
        """The configuration with another backbone. Raises DataError for an unknown one."""
        known = get_args(Backbone)
        if backbone not in known:
            raise DataError(f"backbone: expected one of {', '.join(known)}, got {backbone!r}.")
        chosen: Any = backbone
        return replace(self, backbone=chosen)

    def for_densest(self, instances: int) -> ModelConfig:
        """The configuration with room for `instances` objects, those of the densest labelled image.

        It allows a quarter more detections than `instances`, and twice as many proposals. Limits
        are only raised, never lowered.
        """
        return replace(
            self,
            detections_per_image=max(self.detections_per_image, instances + -(-instances // 4)),
            proposals=max(self.proposals, 2 * instances),
        )

    def working_size(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) px to which an image of this size is resized for the model."""
        return working_size(height, width, self.min_size, self.max_size)


def working_size(height: int, width: int, shorter: int | None, longer: int) -> tuple[int, int]:
    """The largest (height, width) px with the image's aspect ratio within two limits, px.

    shorter, longer: limits of the shorter and the longer side. If `shorter` is None, the image is
    never enlarged.
    """
    scale = longer / max(height, width)
    scale = min(scale, 1.0 if shorter is None else shorter / min(height, width))
    return max(1, int(height * scale)), max(1, int(width * scale))


class _Resize(GeneralizedRCNNTransform):  # type: ignore[misc]
    """torchvision's transform with the working size of the config.

    It does not resize in training, since `taudis.training.samples` gives images at their working
    size. Unlike torchvision's, a side is at least 1 px after scaling.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(
            config.min_size or config.max_size,
            config.max_size,
            list(config.image_mean),
            list(config.image_std),
        )
        self.config = config

    def resize(
        self, image: Tensor, target: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor] | None]:
        """The image [3,H,W] at its working size. The target is returned unchanged."""
        size = self.config.working_size(*image.shape[-2:])
        if self.training or size == tuple(image.shape[-2:]):
            return image, target
        scaled = functional.interpolate(image[None], size=size, mode="bilinear")
        return scaled[0], target


class _Backbone(BackboneWithFPN):  # type: ignore[misc]
    """torchvision's backbone with float32 feature maps, also if it computes in bfloat16.

    Anchors and boxes inherit the type of the feature maps. In bfloat16, coordinates near 300 px are
    multiples of 2 px: proposals move, small ones lose their area, and the box loss becomes NaN. RoI
    align needs float32 anyway. For the same reason the heads below return float32.
    """

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Feature maps [B,D',h,w] by level, finest first."""
        return {name: level.float() for name, level in super().forward(x).items()}


class _RPNHead(RPNHead):  # type: ignore[misc]
    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Objectness and box deltas of each level."""
        objectness, deltas = super().forward(x)
        return [level.float() for level in objectness], [level.float() for level in deltas]


class _BoxPredictor(FastRCNNPredictor):  # type: ignore[misc]
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits [n,K+1] and box deltas [n,4(K+1)]."""
        scores, deltas = super().forward(x)
        return scores.float(), deltas.float()


def _backbone(config: ModelConfig) -> nn.Module:
    """Four stages of strides 4, 8, 16, 32 with an FPN on top, all layers trainable."""
    body, layers, widths = make_backbone(config.backbone, config.norm)
    return _Backbone(body, layers, widths, config.fpn_width)


def make_model(config: ModelConfig, num_labels: int) -> MaskRCNN:
    """A torchvision MaskRCNN of K = num_labels labels and background, freshly initialised.

    Draws from torch's global generator. Raises DataError for less than one label.
    """
    if num_labels < 1:
        raise DataError(f"num_labels: expected at least 1, got {num_labels}.")
    # Checkpoints have no anchors, so anchors made on the "meta" device would stay without values.
    with torch.device("cpu"):
        anchors = AnchorGenerator(
            tuple((size,) for size in config.anchors), ((0.5, 1.0, 2.0),) * len(config.anchors)
        )
    model = MaskRCNN(
        _backbone(config),
        rpn_anchor_generator=anchors,
        rpn_head=_RPNHead(config.fpn_width, anchors.num_anchors_per_location()[0]),
        rpn_pre_nms_top_n_train=2 * config.proposals,
        rpn_pre_nms_top_n_test=config.proposals,
        rpn_post_nms_top_n_train=config.proposals,
        rpn_post_nms_top_n_test=config.proposals,
        rpn_nms_thresh=config.proposals_nms,
        rpn_batch_size_per_image=config.rpn_samples,
        box_head=TwoMLPHead(config.fpn_width * 7 * 7, config.box_mlp),
        box_predictor=_BoxPredictor(config.box_mlp, num_labels + 1),
        box_score_thresh=config.score_threshold,
        box_nms_thresh=config.nms,
        box_detections_per_img=config.detections_per_image,
        box_batch_size_per_image=config.box_samples,
        mask_head=MaskRCNNHeads(config.fpn_width, config.mask_head, 1),
        mask_predictor=MaskRCNNPredictor(config.mask_head[-1], config.mask_deconv, num_labels + 1),
    )
    model.transform = _Resize(config)
    return model


def build_model(
    config: ModelConfig,
    num_labels: int,
    *,
    seed: int,
    weights: str = "none",
    weights_dir: Path | None = None,
) -> MaskRCNN:
    """A model to train: initialised with random numbers from `seed`, then from `weights`.

    weights: 'none', 'imagenet', 'coco' or a path. weights_dir: a folder for the ImageNet weights.
    The state of torch's global generator does not change. Raises WeightsError if the weights are
    not available or do not fit, and if a frozen batch norm would be trained without weights.
    """
    if config.norm in ("frozen", "folded") and weights == "none":
        raise WeightsError(
            f"Weights 'none': a model with {config.norm} batch norm cannot be trained from scratch."
            " Give weights 'imagenet', 'coco' or a path, or choose a model with norm 'group'."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make_model(config, num_labels)
    load_initial(model, weights, backbone=config.backbone, norm=config.norm, folder=weights_dir)
    return model

"""Mask R-CNN with FPN: one forward pass gives boxes, scores, p_n, m_n, r_n, image embedding.

torchvision's model is used as it is; `Detector` runs its public parts in their own order and keeps
what the stock call throws away. Letters: n detections, K labels, M = 28 mask side, D embedding
width, D' FPN width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import resnet
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import maskrcnn_inference, paste_masks_in_image
from torchvision.models.detection.rpn import RPNHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops import boxes as box_ops

from taudis.errors import DataError, WeightsError
from taudis.instances import BoolArray, FloatArray, Instances, LabelMap
from taudis.weights import load_initial

Image = npt.NDArray[np.uint8]
Embedding = Literal["mask", "box"]

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ModelConfig:
    """The architecture and its thresholds; `dataclasses.asdict` of it goes into JSON and back."""

    backbone: Literal["resnet18", "resnet50"] = "resnet18"
    norm: Literal["group", "batch", "frozen"] = "group"  # frozen batch norm wants weights
    fpn_width: int = 64
    box_mlp: int = 256
    mask_head: tuple[int, ...] = (64, 64, 64, 64)  # widths of the 3x3 convolutions
    mask_deconv: int = 64
    min_size: int | None = None  # px of the shorter side; None: the image's own, never enlarged
    max_size: int = 512  # px of the longer side
    anchors: tuple[int, ...] = (8, 16, 32, 64, 128)  # px at the working size, one an FPN level
    rpn_samples: int = 64  # anchors per image in the RPN loss
    box_samples: int = 64  # proposals per image in the box loss
    proposals: int = 150  # kept after the RPN's NMS, per image
    proposals_nms: float = 0.7
    score_threshold: float = 0.05  # T_F: what counts as a detection
    nms: float = 0.5
    detections_per_image: int = 100

    @classmethod
    def small(cls) -> ModelConfig:
        """What two CPU cores train in a minute from scratch (docs/decisions/0004-detector.md)."""
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
        """The inverse of `dataclasses.asdict`, also after JSON made lists of tuples."""
        try:
            fields: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            return cls(**fields)
        except TypeError as error:
            raise DataError(f"ModelConfig: {error}; it was written by another version.") from None

    def working_size(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) px at which an image of this size goes through the model."""
        scale = self.max_size / max(height, width)
        scale = min(scale, 1.0 if self.min_size is None else self.min_size / min(height, width))
        return max(1, int(height * scale)), max(1, int(width * scale))


class _Resize(GeneralizedRCNNTransform):  # type: ignore[misc]
    """torchvision's transform with the working size of the config.

    Training images arrive at their working size already (taudis.augment), so nothing is resized
    then; elsewhere an image thinner than a pixel after scaling keeps one pixel.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(
            config.min_size or config.max_size, config.max_size, list(IMAGE_MEAN), list(IMAGE_STD)
        )
        self.config = config

    def resize(
        self, image: Tensor, target: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor] | None]:
        """The image [3,H,W] at its working size; targets are untouched (training only)."""
        size = self.config.working_size(*image.shape[-2:])
        if self.training or size == tuple(image.shape[-2:]):
            return image, target
        scaled = functional.interpolate(image[None], size=size, mode="bilinear")
        return scaled[0], target


def _norm_layer(config: ModelConfig) -> Callable[[int], nn.Module]:
    if config.norm == "group":
        return lambda channels: nn.GroupNorm(min(32, channels // 2), channels)
    return nn.BatchNorm2d if config.norm == "batch" else FrozenBatchNorm2d


def _backbone(config: ModelConfig) -> nn.Module:
    """ResNet stages 2-5 with an FPN on top, all layers trainable."""
    body = getattr(resnet, config.backbone)(weights=None, norm_layer=_norm_layer(config))
    width = body.inplanes // 8
    layers = {f"layer{stage}": str(stage - 1) for stage in (1, 2, 3, 4)}
    widths = [width * 2**stage for stage in range(4)]
    return BackboneWithFPN(body, layers, widths, config.fpn_width)  # type: ignore[no-any-return]


def make_model(config: ModelConfig, num_labels: int) -> MaskRCNN:
    """A torchvision MaskRCNN of K = num_labels labels and background, freshly initialised.

    Draws from torch's global generator. Raises DataError for less than one label.
    """
    if num_labels < 1:
        raise DataError(f"num_labels: expected at least 1, got {num_labels}.")
    anchors = AnchorGenerator(
        tuple((size,) for size in config.anchors), ((0.5, 1.0, 2.0),) * len(config.anchors)
    )
    model = MaskRCNN(
        _backbone(config),
        rpn_anchor_generator=anchors,
        rpn_head=RPNHead(config.fpn_width, anchors.num_anchors_per_location()[0]),
        rpn_pre_nms_top_n_train=2 * config.proposals,
        rpn_pre_nms_top_n_test=config.proposals,
        rpn_post_nms_top_n_train=config.proposals,
        rpn_post_nms_top_n_test=config.proposals,
        rpn_nms_thresh=config.proposals_nms,
        rpn_batch_size_per_image=config.rpn_samples,
        box_head=TwoMLPHead(config.fpn_width * 7 * 7, config.box_mlp),
        box_predictor=FastRCNNPredictor(config.box_mlp, num_labels + 1),
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
    config: ModelConfig, num_labels: int, *, seed: int, weights: str = "none"
) -> MaskRCNN:
    """A model to train: initialised from `seed`, then from `weights` ('none', 'coco' or a path).

    torch's global generator is left as it was. Raises WeightsError where the weights cannot be had
    or do not fit, or where a frozen batch norm would be trained from nothing.
    """
    if config.norm == "frozen" and weights == "none":
        raise WeightsError(
            "Weights 'none': a model with frozen batch norm cannot be trained from scratch. Give"
            " weights 'coco' or a path, or choose a model with norm 'group'."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make_model(config, num_labels)
    load_initial(model, weights)
    return model


@dataclass(frozen=True, eq=False)
class Detection:
    """What one image shows: its instances (image_index 0), and the image as one vector."""

    instances: Instances  # boxes in px of the original image, mask_probs [n,28,28]
    image_embedding: FloatArray  # [D'] float32, mean of the finest FPN level over the image
    size: tuple[int, int]  # (height, width) px of the original image

    def masks(self, threshold: float = 0.5) -> BoolArray:
        """The masks [n,H,W] at the image's own size, as torchvision pastes them."""
        rows, (height, width) = self.instances, self.size
        pasted = np.zeros((len(rows), height, width), bool)
        probs = torch.from_numpy(rows.mask_probs)[:, None]
        boxes = torch.from_numpy(rows.boxes)
        for row in range(len(rows)):  # one at a time: float masks of a dense image are large
            one = slice(row, row + 1)
            pasted[row] = paste_masks_in_image(probs[one], boxes[one], self.size)[0, 0] >= threshold
        return pasted


def check_image(image: Image) -> None:
    """Raise DataError unless the image is uint8 [H,W,3] with at least one pixel."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        got = getattr(image, "dtype", type(image).__name__)
        raise DataError(f"image: expected a uint8 array [H, W, 3] in RGB, got {got}.")
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise DataError(f"image: expected shape [H, W, 3], got {list(image.shape)}.")


@dataclass(frozen=True, eq=False)
class Detector:
    """A model with its labels, ready to look at images."""

    model: MaskRCNN
    config: ModelConfig
    label_map: LabelMap
    device: str = "cpu"

    def detect(
        self,
        images: Sequence[Image],
        *,
        embedding: Embedding = "mask",
        before_relu: bool = False,
    ) -> list[Detection]:
        """Detections of each image (uint8 [H,W,3] RGB, any sizes), in the order given.

        embedding: 'mask' averages the mask head's last 3x3 convolution over its 14x14 cells at the
        final boxes (before its ReLU if `before_relu`), 'box' takes the box head's last layer at
        the proposal. Images of one size go through the model together and others do not, so that
        padding never changes what an image yields. Raises DataError for anything but such images.
        """
        for image in images:
            check_image(image)
        groups: dict[tuple[int, ...], list[int]] = {}
        for row, image in enumerate(images):
            groups.setdefault(image.shape, []).append(row)
        found: dict[int, Detection] = {}
        self.model.eval()
        for rows in groups.values():
            batch = [to_tensor(images[row]).to(self.device) for row in rows]
            found.update(zip(rows, self._forward(batch, embedding, before_relu), strict=True))
        return [found[row] for row in range(len(images))]

    @torch.inference_mode()
    def _forward(
        self, images: list[Tensor], embedding: Embedding, before_relu: bool
    ) -> Iterable[Detection]:
        """The stock forward pass (torchvision GeneralizedRCNN, RoIHeads), nothing thrown away."""
        model, heads = self.model, self.model.roi_heads
        original = [(int(image.shape[1]), int(image.shape[2])) for image in images]

        # Image to features to proposals
        batch, _ = model.transform(images)
        features = model.backbone(batch.tensors)
        proposals, _ = model.rpn(batch, features)

        # Box branch: class logits and boxes of every proposal, then which of them to keep
        rois = heads.box_roi_pool(features, proposals, batch.image_sizes)
        hidden = heads.box_head(rois)  # [proposals,D] of the box branch
        class_logits, box_deltas = heads.box_predictor(hidden)
        chosen = self._select(class_logits, box_deltas, proposals, batch.image_sizes)
        counts = [len(pick.labels) for pick in chosen]
        class_probs = functional.softmax(class_logits, -1)[torch.cat([p.rows for p in chosen])]

        # Mask branch at the final boxes; its last block is split to reach before the ReLU
        rois = heads.mask_roi_pool(features, [pick.boxes for pick in chosen], batch.image_sizes)
        *blocks, (*linear_layers, relu) = (list(block) for block in heads.mask_head)
        for layer in (*chain.from_iterable(blocks), *linear_layers):
            rois = layer(rois)
        before = rois.mean((2, 3)) if before_relu else None  # the ReLU works in place
        active = relu(rois)  # [n,D,14,14]
        logits = heads.mask_predictor(active)  # [n,K+1,28,28]
        labels = [pick.labels for pick in chosen]
        mask_probs = maskrcnn_inference(logits, labels)

        # The paper's r_n and the image embedding
        if embedding == "box":
            vectors = hidden[torch.cat([p.rows for p in chosen])]
        else:
            vectors = active.mean((2, 3)) if before is None else before
        whole = [
            _mean_over_image(level, batch.tensors.shape[-2:], size)
            for level, size in zip(features["0"], batch.image_sizes, strict=True)
        ]

        # Boxes back to the px of the original images
        results = [{"boxes": pick.boxes} for pick in chosen]
        boxes = model.transform.postprocess(results, batch.image_sizes, original)
        per_image = zip(
            boxes,
            chosen,
            torch.split(class_probs, counts),
            torch.split(vectors, counts),
            mask_probs,
            whole,
            original,
            strict=True,
        )
        return [
            Detection(
                Instances(
                    np.zeros(len(pick.labels), np.int64),
                    _numpy(box["boxes"]),
                    _numpy(pick.scores),
                    pick.labels.cpu().numpy(),
                    _numpy(probs),
                    _numpy(vector),
                    _numpy(masks[:, 0]),
                ),
                _numpy(image_vector),
                size,
            )
            for box, pick, probs, vector, masks, image_vector, size in per_image
        ]

    def _select(
        self,
        class_logits: Tensor,
        box_deltas: Tensor,
        proposals: list[Tensor],
        sizes: list[tuple[int, int]],
    ) -> list[_Chosen]:
        """RoIHeads.postprocess_detections, which forgets the proposal's row, with the row."""
        heads, counts = self.model.roi_heads, [len(rows) for rows in proposals]
        columns = class_logits.shape[-1]
        all_boxes = torch.split(heads.box_coder.decode(box_deltas, proposals), counts)
        all_scores = torch.split(functional.softmax(class_logits, -1), counts)
        chosen, first = [], 0
        for count, boxes, scores, size in zip(counts, all_boxes, all_scores, sizes, strict=True):
            # Every pair of proposal and label but background is a candidate: [count * K]
            boxes = box_ops.clip_boxes_to_image(boxes, size)[:, 1:].reshape(-1, 4)
            scores = scores[:, 1:].reshape(-1)
            labels = torch.arange(1, columns, device=scores.device).repeat(count)
            rows = torch.arange(count, device=scores.device).repeat_interleave(columns - 1) + first
            keep = torch.where(scores > heads.score_thresh)[0]
            keep = keep[box_ops.remove_small_boxes(boxes[keep], min_size=1e-2)]
            kept = box_ops.batched_nms(boxes[keep], scores[keep], labels[keep], heads.nms_thresh)
            keep = keep[kept[: heads.detections_per_img]]
            chosen.append(_Chosen(rows[keep], boxes[keep], scores[keep], labels[keep]))
            first += count
        return chosen


@dataclass(frozen=True, eq=False)
class _Chosen:
    """The detections of one image: proposal rows [n] in the batch, boxes, scores, labels."""

    rows: Tensor
    boxes: Tensor
    scores: Tensor
    labels: Tensor


def _numpy(tensor: Tensor) -> FloatArray:
    array: FloatArray = tensor.float().cpu().numpy()
    return array


def _mean_over_image(level: Tensor, padded: Sequence[int], size: Sequence[int]) -> Tensor:
    """The mean [D'] of one image's feature map [D',h,w] over the cells that hold its pixels."""
    rows, columns = (
        -(-own * cells // whole)
        for own, cells, whole in zip(size, level.shape[-2:], padded, strict=True)
    )
    return level[:, :rows, :columns].mean((1, 2))


def to_tensor(image: Image) -> Tensor:
    """uint8 [H,W,3] in 0..255 to float32 [3,H,W] in 0..1."""
    return torch.from_numpy(image.transpose(2, 0, 1).copy()).float() / 255.0

"""Detects objects with Mask R-CNN: a single forward pass gives all values for the selection.

These are box, score, class probabilities p_n, mask m_n and embedding r_n of each object, and an
embedding of the image. torchvision's model discards p_n and r_n. `Detector` calls the parts of
torchvision's model in the same order and keeps them. Letters: n detections, K labels, M = 28 mask
side, D embedding width, D' FPN width.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import maskrcnn_inference
from torchvision.ops import boxes as box_ops

from taudis.detector.architecture import ModelConfig
from taudis.detector.fast import Engine, can_run
from taudis.errors import DataError
from taudis.types import Detection, Embedding, FloatArray, Image, Instances, LabelMap, check_image

_PROPOSALS, _DETECTIONS = 64, 16  # a fast detector pads to multiples of these numbers


def has_bf16(device: str) -> bool:
    """Whether this CPU or GPU has bfloat16 instructions, so that it is faster than float32."""
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))


@dataclass(frozen=True, eq=False)
class Detector:
    """A model with its labels, ready to detect objects in images."""

    model: MaskRCNN
    config: ModelConfig
    label_map: LabelMap
    device: str = "cpu"
    precision: Literal["fp32", "bf16"] = "fp32"
    few_shapes: bool = False  # whether numbers of proposals and detections are padded
    engine: Engine | None = None  # a faster way to run the model

    def fast(self) -> Detector:
        """A copy for many images: in bfloat16 if the hardware has it, and with few tensor shapes.

        oneDNN compiles and keeps a kernel for each number of detections. With padding there are few
        such numbers, so memory does not grow from a hundred to a thousand images. On a CPU,
        `taudis.detector.fast` runs the model (decision 23). A loaded detector equals torchvision's
        model bit for bit. A fast one differs by rounding, in bfloat16 by more:
        benchmarks/scoring.py prints the speed and the change of mAP50. Never save a fast detector,
        because its weights are rounded.
        """
        few = replace(self, few_shapes=True)
        if self.few_shapes:
            return self
        bf16 = self.precision == "bf16" or has_bf16(self.device)
        if self.device == "cpu" and can_run(self.model):
            engine = Engine(self.model, torch.bfloat16 if bf16 else torch.float32)
            return replace(few, engine=engine, precision="bf16" if bf16 else "fp32")
        if self.precision == "bf16" or not bf16:
            return few
        # Round the weights once, instead of in every call as autocast would.
        rounded = copy.deepcopy(self.model).to(torch.bfloat16, memory_format=torch.channels_last)
        return replace(few, model=rounded, precision="bf16")

    def embedding_width(self, embedding: Embedding) -> int:
        """D, the width of the instance embeddings of a branch. Raises DataError for 'query'."""
        if embedding == "query":
            raise DataError(
                "embedding: expected mask or box for a Mask R-CNN, which has no queries, got query."
            )
        return self.config.box_mlp if embedding == "box" else self.config.mask_head[-1]

    @property
    def image_embedding_width(self) -> int:
        """D', the width of `Detection.image_embedding`."""
        return self.config.fpn_width

    def detect(
        self,
        images: Sequence[Image],
        *,
        embedding: Embedding = "mask",
        before_relu: bool = False,
    ) -> list[Detection]:
        """Detections of each image (uint8 [H,W,3] RGB, any sizes), in the given order.

        embedding: 'mask' is the mean of the mask head's last 3x3 convolution over its 14x14 cells
        at the final boxes (before its ReLU if `before_relu`). 'box' is the box head's last layer at
        the proposal. Only images of the same size go through the model together, so that no result
        depends on padding. Raises DataError for other images.
        """
        for image in images:
            check_image(image)
        self.embedding_width(embedding)
        found: dict[int, Detection] = {}
        self.model.eval()
        for rows in grouped_by_shape(images):
            height, width, _ = images[rows[0]].shape
            if self.engine is not None:
                pixels = torch.cat([self._resized(images[row], self.engine.dtype) for row in rows])
                detections = self._run(self.engine, pixels, (height, width), embedding, before_relu)
                found.update(zip(rows, detections, strict=True))
                continue
            batch = [self._at_working_size(images[row]) for row in rows]
            with torch.autocast(
                self.device.split(":")[0], torch.bfloat16, enabled=self.precision == "bf16"
            ):
                detections = self._forward(batch, (height, width), embedding, before_relu)
            found.update(zip(rows, detections, strict=True))
        return [found[row] for row in range(len(images))]

    def _mean_and_deviation(self, pixels: Tensor) -> list[Tensor]:
        """The model's mean and standard deviation of pixels in 0..1, [3,1,1], typed as `pixels`."""
        transform = self.model.transform
        pair = transform.image_mean, transform.image_std
        return [pixels.new_tensor(values)[:, None, None] for values in pair]

    @torch.inference_mode()
    def _at_working_size(self, image: Image) -> Tensor:
        """An image [H,W,3] as input of the model [3,h,w]: torchvision's transform without copies.

        It works in place and on one image, because an image of 12 Mpx takes 144 MB as float32.
        """
        transform = self.model.transform
        pixels = to_tensor(image).to(self.device)
        mean, std = self._mean_and_deviation(pixels)
        resized: Tensor = transform.resize(pixels.sub_(mean).div_(std), None)[0]
        return resized

    @torch.inference_mode()
    def _resized(self, image: Image, dtype: torch.dtype) -> Tensor:
        """`_at_working_size` up to rounding, [1,3,h,w] channels last: it resizes before scaling."""
        transform = self.model.transform
        pixels = torch.from_numpy(image).float().permute(2, 0, 1)
        resized: Tensor = transform.resize(pixels, None)[0]
        mean, std = self._mean_and_deviation(pixels)
        normal = torch.addcmul(-mean / std, resized, 1 / (255 * std))
        return normal[None].to(dtype, memory_format=torch.channels_last)

    # long: the same order as the forward pass of torchvision, so that both can be compared
    @torch.inference_mode()
    def _forward(
        self,
        images: list[Tensor],
        size: tuple[int, int],
        embedding: Embedding,
        before_relu: bool,
    ) -> list[Detection]:
        """The forward pass of torchvision (GeneralizedRCNN, RoIHeads), keeping p_n and r_n.

        images: [3,h,w] at the working size. size: their original (height, width) px.
        """
        model, heads = self.model, self.model.roi_heads
        original = [size] * len(images)

        # Features and proposals
        padded = model.transform.batch_images(images, model.transform.size_divisible)
        batch = ImageList(padded, [(image.shape[1], image.shape[2]) for image in images])
        pixels = batch.tensors
        if self.precision == "bf16":
            pixels = pixels.to(torch.bfloat16, memory_format=torch.channels_last)
        features = model.backbone(pixels)
        proposals, _ = model.rpn(batch, features)

        # Box branch: class logits and boxes of every proposal, and the choice of detections
        rois = heads.box_roi_pool(features, proposals, batch.image_sizes)
        count = len(rois)
        padded_hidden = heads.box_head(self._padded(rois, _PROPOSALS))
        class_logits, box_deltas = (v[:count] for v in heads.box_predictor(padded_hidden))
        hidden = padded_hidden[:count]  # [proposals,D] of the box branch
        chosen = self._select(class_logits, box_deltas, proposals, batch.image_sizes)
        counts = [len(pick.labels) for pick in chosen]
        class_probs = functional.softmax(class_logits, -1)[torch.cat([p.rows for p in chosen])]

        # Mask branch at the final boxes; its last block is split to get values before the ReLU
        rois = heads.mask_roi_pool(features, [pick.boxes for pick in chosen], batch.image_sizes)
        rois = self._padded(rois, _DETECTIONS)
        *blocks, (*linear_layers, relu) = (list(block) for block in heads.mask_head)
        for layer in (*chain.from_iterable(blocks), *linear_layers):
            rois = layer(rois)
        before = rois.float().mean((2, 3)) if before_relu else None  # the ReLU works in place
        active = relu(rois)  # [n,D,14,14]
        logits = heads.mask_predictor(active)[: sum(counts)].float()  # [n,K+1,28,28]
        labels = [pick.labels for pick in chosen]
        mask_probs = maskrcnn_inference(logits, labels)

        # The paper's r_n and the image embedding
        if embedding == "box":
            vectors = hidden[torch.cat([p.rows for p in chosen])]
        else:
            vectors = (active.float().mean((2, 3)) if before is None else before)[: sum(counts)]
        whole = [
            _mean_over_image(level, batch.tensors.shape[-2:], size)
            for level, size in zip(features["0"], batch.image_sizes, strict=True)
        ]

        return self._detections(
            chosen, class_probs, vectors, mask_probs, whole, batch.image_sizes, original
        )

    @torch.inference_mode()
    def _run(
        self,
        engine: Engine,
        images: Tensor,
        size: tuple[int, int],
        embedding: Embedding,
        before_relu: bool,
    ) -> list[Detection]:
        """`_forward` by an `Engine`, for images [B,3,h,w] at the working size."""
        height, width = own = images.shape[-2], images.shape[-1]
        multiple = self.model.transform.size_divisible
        pixels = functional.pad(images, (0, -width % multiple, 0, -height % multiple))
        padded = pixels.shape[-2:]

        finest, table, heads = engine.features(pixels)
        proposals = engine.proposals(heads, own, padded)
        box = engine.boxes(table, proposals)
        chosen = self._select(box.logits, box.deltas, proposals, [own] * len(images))
        rows = torch.cat([pick.rows for pick in chosen])
        masks = engine.masks(
            table,
            [pick.boxes for pick in chosen],
            torch.cat([pick.labels for pick in chosen]),
            before_relu=before_relu,
        )
        vectors = box.hidden[rows] if embedding == "box" else masks.embeddings
        whole = [_mean_over_image(level.float(), padded, own) for level in finest]
        probs = functional.softmax(box.logits, -1)[rows]
        each = torch.split(masks.probs[:, None], [len(pick.labels) for pick in chosen])
        sizes = [own] * len(images), [size] * len(images)
        return self._detections(chosen, probs, vectors, each, whole, *sizes)

    def _detections(
        self,
        chosen: list[_Chosen],
        class_probs: Tensor,
        vectors: Tensor,
        mask_probs: Sequence[Tensor],
        whole: list[Tensor],
        sizes: list[tuple[int, int]],
        original: list[tuple[int, int]],
    ) -> list[Detection]:
        """The detections of each image, with boxes in px of the original image.

        class_probs: [n,K+1] and vectors: [n,D] of all images, concatenated. mask_probs: [n,1,M,M]
        and whole: [D'] of each image. sizes, original: (height, width) px.
        """
        results = [{"boxes": pick.boxes} for pick in chosen]
        boxes = self.model.transform.postprocess(results, sizes, original)
        counts = [len(pick.labels) for pick in chosen]
        rows = zip(
            boxes, chosen, torch.split(class_probs, counts), torch.split(vectors, counts),
            mask_probs, whole, original, strict=True,
        )  # fmt: skip
        return [
            Detection(
                Instances(
                    np.zeros(len(pick.labels), np.int64), to_numpy(box["boxes"]),
                    to_numpy(pick.scores), pick.labels.cpu().numpy(),
                    to_numpy(probs), to_numpy(vector), to_numpy(masks[:, 0]),
                ),
                to_numpy(image_vector), size,
            )
            for box, pick, probs, vector, masks, image_vector, size in rows
        ]  # fmt: skip

    def _padded(self, rois: Tensor, multiple: int) -> Tensor:
        """The RoIs [n,C,h,w], padded with zeros to a multiple of n if `few_shapes`."""
        if not self.few_shapes:
            return rois
        return functional.pad(rois, (0, 0, 0, 0, 0, 0, 0, -len(rois) % multiple))

    def _select(
        self,
        class_logits: Tensor,
        box_deltas: Tensor,
        proposals: list[Tensor],
        sizes: list[tuple[int, int]],
    ) -> list[_Chosen]:
        """RoIHeads.postprocess_detections, which also gives the proposal of each detection."""
        heads, counts = self.model.roi_heads, [len(rows) for rows in proposals]
        columns = class_logits.shape[-1]
        all_boxes = torch.split(heads.box_coder.decode(box_deltas, proposals), counts)
        all_scores = torch.split(functional.softmax(class_logits, -1), counts)
        chosen, first = [], 0
        for count, boxes, scores, size in zip(counts, all_boxes, all_scores, sizes, strict=True):
            # Every pair of a proposal and a label, without background: [count * K]
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
    """The detections of one image."""

    rows: Tensor  # [n] proposal of each, as a row of the batch's proposals
    boxes: Tensor  # [n,4] xyxy px at the working size
    scores: Tensor  # [n]
    labels: Tensor  # [n] 1..K


def grouped_by_shape(images: Sequence[Image]) -> list[list[int]]:
    """The rows of images, grouped by the image size."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, image in enumerate(images):
        groups.setdefault(image.shape, []).append(row)
    return list(groups.values())


def to_numpy(tensor: Tensor) -> FloatArray:
    """The tensor as a float32 array on the CPU."""
    array: FloatArray = tensor.float().cpu().numpy()
    return array


def _mean_over_image(level: Tensor, padded: Sequence[int], size: Sequence[int]) -> Tensor:
    """The mean [D'] of one image's feature map [D',h,w], without the cells of padding."""
    rows, columns = (
        -(-own * cells // whole)
        for own, cells, whole in zip(size, level.shape[-2:], padded, strict=True)
    )
    return level[:, :rows, :columns].mean((1, 2))


def to_tensor(image: Image) -> Tensor:
    """uint8 [H,W,3] in 0..255 to float32 [3,H,W] in 0..1."""
    return torch.from_numpy(image.transpose(2, 0, 1).copy()).float().div_(255.0)

"""Runs a Mask R-CNN on a CPU in less time than torchvision's forward pass, for inference only.

It differs from torchvision's pass in four ways, which change only speed and rounding:

- A layer and its ReLU are a single call of oneDNN, with weights in oneDNN's layout. PyTorch's
  compiler makes the same call on CPUs. If a build of PyTorch does not have it, the layer and the
  ReLU are called separately.
- Anchors and boxes are computed only for the best scores of each level.
- RoI align reads the same samples, but computes all channels of a cell at once, as a weighted sum
  of 16 rows (`embedding_bag`). torchvision's RoI align takes eleven times as long.
- The heads read the memory layout that RoI align writes, in parts that fit the caches. The last
  mask layer computes only the mask of the winning label.

Letters: B images, R RoIs, C channels of the feature maps, P cells per side, A anchors per cell,
K labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection import MaskRCNN
from torchvision.ops import boxes as box_ops

from taudis.detector.fused import Fused, joined, linear_relu, own, prepared
from taudis.detector.roi_align import STRIDES, RoITable, can_read

BOX_ROIS, MASK_ROIS = 128, 32
"""RoIs that go through a head together; a smaller last part is padded with zeros.

The number is constant because oneDNN compiles and keeps a kernel for each number, and because the
order of its sums, and so the rounding, depends on the number.
"""


class Features(NamedTuple):
    """The feature maps of a batch, and the output of the RPN for them."""

    finest: Tensor  # [B,C,h,w], the finest feature map
    table: RoITable  # the feature maps for RoI align
    rpn: list[Tensor]  # class logits and box deltas [B,5A,h,w] of each level, finest first


class Boxes(NamedTuple):
    """The output of the box branch for proposals."""

    logits: Tensor  # [R,K+1], classes
    deltas: Tensor  # [R,4(K+1)], boxes
    hidden: Tensor  # [R,D], the last hidden layer


class Masks(NamedTuple):
    """The output of the mask branch for RoIs."""

    probs: Tensor  # [R,28,28], of the given labels
    embeddings: Tensor  # [R,C']


class Engine:
    """The prepared parts of a model. Each method runs a part on a batch of images of one size."""

    def __init__(self, model: MaskRCNN, dtype: torch.dtype) -> None:
        """dtype: of the weights and feature maps, float32 or bfloat16."""
        self.dtype = dtype
        self.rpn, heads = model.rpn, model.roi_heads
        self.backbone = prepared(model.backbone, dtype)
        head = prepared(model.rpn.head, dtype)
        self.rpn_conv = head.conv
        self.anchors = model.rpn.anchor_generator.num_anchors_per_location()[0]
        self.rpn_out = joined(head.cls_logits, head.bbox_pred)
        self.box = _BoxHead(heads.box_head, heads.box_predictor, dtype)
        self.mask = _MaskHead(heads.mask_head, heads.mask_predictor, dtype)

    def features(self, pixels: Tensor) -> Features:
        """The feature maps of images [B,3,H,W], and the output of the RPN for them.

        Images are processed one by one, because the order of oneDNN's sums depends on the batch
        size. Batches of four are no faster.
        """
        pixels = pixels.to(self.dtype, memory_format=torch.channels_last)
        maps, heads = [], []
        for image in torch.split(pixels, 1):
            with torch.autocast("cpu", torch.bfloat16, enabled=self.dtype == torch.bfloat16):
                found = self.backbone.fpn(self.backbone.body(image))
            levels = [level.to(self.dtype) for level in found.values()]
            maps.append(levels)
            heads.append([self.rpn_out(self.rpn_conv(level)) for level in levels])
        table = RoITable(*(levels[: len(STRIDES)] for levels in maps))
        return Features(
            table.maps()[0], table, [torch.cat(each) for each in zip(*heads, strict=True)]
        )

    def proposals(
        self, heads: Sequence[Tensor], size: tuple[int, int], padded: Sequence[int]
    ) -> list[Tensor]:
        """The proposals [R,4] of each image: xyxy px.

        heads: `Features.rpn`. size: (height, width) of the images. padded: (height, width) of the
        batch's tensor, multiples of all strides.
        """
        rpn, found = self.rpn, list[tuple[Tensor, Tensor, Tensor]]()
        for row, head in enumerate(heads):
            flat = head.permute(0, 2, 3, 1)  # [B,h,w,5A]
            images, height, width, _ = flat.shape
            logits = flat[..., : self.anchors].reshape(images, -1).float()
            scores, at = logits.topk(min(rpn.pre_nms_top_n(), logits.shape[1]))
            cell, kind = at // self.anchors, at % self.anchors
            chosen = flat.reshape(images, height * width, -1).gather(
                1, cell[..., None].expand(-1, -1, flat.shape[-1])
            )[..., self.anchors :]
            deltas = chosen.reshape(images, -1, self.anchors, 4).gather(
                2, kind[..., None, None].expand(-1, -1, 1, 4)
            )[:, :, 0]
            stride = cell.new_tensor((padded[1] // width, padded[0] // height) * 2)
            corner = torch.stack((cell % width, cell // width) * 2, -1) * stride
            anchors = corner + rpn.anchor_generator.cell_anchors[row][kind]
            boxes = rpn.box_coder.decode_single(
                deltas.reshape(-1, 4).float(), anchors.reshape(-1, 4)
            )
            found.append((boxes.view(images, -1, 4), scores.sigmoid(), torch.full_like(at, row)))
        boxes, scores, which = (torch.cat(each, 1) for each in zip(*found, strict=True))
        return [self._filtered(*each, size) for each in zip(boxes, scores, which, strict=True)]

    def _filtered(
        self, boxes: Tensor, scores: Tensor, level: Tensor, size: tuple[int, int]
    ) -> Tensor:
        """RegionProposalNetwork.filter_proposals for the best boxes of one image."""
        boxes = box_ops.clip_boxes_to_image(boxes, size)
        keep = box_ops.remove_small_boxes(boxes, self.rpn.min_size)
        keep = keep[scores[keep] >= self.rpn.score_thresh]
        kept = box_ops.batched_nms(boxes[keep], scores[keep], level[keep], self.rpn.nms_thresh)
        return boxes[keep[kept[: self.rpn.post_nms_top_n()]]]

    def boxes(self, table: RoITable, proposals: Sequence[Tensor]) -> Boxes:
        """The output of the box branch for the proposals [R,4] of each image, concatenated."""
        parts = [
            (self.box(table.pooled(rois, image, self.box.cells)), count)
            for rois, image, count in _in_parts(proposals, BOX_ROIS)
        ]
        return Boxes(*(torch.cat([each[row][:n] for each, n in parts]) for row in range(3)))

    def masks(
        self,
        table: RoITable,
        boxes: Sequence[Tensor],
        labels: Tensor,
        *,
        before_relu: bool,
    ) -> Masks:
        """The output of the mask branch for the boxes [R,4] of each image, concatenated.

        labels: [R] of all images. The embeddings are the means of the last 3x3 convolution, before
        its ReLU if `before_relu`.
        """
        first, probs, vectors = 0, [], []
        for rois, image, count in _in_parts(boxes, MASK_ROIS):
            wanted = functional.pad(labels[first : first + count], (0, len(rois) - count))
            some = self.mask(table.pooled(rois, image, self.mask.cells), wanted, before_relu)
            probs.append(some.probs[:count])
            vectors.append(some.embeddings[:count])
            first += count
        return Masks(torch.cat(probs), torch.cat(vectors))


def _in_parts(boxes: Sequence[Tensor], size: int) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Parts of `size` RoIs: (RoIs [R,4], their images [R], number of RoIs that are not padding).

    Padding is zeros. Without RoIs there is one part of padding, so that results have their shapes.
    """
    rois = torch.cat(list(boxes))
    image = torch.cat([torch.full((len(each),), row) for row, each in enumerate(boxes)])
    for start in range(0, max(1, len(rois)), size):
        some, where = rois[start : start + size], image[start : start + size]
        missing = size - len(some)
        yield (
            functional.pad(some, (0, 0, 0, missing)),
            functional.pad(where, (0, missing)),
            len(some),
        )


# --- the heads ------------------------------------------------------------------------------------


class _BoxHead:
    """TwoMLPHead and FastRCNNPredictor, for RoIs in channels-last layout."""

    def __init__(self, head: Any, predictor: Any, dtype: torch.dtype) -> None:
        self.cells = 7
        width = head.fc6.weight.shape[0]
        first = head.fc6.weight.detach().view(width, -1, self.cells**2).transpose(1, 2)
        self.layers = [
            (own(first.reshape(width, -1), dtype), own(head.fc6.bias, dtype)),
            (own(head.fc7.weight, dtype), own(head.fc7.bias, dtype)),
        ]
        both = predictor.cls_score, predictor.bbox_pred
        self.classes = both[0].weight.shape[0]
        self.weight = own(torch.cat([each.weight for each in both]), dtype)
        self.bias = own(torch.cat([each.bias for each in both]), dtype)

    def __call__(self, pooled: Tensor) -> Boxes:
        hidden = pooled.view(-1, self.layers[0][0].shape[1])
        for weight, bias in self.layers:
            hidden = linear_relu(hidden, weight, bias)
        out = functional.linear(hidden, self.weight, self.bias).float()
        return Boxes(out[:, : self.classes], out[:, self.classes :], hidden)


class _MaskHead:
    """MaskRCNNHeads and MaskRCNNPredictor, for RoIs in channels-last layout."""

    def __init__(self, head: Any, predictor: Any, dtype: torch.dtype) -> None:
        self.cells = 14
        layers = list(chain.from_iterable(head))
        convolutions = [each for each in layers if isinstance(each, nn.Conv2d)]
        self.blocks = [Fused(each, nn.ReLU, dtype) for each in convolutions[:-1]]
        self.last = Fused(convolutions[-1], None, dtype)
        up, out = predictor.conv5_mask, predictor.mask_fcn_logits
        # A 2x2 transposed convolution with stride 2 is a matrix for each of its four output cells.
        self.up = own(up.weight.detach().permute(2, 3, 1, 0).flatten(0, 2), dtype)
        self.up_bias = own(up.bias.detach().repeat(4), dtype)
        self.width = up.weight.shape[1]
        self.weight = own(out.weight.detach().flatten(1), dtype)
        self.bias = out.bias.detach().float()

    def __call__(self, pooled: Tensor, labels: Tensor, before_relu: bool) -> Masks:
        cells, count = self.cells, len(labels)
        x = pooled.view(count, cells, cells, -1).permute(0, 3, 1, 2)  # channels-last
        for block in self.blocks:
            x = block(x)
        x = self.last(x)
        before = x.float().mean((2, 3)) if before_relu else None
        x = x.relu_()
        vectors = x.float().mean((2, 3)) if before is None else before
        rows = x.permute(0, 2, 3, 1).reshape(count * cells * cells, -1)
        hidden = linear_relu(rows, self.up, self.up_bias)
        hidden = hidden.view(count, -1, self.width)  # [R,14*14*2*2,C'']
        logits = torch.bmm(hidden, self.weight[labels][:, :, None]).float()
        logits = logits[..., 0] + self.bias[labels][:, None]
        masks = logits.view(count, cells, cells, 2, 2).transpose(2, 3)
        return Masks(masks.reshape(count, 2 * cells, 2 * cells).sigmoid(), vectors)


def can_run(model: MaskRCNN) -> bool:
    """Whether `Engine` supports the model: its RoI aligns must have torchvision's default sizes."""
    pools = model.roi_heads.box_roi_pool, model.roi_heads.mask_roi_pool
    return [pool.output_size[0] for pool in pools] == [7, 14] and all(map(can_read, pools))

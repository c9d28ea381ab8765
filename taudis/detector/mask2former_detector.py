"""Detects objects with Mask2Former: p, m and r of each query that finds an object.

Letters: Q queries, n detections, K labels, M mask side, D width of an embedding, B images; h, w
height and width of the features, in cells of STRIDE px at the working size.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import roi_align

from taudis.detector.mask2former import CHUNK_CELLS, Mask2Former
from taudis.detector.mask2former_config import NAME, STRIDE, Mask2FormerConfig
from taudis.detector.mask_rcnn import grouped_by_shape, to_numpy, to_tensor
from taudis.errors import DataError
from taudis.types import Detection, Embedding, Image, Instances, LabelMap, check_image

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Mask2FormerDetector:
    """A model with its labels, ready to detect objects in images."""

    model: Mask2Former
    config: Mask2FormerConfig
    label_map: LabelMap
    device: str = "cpu"

    def fast(self) -> Mask2FormerDetector:
        """The detector itself, with a log message: a Mask2Former has no faster form."""
        logger.info("%s has no faster form: it runs in float32 as it was trained.", NAME)
        return self

    def embedding_width(self, embedding: Embedding) -> int:
        """D, the width of r_n for 'mask' or 'query'. Raises DataError for 'box'."""
        if embedding == "box":
            raise DataError(
                f"embedding: expected mask or query for a {NAME}, which has no box branch, got box."
            )
        return int(self.config_of_network("hidden_dim" if embedding == "query" else WIDTH))

    @property
    def image_embedding_width(self) -> int:
        """D', the width of `Detection.image_embedding`."""
        return int(self.config_of_network(WIDTH))

    def config_of_network(self, name: str) -> int:
        """An entry of transformers' configuration."""
        return int(getattr(self.model.network.config, name))

    def detect(self, images: Sequence[Image], *, embedding: Embedding = "mask") -> list[Detection]:
        """Detections of each image (uint8 [H,W,3] RGB, any sizes), in the given order.

        embedding: 'mask' is the mean of the pixel decoder's features over the mask, 'query' is the
        decoder's state of the query. Only images of the same size go through the model together, so
        that no result depends on padding. Raises DataError for 'box' and for other images.
        """
        self.embedding_width(embedding)
        for image in images:
            check_image(image)
        self.model.eval()
        found: dict[int, Detection] = {}
        for rows in grouped_by_shape(images):
            batch = [self._at_working_size(images[row]) for row in rows]
            size = images[rows[0]].shape[:2]
            for row, seen in zip(rows, self._seen(batch), strict=True):
                found[row] = self._detection(seen, (size[0], size[1]), embedding)
        return [found[row] for row in range(len(images))]

    @torch.inference_mode()
    def _at_working_size(self, image: Image) -> Tensor:
        """An image [H,W,3] as float32 [3,h,w] in 0..1 at its working size."""
        pixels = to_tensor(image).to(self.device)
        size = self.config.working_size(*image.shape[:2])
        if size == tuple(pixels.shape[-2:]):
            return pixels
        return functional.interpolate(pixels[None], size=size, mode="bilinear")[0]

    @torch.inference_mode()
    def _seen(self, images: list[Tensor]) -> list[_Seen]:
        """The output of the network for images [3,h,w] of the same size."""
        network = self.model.network
        transformer = network.model.transformer_module
        predictor = transformer.decoder.mask_predictor
        # transformers would keep the dense masks [B,Q,h,w] of every layer, which are not needed
        # after the attention has used them.
        hook = predictor.register_forward_hook(_without_masks)
        try:
            found = network.model(self.model.batch(images), output_hidden_states=True)
        finally:
            hook.remove()
        # These states are [Q,B,D], although transformers documents [B,Q,D]. They are normalised, as
        # p and m need them; `transformer_decoder_last_hidden_state` is not.
        states = found.transformer_decoder_intermediate_states[-1].transpose(0, 1)
        logits = network.class_predictor(states)
        kernels = predictor.mask_embedder(states)
        features = found.pixel_decoder_last_hidden_state
        size = images[0].shape[1], images[0].shape[2]
        return [
            _Seen(*rows, size)
            for rows in zip(
                background_first(logits.softmax(-1)), kernels, states, features, strict=True
            )
        ]

    @torch.inference_mode()
    def _detection(self, seen: _Seen, original: tuple[int, int], embedding: Embedding) -> Detection:
        """The detections of one image; `original` is its (height, width) px."""
        scores, labels = seen.class_probs[:, 1:].max(1)
        order = torch.argsort(scores, descending=True, stable=True)
        kept = order[scores[order] > self.config.score_threshold]
        boxes, masks, vectors, filled = seen.regions(kept, self.config.mask_side)
        # A query with an empty mask is not a detection. Of the others, the best ones are kept.
        kept, room = kept[filled], self.config.detections_per_image
        rows = kept[:room]
        scale = boxes.new_tensor([original[axis] / seen.size[axis] for axis in (1, 0, 1, 0)])
        if embedding == "query":
            vectors = seen.states[kept]
        instances = Instances(
            np.zeros(len(rows), np.int64),
            to_numpy(boxes[:room] * scale),
            to_numpy(scores[rows]),
            (labels[rows] + 1).cpu().numpy(),
            to_numpy(seen.class_probs[rows]),
            to_numpy(vectors[:room]),
            to_numpy(masks[:room]),
        )
        whole = seen.own_features.mean((1, 2))
        return Detection(instances, to_numpy(whole), original)


WIDTH = "mask_feature_size"


@dataclass(frozen=True, eq=False)
class _Seen:
    """The output of the network for one image."""

    class_probs: Tensor  # [Q,K+1], background first
    kernels: Tensor  # [Q,D]; the mask logits are their products with the features
    states: Tensor  # [Q,D''] of the decoder
    features: Tensor  # [D,h,w] of the pixel decoder, with padding
    size: tuple[int, int]  # (height, width) px of the image at its working size

    @property
    def own_features(self) -> Tensor:
        """The features without padding, [D,h',w']."""
        rows, columns = (-(-side // STRIDE) for side in self.size)
        return self.features[:, :rows, :columns]

    def regions(self, queries: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Boxes, masks and mean features of the queries whose mask is not empty.

        To limit memory, dense masks are made for as many queries at a time as CHUNK_CELLS allows.

        Returns:
            boxes [n,4] xyxy px at the working size, masks [n,side,side] 0..1, features [n,D],
            and for each of `queries` whether its mask is not empty.
        """
        chunk = max(1, CHUNK_CELLS // (self.size[0] * self.size[1]))
        parts = [self._regions(some, side) for some in torch.split(queries, chunk)]
        boxes, masks, vectors, filled = (torch.cat(rows) for rows in zip(*parts, strict=True))
        return boxes, masks, vectors, filled

    def _regions(self, queries: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        own = self.own_features
        logits = torch.einsum("qd,dhw->qhw", self.kernels[queries], own)[:, None]  # [q,1,h',w']
        # Boxes come from masks in px, because the border of a mask may lie within a cell.
        dense = functional.interpolate(logits, scale_factor=STRIDE, mode="bilinear")[:, 0]
        inside = dense[:, : self.size[0], : self.size[1]] > 0
        rows, columns = inside.any(2), inside.any(1)
        filled = rows.any(1)
        (top, bottom), (left, right) = _extent(rows[filled]), _extent(columns[filled])
        boxes = torch.stack([left, top, right, bottom], 1).float()

        # m: the logits inside the box, at M x M points
        index = torch.arange(len(boxes), device=boxes.device)[:, None]
        regions = torch.cat([index.float(), boxes], 1)
        cut = roi_align(logits[filled], regions, side, 1 / STRIDE, 2, aligned=True)

        # r: the features, averaged over the cells of the mask. A mask with px has at least one
        # cell, because interpolated logits never exceed the largest cell.
        cells = (logits[filled] > 0).float().flatten(1)
        vectors = cells @ own.flatten(1).T / cells.sum(1, keepdim=True)
        return boxes, cut[:, 0].sigmoid(), vectors, filled


def _without_masks(_layer: nn.Module, _given: object, found: tuple[Tensor, Tensor]) -> Any:
    """The output of transformers' mask predictor, with an empty tensor instead of dense masks."""
    masks, attention = found
    return masks.new_empty(0), attention


def background_first(probs: Tensor) -> Tensor:
    """Class probabilities [...,K+1] with the last column, "no object", moved to column 0."""
    return probs.roll(1, -1)


def _extent(filled: Tensor) -> tuple[Tensor, Tensor]:
    """For each row [n,L]: the position of the first True, and 1 + that of the last True.

    Every row must have a True.
    """
    flags = filled.int()
    return flags.argmax(1), filled.shape[1] - flags.flip(1).argmax(1)

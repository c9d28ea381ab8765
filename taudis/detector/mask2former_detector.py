"""Detects objects with Mask2Former: p, m and r of each query that shows an object.

Letters: Q queries, n detections, K labels, M mask side, D width of an embedding, B images, and h, w
cells of STRIDE px of the image at its working size.
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
        """The detector itself. A Mask2Former has no faster form; the log says so."""
        logger.info("%s has no faster form: it runs in float32 as it was trained.", NAME)
        return self

    def embedding_width(self, embedding: Embedding) -> int:
        """D, the width of r_n: 'mask' or 'query'. Raises DataError for 'box'."""
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
        """Detections of each image (uint8 [H,W,3] RGB, any sizes), in the order given.

        embedding: 'mask' averages the pixel decoder's features over the mask, 'query' takes the
        decoder's state of the query. Images of one size go through the model together and others
        do not, so that padding never changes what an image yields. Raises DataError for 'box' and
        for anything but such images.
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
        """What the network says of images [3,h,w] of one size."""
        network = self.model.network
        transformer = network.model.transformer_module
        predictor = transformer.decoder.mask_predictor
        # transformers keeps the dense masks [B,Q,h,w] of every layer. Its attention has used them.
        hook = predictor.register_forward_hook(_without_masks)
        try:
            found = network.model(self.model.batch(images), output_hidden_states=True)
        finally:
            hook.remove()
        # transformers documents [B,Q,D]; these are [Q,B,D], normalised, as p and m are made of
        # them. (`transformer_decoder_last_hidden_state` is [B,Q,D], not normalised.)
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
        # A query whose mask has no px is no detection. The best ones of the others stay.
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
    """What the network says of one image."""

    class_probs: Tensor  # [Q,K+1], background first
    kernels: Tensor  # [Q,D]: their products with the features are the mask logits
    states: Tensor  # [Q,D''], the decoder's
    features: Tensor  # [D,h,w], the pixel decoder's, padding included
    size: tuple[int, int]  # (height, width) px of the image at its working size

    @property
    def own_features(self) -> Tensor:
        """The features of the cells that hold the image's own px, [D,h',w']."""
        rows, columns = (-(-side // STRIDE) for side in self.size)
        return self.features[:, :rows, :columns]

    def regions(self, queries: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Boxes, masks and mean features of the queries that have a mask, and which have one.

        Dense masks are made for as many queries at a time as CHUNK_CELLS allows. So memory does not
        grow with the number of queries times the image's size.

        Returns:
            boxes [n,4] xyxy px at the working size, masks [n,side,side] 0..1, features [n,D],
            and a Boolean for each of `queries`.
        """
        chunk = max(1, CHUNK_CELLS // (self.size[0] * self.size[1]))
        parts = [self._regions(some, side) for some in torch.split(queries, chunk)]
        boxes, masks, vectors, filled = (torch.cat(rows) for rows in zip(*parts, strict=True))
        return boxes, masks, vectors, filled

    def _regions(self, queries: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        own = self.own_features
        logits = torch.einsum("qd,dhw->qhw", self.kernels[queries], own)[:, None]  # [q,1,h',w']
        # In px: bilinear interpolation puts the border of a mask between two cells.
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

        # r: the features, averaged over the cells of the mask. There is one, since interpolation
        # exceeds no cell.
        cells = (logits[filled] > 0).float().flatten(1)
        vectors = cells @ own.flatten(1).T / cells.sum(1, keepdim=True)
        return boxes, cut[:, 0].sigmoid(), vectors, filled


def _without_masks(_layer: nn.Module, _given: object, found: tuple[Tensor, Tensor]) -> Any:
    """What transformers' mask predictor gives, with an empty tensor for the dense masks."""
    masks, attention = found
    return masks.new_empty(0), attention


def background_first(probs: Tensor) -> Tensor:
    """Class probabilities [...,K+1] with "no object", the last column, as column 0."""
    return probs.roll(1, -1)


def _extent(filled: Tensor) -> tuple[Tensor, Tensor]:
    """First True and the place after the last one of each row [n,L]; each row has one."""
    flags = filled.int()
    return flags.argmax(1), filled.shape[1] - flags.flip(1).argmax(1)

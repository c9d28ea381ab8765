"""Detector to pool, streaming: masks become three numbers each and are dropped as images pass.

The one module that imports both halves of the library: the model, and what the paper asks of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np

from taudis.errors import DataError
from taudis.instances import FloatArray, Instances, Pool, Uncertainty
from taudis.mask_rcnn import Detection, Detector, Embedding, Image
from taudis.memory import is_out_of_memory
from taudis.uncertainty import uncertainty_of

logger = logging.getLogger(__name__)

BATCH_BYTES = 64_000_000
"""Decoded images held at a time: beyond this a batch is not filled up."""

OnImage = Callable[[int, Detection], None]


def mask_areas(instances: Instances) -> FloatArray:
    """The masks' areas [n] in px: the share of cells with m >= 0.5 times the box's area."""
    if instances.mask_probs is None:
        raise DataError("mask_areas: expected instances with mask_probs, got none.")
    sides = instances.boxes[:, 2:] - instances.boxes[:, :2]
    share = (instances.mask_probs >= 0.5).mean(axis=(1, 2))
    areas: FloatArray = (share * sides.prod(axis=1)).astype(np.float32)
    return areas


def _batches(images: Iterable[tuple[int, Image]], batch: int) -> Iterator[list[tuple[int, Image]]]:
    """Up to `batch` images each, fewer of large ones; emptied before the next ones are read."""
    rows: list[tuple[int, Image]] = []
    for row in images:
        rows.append(row)
        if len(rows) == batch or sum(image.nbytes for _, image in rows) >= BATCH_BYTES:
            yield rows
            rows.clear()
    if rows:
        yield rows


def _detect(detector: Detector, images: list[Image], embedding: Embedding) -> list[Detection]:
    """Detections, with half the images at a time where memory is short."""
    try:
        return detector.detect(images, embedding=embedding)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error) or len(images) == 1:
            raise
    middle = len(images) // 2
    logger.warning("Out of memory: scoring %d images at a time.", middle)
    return [
        *_detect(detector, images[:middle], embedding),
        *_detect(detector, images[middle:], embedding),
    ]


def score_pool(
    detector: Detector,
    images: Iterable[tuple[int, Image]],
    *,
    embedding: Embedding = "mask",
    on_image: OnImage | None = None,
    batch: int = 4,
) -> Pool:
    """Run the detector once over (image id, uint8 [H,W,3] RGB) pairs and keep what selection needs.

    `on_image` gets each image's full detection (with masks) as it passes. No images give an empty
    pool. Raises DataError for repeated ids, for a batch under 1, and for images that are none.
    """
    if batch < 1:
        raise DataError(f"batch: expected 1 or more, got {batch}.")
    parts = [_nothing(detector, embedding)]
    ids: list[int] = []
    sizes: list[tuple[int, int]] = []
    vectors: list[FloatArray] = []
    for rows in _batches(images, batch):
        found = _detect(detector, [image for _, image in rows], embedding)
        numbers = [number for number, _ in rows]
        for number, detection in zip(numbers, found, strict=True):
            parts.append(_kept(detection.instances, len(ids)))
            ids.append(number)
            sizes.append(detection.size)
            vectors.append(detection.image_embedding)
            if on_image is not None:
                on_image(number, detection)
    instances, uncertainties, areas = zip(*parts, strict=True)
    return Pool(
        image_ids=np.array(ids, np.int64),
        sizes=np.array(sizes, np.int64).reshape(-1, 2),
        instances=_joined(instances),
        uncertainty=Uncertainty(
            *(np.concatenate([getattr(u, f) for u in uncertainties]) for f in ("cm", "ce", "se"))
        ),
        mask_areas=np.concatenate(areas),
        image_embeddings=np.array(vectors, np.float32).reshape(-1, detector.config.fpn_width),
    )


Part = tuple[Instances, Uncertainty, FloatArray]


def _kept(instances: Instances, row: int) -> Part:
    """One image's share of the pool: its instances without masks, uncertainties, mask areas."""
    index = np.full(len(instances), row, np.int64)
    light = replace(instances, image_index=index, mask_probs=None)
    return light, uncertainty_of(instances), mask_areas(instances)


def _nothing(detector: Detector, embedding: Embedding) -> Part:
    """No instances, of the widths that this detector's have: an empty pool has shapes too."""
    config, labels = detector.config, len(detector.label_map)
    width = config.box_mlp if embedding == "box" else config.mask_head[-1]
    empty = np.zeros(0, np.float32)
    instances = Instances(
        np.zeros(0, np.int64), empty.reshape(0, 4), empty, np.zeros(0, np.int64),
        np.zeros((0, labels + 1), np.float32), np.zeros((0, width), np.float32),
    )  # fmt: skip
    return instances, Uncertainty(empty, empty, empty), empty


def _joined(parts: tuple[Instances, ...]) -> Instances:
    names = ("image_index", "boxes", "scores", "labels", "class_probs", "embeddings")
    return Instances(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

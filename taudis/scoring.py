"""Runs a model over images and makes the pool that the selection works on, image by image.

Masks are large, so each is reduced to its segmentation entropy and its area, and dropped. Memory
does not grow with the number of images. This module alone imports both the model and the paper's
uncertainties.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from taudis.data.pool_format import INSTANCES, MEASURES, POOL
from taudis.data.pool_writer import PoolWriter
from taudis.detector.adapter import Adapter
from taudis.detector.memory import FreePages, is_out_of_memory
from taudis.errors import DataError
from taudis.selection.uncertainty import uncertainty_of
from taudis.types import Detection, Embedding, FloatArray, Image, Instances, Pool, Uncertainty

logger = logging.getLogger(__name__)

BATCH_BYTES = 64_000_000
"""Decoded images held at a time: beyond this a batch is not filled up."""
_TIDY = 16  # images after which the size of the process is looked at

Made = TypeVar("Made")
OnImage = Callable[[int, Detection], None]


def mask_areas(instances: Instances) -> FloatArray:
    """The masks' areas [n] in px: the share of cells with m >= 0.5 times the box's area."""
    if instances.mask_probs is None:
        raise DataError("mask_areas: expected instances with mask_probs, got none.")
    sides = instances.boxes[:, 2:] - instances.boxes[:, :2]
    share = (instances.mask_probs >= 0.5).mean(axis=(1, 2))
    areas: FloatArray = (share * sides.prod(axis=1)).astype(np.float32)
    return areas


def batches(images: Iterable[tuple[int, Image]], batch: int) -> Iterator[list[tuple[int, Image]]]:
    """Up to `batch` images each, fewer of large ones; emptied before the next ones are read.

    No batch goes over a multiple of `batch` in the list. So a list and its blocks, of a multiple of
    `batch` images each, have the same batches, and a model whose numbers depend on the other images
    of a batch gives the same ones. Images so large that three of them fill a batch go 3, 1, 3, 1:
    four calls of the model for 8 images instead of three. That is the cost of the equality.
    """
    rows: list[tuple[int, Image]] = []
    for place, row in enumerate(images, start=1):
        rows.append(row)
        if place % batch == 0 or sum(image.nbytes for _, image in rows) >= BATCH_BYTES:
            yield rows
            rows.clear()
    if rows:
        yield rows


def _detect(model: Adapter, images: list[Image], embedding: Embedding) -> list[Detection]:
    """Detections, with half the images at a time where memory is short."""
    try:
        return list(model.detect(images, embedding=embedding))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error) or len(images) == 1:
            raise
    middle = len(images) // 2
    logger.warning("Out of memory: scoring %d images at a time.", middle)
    return [
        *_detect(model, images[:middle], embedding),
        *_detect(model, images[middle:], embedding),
    ]


def score_images(
    model: Adapter,
    images: Iterable[tuple[int, Image]],
    *,
    embedding: Embedding = "mask",
    batch: int = 4,
) -> Iterator[tuple[Pool, Detection]]:
    """Each image's share of the pool, as a pool of one image, and its detection with masks.

    `images` are (image id, uint8 [H,W,3] RGB) pairs; they are asked for `batch` at a time, fewer
    where they are large. Raises DataError for a batch under 1 and for images that are none.
    """
    if batch < 1:
        raise DataError(f"batch: expected 1 or more, got {batch}.")
    for rows in batches(images, batch):
        found = _detect(model, [image for _, image in rows], embedding)
        numbers = [number for number, _ in rows]
        for number, detection in zip(numbers, found, strict=True):
            yield _pool_of_one(number, detection), detection


def score_pool(
    detector: Adapter,
    images: Iterable[tuple[int, Image]],
    *,
    embedding: Embedding = "mask",
    on_image: OnImage | None = None,
    batch: int = 4,
) -> Pool:
    """Run the model once over (image id, uint8 [H,W,3] RGB) pairs and keep what selection needs.

    `on_image` gets each image's full detection (with masks) as it passes. No images give an empty
    pool. Raises DataError for repeated ids, for a batch under 1, and for images that are none.
    """
    parts = [empty_pool(detector, embedding)]
    for part, detection in score_images(detector, images, embedding=embedding, batch=batch):
        parts.append(part)
        if on_image is not None:
            on_image(int(part.image_ids[0]), detection)
    return join_pools(parts)


def score_to_file(
    path: Path,
    model: Adapter,
    images: Iterable[tuple[int, Image]],
    *,
    before: Iterable[Pool] = (),
    embedding: Embedding = "mask",
    on_image: OnImage | None = None,
    batch: int = 4,
    about: str = "",
    embedding_dtype: Literal["float16", "float32"] = "float16",
) -> tuple[int, int]:
    """`score_pool` into a pool file, in memory that does not grow with the pool.

    before: pools that the same model scored earlier; the file begins with them.
    about: free text on the model, kept in the file. Returns (images, instances). Raises what
    `score_pool` and PoolWriter raise; then no file is there, or the one of before.
    """
    return write_parts(
        path,
        model,
        score_images(model, images, embedding=embedding, batch=batch),
        before=before,
        embedding=embedding,
        on_part=on_image,
        about=about,
        embedding_dtype=embedding_dtype,
    )


def write_parts(
    path: Path,
    model: Adapter,
    parts: Iterable[tuple[Pool, Made]],
    *,
    before: Iterable[Pool] = (),
    embedding: Embedding = "mask",
    on_part: Callable[[int, Made], None] | None = None,
    about: str = "",
    embedding_dtype: Literal["float16", "float32"] = "float16",
) -> tuple[int, int]:
    """`score_to_file` for pools of one image that were scored by `model`, here or elsewhere.

    on_part: gets each image's id and what came with its pool, once its pool is written.
    """
    names, free_pages = model.label_map.names, FreePages()
    with PoolWriter(
        path, label_names=names, model=about, embedding_dtype=embedding_dtype
    ) as writer:
        for pool in chain([empty_pool(model, embedding)], before):
            writer.append(pool)
        for pool, made in parts:
            writer.append(pool)
            if on_part is not None:
                on_part(int(pool.image_ids[0]), made)
            if writer.images % _TIDY == 0:
                free_pages.give_back_if_grown()
    return writer.images, writer.instances


def _pool_of_one(number: int, detection: Detection) -> Pool:
    """One image's share of the pool: its instances without masks, uncertainties, mask areas."""
    rows = detection.instances
    return Pool(
        image_ids=np.array([number], np.int64),
        sizes=np.array([detection.size], np.int64),
        instances=replace(rows, image_index=np.zeros(len(rows), np.int64), mask_probs=None),
        uncertainty=uncertainty_of(rows),
        mask_areas=mask_areas(rows),
        image_embeddings=detection.image_embedding[None].astype(np.float32, copy=False),
    )


def empty_pool(model: Adapter, embedding: Embedding) -> Pool:
    """No images, of the widths that this model's have: an empty pool has shapes too."""
    empty, none = np.zeros(0, np.float32), np.zeros(0, np.int64)
    instances = Instances(
        none, empty.reshape(0, 4), empty, none,
        np.zeros((0, len(model.label_map) + 1), np.float32),
        np.zeros((0, model.embedding_width(embedding)), np.float32),
    )  # fmt: skip
    vectors = np.zeros((0, model.image_embedding_width), np.float32)
    measures = Uncertainty(empty, empty, empty)
    return Pool(none, none.reshape(0, 2), instances, measures, empty, vectors)


def join_pools(parts: Sequence[Pool]) -> Pool:
    """One pool of the images of all parts (at least one), in their order, all in memory.

    Raises DataError for image ids that occur twice.
    """
    starts = np.cumsum([0, *map(len, parts)])[:-1]
    shifted = [
        part.instances.image_index + start for part, start in zip(parts, starts, strict=True)
    ]
    return Pool(
        **{name: _joined(parts, name) for name in POOL},
        instances=Instances(
            np.concatenate(shifted),
            *(_joined([part.instances for part in parts], name) for name in INSTANCES[1:]),
        ),
        uncertainty=Uncertainty(
            *(_joined([part.uncertainty for part in parts], name) for name in MEASURES)
        ),
    )


def _joined(parts: Sequence[object], name: str) -> Any:
    return np.concatenate([getattr(part, name) for part in parts])

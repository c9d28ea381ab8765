"""Runs a model over images, and makes the pool for the selection image by image.

Masks are large, so only their segmentation entropy and their area are kept. Memory does not grow
with the number of images. Only this module imports both the detector and the uncertainties.
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
"""A batch is not filled up beyond this number of bytes of decoded images."""
_TIDY = 16  # images between checks of the size of the process

Made = TypeVar("Made")
OnImage = Callable[[int, Detection], None]


def mask_areas(instances: Instances) -> FloatArray:
    """The masks' areas [n] in px: the share of cells with m >= 0.5, times the box's area."""
    if instances.mask_probs is None:
        raise DataError("mask_areas: expected instances with mask_probs, got none.")
    sides = instances.boxes[:, 2:] - instances.boxes[:, :2]
    share = (instances.mask_probs >= 0.5).mean(axis=(1, 2))
    areas: FloatArray = (share * sides.prod(axis=1)).astype(np.float32)
    return areas


def batches(images: Iterable[tuple[int, Image]], batch: int) -> Iterator[list[tuple[int, Image]]]:
    """Batches of up to `batch` images, fewer if they are large. A batch is emptied after its use.

    A batch never crosses a multiple of `batch` in the list. So a list has the same batches as its
    blocks, if their size is a multiple of `batch`, and a model whose results depend on the batch
    gives the same results. The cost: if three large images fill a batch of 4, the batches are 3, 1,
    3, 1, that is four calls of the model for 8 images instead of three.
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
    """The detections. If memory is short, half of the images are processed at a time."""
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
    """For each image: a pool of one image, and its detection with masks.

    images: (image id, uint8 [H,W,3] RGB) pairs; up to `batch` of them are read at a time, fewer if
    they are large. Raises DataError for a batch below 1 and for invalid images.
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
    """Run a model over (image id, uint8 [H,W,3] RGB) pairs and make the pool for the selection.

    on_image: called with the id and the detection (with masks) of each image. Without images the
    pool is empty. Raises DataError for repeated ids, a batch below 1, and invalid images.
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
    """`score_pool` into a pool file, with memory that does not grow with the pool.

    before: pools that the same model scored earlier; they come first in the file. about: free text
    about the model, stored in the file. Returns (images, instances). Raises the errors of
    `score_pool` and PoolWriter; an existing file at `path` then stays.
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
    """`score_to_file` for pools of one image that are already scored by `model`.

    parts: (pool, any value) pairs. on_part: called with the image id and this value, after the pool
    is written.
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
    """The pool of one image: its instances without masks, uncertainties, mask areas."""
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
    """A pool without images, with the array widths of this model."""
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

"""Prepares training examples: random crops of labelled images, flipped, turned and recoloured.

Threads prepare examples in advance. An example depends only on the seed and its place in the
stream, so neither threads nor a restart change the examples.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F  # noqa: N812

from taudis.detector.registry import Config
from taudis.errors import DataError
from taudis.training.crowds import hide_crowds
from taudis.training.recipes import Recipe
from taudis.types import BoolArray, FloatArray, Image, IntArray, Target, check_image

CACHE_BYTES = 512 * 2**20
"""Memory for decoded and resized samples, which later epochs reuse."""

Example = tuple[Tensor, dict[str, Tensor]]


class Samples(Protocol):
    """Labelled images: an object with a length and (image, target) pairs; thread-safe."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Image, Target]: ...


@runtime_checkable
class _WithLabels(Protocol):
    """Samples that give the labels of an image without decoding it."""

    def labels_at(self, index: int) -> IntArray: ...


@runtime_checkable
class _WithIdentity(Protocol):
    """Samples that know a value which differs for other images or labels."""

    def identity(self) -> object: ...


def identity_of_samples(samples: Samples) -> object:
    """A value for `json.dumps` that differs for other samples, as far as they tell."""
    return samples.identity() if isinstance(samples, _WithIdentity) else len(samples)


def labels_of(samples: Samples, index: int) -> IntArray:
    """The labels [n] of an image's instances."""
    if isinstance(samples, _WithLabels):
        return samples.labels_at(index)
    return samples[index][1].labels


def repeat_factors(labels: Sequence[IntArray], threshold: float) -> FloatArray:
    """How often each image [I] is drawn per epoch, 1 or more: images with rare labels more often.

    Repeat-factor sampling (Gupta, Dollar, Girshick: LVIS, 2019). A label that a share f of the
    images shows has the factor max(1, sqrt(threshold / f)). An image has the largest factor of its
    labels.
    """
    present = [np.unique(row) for row in labels]
    counts = np.bincount(np.concatenate([np.zeros(0, np.int64), *present]))
    share = np.maximum(counts / max(1, len(labels)), np.finfo(float).tiny)
    wanted = np.maximum(1.0, np.sqrt(threshold / share))
    return np.array([wanted[row].max(initial=1.0) for row in present])


def check_sample(image: Image, target: Target, labels: int) -> None:
    """Raise DataError unless the target fits this image and a label map of `labels` labels."""
    check_image(image)
    if target.masks.shape[1:] != image.shape[:2] and len(target):
        raise DataError(
            f"Target.masks: expected the image's size {list(image.shape[:2])}, got"
            f" {list(target.masks.shape[1:])}."
        )
    if len(target) and target.labels.max() > labels:
        raise DataError(f"Target.labels: expected labels up to {labels}, got {target.labels.max()}")


HALF = 128
"""Half of a px, where 255 is a px that a mask covers."""


def at_working_size(image: Image, target: Target, config: Config) -> tuple[Image, Target]:
    """Image and masks at the model's working size.

    Both are resized by area averages when they shrink, else bilinearly. A mask has the px that it
    covers by half or more, see `_resized`. No object vanishes.
    """
    height, width = image.shape[:2]
    size = config.working_size(height, width)
    if size == (height, width):
        return image, target.in_memory()
    method = cv2.INTER_AREA if size[0] < height else cv2.INTER_LINEAR
    scaled = cv2.resize(image, size[::-1], interpolation=method).astype(np.uint8)
    masks = np.zeros((len(target), *size), bool)
    for row, mask in enumerate(target.masks):
        masks[row] = _resized(mask, size, method)
    return scaled, Target.from_masks(masks, target.labels, target.iscrowd)


def _resized(mask: BoolArray, size: tuple[int, int], method: int) -> BoolArray:
    """A mask [h,w] at another size (height, width): the px that it covers by half or more.

    OpenCV's INTER_NEAREST takes the px at a corner of each resized px, so the mask would lie up to
    half a px beside the image. method: OpenCV's, as for the image.

    A small or thin object may cover no px by half. It is then where it covers the px most, and half
    as much: an object that is not drawn would be trained as background.
    """
    covered = np.asarray(
        cv2.resize(mask.view(np.uint8) * np.uint8(255), size[::-1], interpolation=method)
    )
    if covered.max() >= HALF:
        return np.asarray(covered >= HALF, bool)
    if not mask.any():
        return np.zeros(size, bool)
    # Eight bits may not show an object in a very large image.
    share = np.asarray(
        cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
    )
    return np.asarray(2 * share >= share.max(), bool)


def prepare(image: Image, target: Target, config: Config, labels: int) -> tuple[Image, Target]:
    """The steps that are the same in every epoch: check, hide crowds, resize."""
    check_sample(image, target, labels)
    return at_working_size(*hide_crowds(image, target), config)


def _window(length: int, crop: int | None, rng: np.random.Generator) -> tuple[int, int]:
    """Start and size of a random window of `crop` px, or of the whole length if it is shorter."""
    size = length if crop is None else min(crop, length)
    return int(rng.integers(0, length - size + 1)), size


def _coloured(image: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Multiply brightness, contrast and saturation by random factors in 1 +- strength."""
    for adjust in (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation):
        image = adjust(image, float(rng.uniform(1 - strength, 1 + strength)))
    return image


def example(
    image: Image,
    target: Target,
    *,
    crop: int | None,
    turns: bool,
    colour: float = 0.0,
    rng: np.random.Generator,
) -> tuple[Tensor, dict[str, Tensor]]:
    """A random crop of a prepared image with the visible parts of its objects.

    All random parameters come from `rng`. torchvision's random transforms are not used, because
    they draw from torch's global generator, which threads would share.

    Returns the image float32 [3,h,w] in 0..1 and torchvision's target dictionary: tight boxes
    [n,4] of at least one pixel, labels [n], masks [n,h,w] uint8; n may be 0.
    """
    top, height = _window(image.shape[0], crop, rng)
    left, width = _window(image.shape[1], crop, rng)
    pixels = F.crop(torch.from_numpy(image).permute(2, 0, 1), top, left, height, width)
    masks = F.crop(torch.from_numpy(target.masks), top, left, height, width)
    if turns:
        quarters = int(rng.integers(4))
        pixels, masks = (torch.rot90(each, quarters, (1, 2)) for each in (pixels, masks))
    if rng.integers(2):
        pixels, masks = F.horizontal_flip(pixels), F.horizontal_flip(masks)
    if colour:
        pixels = _coloured(pixels, colour, rng)
    seen = Target.from_masks(np.ascontiguousarray(masks.numpy()), target.labels)
    return F.to_dtype(pixels.contiguous(), torch.float32, scale=True), {
        "boxes": torch.from_numpy(seen.boxes),
        "labels": torch.from_numpy(seen.labels),
        "masks": torch.from_numpy(seen.masks.view(np.uint8)),
    }


class Prepared:
    """Samples after `prepare`; up to CACHE_BYTES of them are kept in memory."""

    def __init__(self, samples: Samples, recipe: Recipe, labels: int) -> None:
        self.samples, self.config, self.labels = samples, recipe.model, labels
        self._cache: dict[int, tuple[Image, Target]] = {}
        self._free = CACHE_BYTES
        self._lock = threading.Lock()

    def __getitem__(self, index: int) -> tuple[Image, Target]:
        found = self._cache.get(index)
        if found is not None:
            return found
        pair = prepare(*self.samples[index], self.config, self.labels)
        cost = pair[0].nbytes + pair[1].masks.nbytes
        with self._lock:
            if cost <= self._free and index not in self._cache:
                self._cache[index] = pair
                self._free -= cost
        return pair


class Stream:
    """The endless stream of examples: shuffled epochs that depend only on the seed."""

    def __init__(self, samples: Samples, recipe: Recipe, labels: int, seed: int) -> None:
        self.recipe, self.seed = recipe, seed
        self.prepared = Prepared(samples, recipe, labels)
        self.factors: FloatArray = np.ones(len(samples))
        if recipe.balance:
            rows = [labels_of(samples, index) for index in range(len(samples))]
            self.factors = repeat_factors(rows, recipe.balance)
        # Every epoch has the same length, so the epoch can be computed from the place.
        self.epoch = round(float(self.factors.sum()))
        self._orders: dict[int, IntArray] = {}

    def order(self, epoch: int) -> IntArray:
        """The rows of the images of an epoch, shuffled: each as often as its repeat factor.

        For fractional factors, the extra draws are random.
        """
        known = self._orders.get(epoch)
        if known is None:
            rng = np.random.default_rng([self.seed, epoch, 0])
            known = rng.permutation(_repeated(self.factors, self.epoch, rng))
            self._orders = {epoch: known}
        return known

    def __getitem__(self, place: int) -> Example:
        """The example at a place: image float32 [3,h,w] in 0..1, and torchvision's target."""
        epoch, row = divmod(place, self.epoch)
        image, target = self.prepared[int(self.order(epoch)[row])]
        rng = np.random.default_rng([self.seed, place, 1])
        recipe = self.recipe
        return example(
            image, target, crop=recipe.crop, turns=recipe.turns, colour=recipe.colour, rng=rng
        )


def _repeated(factors: FloatArray, length: int, rng: np.random.Generator) -> IntArray:
    """`length` rows of 0..I-1, row i `factors[i]` times on average, by systematic sampling."""
    ends = np.cumsum(factors)
    if length == len(factors):
        return np.arange(length)
    points = (np.arange(length) + rng.random()) * ends[-1] / length
    rows: IntArray = np.searchsorted(ends, points, side="right")
    return np.minimum(rows, len(factors) - 1)


class Loader:
    """Reads a stream in threads, two batches ahead. A context manager."""

    def __init__(self, stream: Stream, *, last: int, workers: int = 1) -> None:
        self.stream, self.last = stream, last  # examples from place `last` on are not read ahead
        self.waited = 0.0  # seconds that steps waited for examples
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="examples")
        self._ahead: dict[int, Future[Example]] = {}

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def batch(self, first: int, size: int) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
        """The examples at places first .. first + size - 1. Raises the errors of the samples."""
        for place in range(first, max(first + size, min(first + 3 * size, self.last))):
            if place not in self._ahead:
                # The samples see the caller's context variables, which its log lines may show.
                run = copy_context().run
                self._ahead[place] = self._pool.submit(run, self.stream.__getitem__, place)
        started = time.monotonic()
        examples = [self._ahead[place].result() for place in range(first, first + size)]
        self.waited += time.monotonic() - started
        # The examples of this step are kept: after running out of memory, it needs them again.
        for place in [place for place in self._ahead if place < first]:
            del self._ahead[place]
        images, targets = zip(*examples, strict=True)
        return list(images), list(targets)

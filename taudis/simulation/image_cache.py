"""Keeps decoded images and resized training examples in memory for all models of a run."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from taudis.data.coco import CocoSamples
from taudis.detector.registry import Config
from taudis.training.samples import prepare
from taudis.types import Image, IntArray, Target

CACHE_BYTES = 1_000_000_000
"""Memory for decoded images and masks; the least recently used ones are removed first. (The cache
of a training, up to 512 MB, holds the same arrays.)"""

Entry = Image | tuple[Image, Target]


class ImageCache:
    """The images of a data set, decoded once and resized for training once. Thread-safe."""

    def __init__(
        self, samples: CocoSamples, labels: int, config: Config, limit: int = CACHE_BYTES
    ) -> None:
        self.samples, self.labels, self.config, self.limit = samples, labels, config, limit
        self.bytes = 0
        self._entries: OrderedDict[tuple[str, int], tuple[Entry, int]] = OrderedDict()
        self._lock = threading.Lock()

    def image(self, row: int) -> Image:
        """The image uint8 [H,W,3] at its original size. Raises DataError for a broken file."""
        found = self._find("image", row)
        if found is not None and not isinstance(found, tuple):
            return found
        image = self.samples.image(row)
        self._keep("image", row, image, image.nbytes)
        return image

    def training_pair(self, row: int) -> tuple[Image, Target]:
        """Image and target for training, before augmentation: at the working size, crowds hidden.

        `prepare` in the training step does not change such a pair. If it would, because rounding
        gives another size the second time, the pair is kept at its original size.
        """
        found = self._find("pair", row)
        if isinstance(found, tuple):
            return found
        image, target = self.image(row), self.samples.target(row)
        pair = prepare(image, target, self.config, self.labels)
        size = pair[0].shape[:2]
        if self.config.working_size(*size) != size:
            pair = image, target
        self._keep("pair", row, pair, pair[0].nbytes + pair[1].masks.nbytes)
        return pair

    def _find(self, kind: str, row: int) -> Entry | None:
        with self._lock:
            if (kind, row) not in self._entries:
                return None
            self._entries.move_to_end((kind, row))
            return self._entries[kind, row][0]

    def _keep(self, kind: str, row: int, entry: Entry, size: int) -> None:
        with self._lock:
            if (kind, row) in self._entries or size > self.limit:
                return
            self._entries[kind, row] = entry, size
            self.bytes += size
            while self.bytes > self.limit:
                _, (_, freed) = self._entries.popitem(last=False)
                self.bytes -= freed


class TrainingImages:
    """Some images of a cache as `taudis.training.samples.Samples`, in the given order."""

    def __init__(self, cache: ImageCache, rows: Sequence[int]) -> None:
        self.cache, self.rows = cache, list(rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int, /) -> tuple[Image, Target]:
        return self.cache.training_pair(self.rows[index])

    def labels_at(self, index: int) -> IntArray:
        """The labels [n] of an image's instances, without decoding it."""
        return self.cache.samples.labels_at(self.rows[index])


class EvaluationImages:
    """Some images of a cache with their ground truth, at their original size."""

    def __init__(self, cache: ImageCache, rows: Sequence[int]) -> None:
        self.cache, self.rows = cache, list(rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int, /) -> tuple[Image, Target]:
        row = self.rows[index]
        return self.cache.image(row), self.cache.samples.target(row)

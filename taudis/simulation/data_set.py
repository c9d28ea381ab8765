"""The data set of a run: its training and test images, accessed by image id."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from taudis.data.coco import CocoSamples
from taudis.detector.registry import Config
from taudis.errors import DataError
from taudis.files import sha256_of
from taudis.simulation.image_cache import EvaluationImages, ImageCache, TrainingImages
from taudis.simulation.split import split
from taudis.types import Image, LabelMap


@dataclass(frozen=True, eq=False)
class DataSet:
    """The images of a checked COCO file, divided into training and test images."""

    label_map: LabelMap
    samples: CocoSamples
    train_ids: tuple[int, ...]  # image ids, in the order of the file
    test_rows: tuple[int, ...]  # rows of the file
    cache: ImageCache
    row_of: dict[int, int]  # image id -> row

    def objects(self, ids: Iterable[int]) -> int:
        """Number of labelled objects in these images, without crowds."""
        return sum(len(self.samples.labels_at(self.row_of[number])) for number in ids)

    def image(self, number: int) -> Image:
        """The image of an id."""
        return self.cache.image(self.row_of[number])

    def training_images(self, ids: Iterable[int]) -> TrainingImages:
        """Labelled images to train on, in the order of the file, not of the choice."""
        return TrainingImages(self.cache, sorted(self.row_of[number] for number in ids))

    def pairs(self, ids: Iterable[int]) -> EvaluationImages:
        """These images with their ground truth, in the given order."""
        return EvaluationImages(self.cache, [self.row_of[number] for number in ids])

    @property
    def test(self) -> EvaluationImages:
        """The test images with their ground truth."""
        return EvaluationImages(self.cache, self.test_rows)


def divided(
    samples: CocoSamples, *, share: float, seed: int, group: str
) -> tuple[list[int], list[int]]:
    """The rows of the training and of the test images; see `split`.

    Also raises DataError if the test images have no object, because mAP would be undefined.
    """
    train, test = split(samples.file_names, share=share, seed=seed, group=group)
    if not any(len(samples.labels_at(row)) for row in test):
        raise DataError(
            f"expected labelled objects in the {len(test)} test images, got none. Change"
            " --split-seed, --test-share or --group."
        )
    return train, test


def data_set(
    label_map: LabelMap,
    samples: CocoSamples,
    rows: tuple[Sequence[int], Sequence[int]],
    config: Config,
) -> DataSet:
    """The data set. rows: of training and test images. config: of the model to train."""
    train, test = rows
    return DataSet(
        label_map=label_map,
        samples=samples,
        train_ids=tuple(samples.image_ids[row] for row in train),
        test_rows=tuple(test),
        cache=ImageCache(samples, len(label_map), config),
        row_of={number: row for row, number in enumerate(samples.image_ids)},
    )


def pictures_sha256(samples: CocoSamples) -> str:
    """A SHA-256 over the names and contents of all image files. Raises OSError."""
    found = hashlib.sha256()
    for name, path in sorted(zip(samples.file_names, samples.paths, strict=True)):
        found.update(f"{sha256_of(path)}  {name}\n".encode("utf-8", "surrogateescape"))
    return found.hexdigest()

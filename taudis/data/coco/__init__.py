"""COCO files as labelled images, for training, evaluation and scoring.

`load_coco` is strict: it refuses a file with unusable records. The command line uses
`taudis.data.coco.check`, which accepts the files of many tools and counts what it leaves out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from taudis.data.coco.images import find_picture, is_picture
from taudis.data.coco.masks import (
    box_polygon,
    decode,
    decode_runs,
    encode,
    is_empty,
    runs_of,
)
from taudis.data.coco.parse import Annotation, parse_coco
from taudis.data.coco.values import Key, box_of
from taudis.data.coco.write import coco_of
from taudis.data.images import MAX_PIXELS, read_image_file
from taudis.data.statistics import LabelStatistics, Tally
from taudis.errors import DataError, ImageNotRead
from taudis.masks import CodedMasks
from taudis.types import ANY_LABEL, BoolArray, Image, IntArray, LabelMap, Target

__all__ = ["CocoSamples", "coco_of", "decode", "encode", "load_coco", "read_image"]


def read_image(path: Path) -> Image:
    """An image file as uint8 [H,W,3] RGB (see `taudis.data.images`). Raises DataError."""
    return read_image_file(path, MAX_PIXELS)


@dataclass(frozen=True, eq=False)
class CocoSamples:
    """The images of a COCO file with their objects. Both are decoded when they are accessed."""

    image_ids: tuple[int, ...]
    file_names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]  # (height, width) px according to the COCO file
    annotations: tuple[tuple[Annotation, ...], ...]  # of each image; category_id None: ANY_LABEL
    labels: dict[Key, int]  # category id -> label 1..K
    images_dir: Path
    paths: tuple[Path, ...]  # of the image files

    def __len__(self) -> int:
        return len(self.image_ids)

    def image(self, index: int) -> Image:
        """The image uint8 [H,W,3]. Raises DataError if it is missing, broken or of another size.

        The error is ImageNotRead if the file is missing or cannot be read from the disk.
        """
        path = self.paths[index]
        if not is_picture(path):
            raise ImageNotRead(
                f"{self.file_names[index]}: expected the picture in {self.images_dir}, it is"
                " missing there."
            )
        image = read_image(path)
        if image.shape[:2] != self.sizes[index]:
            raise DataError(
                f"{self.file_names[index]}: expected {self.sizes[index]} (height, width) as in the"
                f" COCO file, got {image.shape[:2]}."
            )
        return image

    def target(self, index: int) -> Target:
        """The ground truth of an image. Raises DataError for a broken annotation.

        Its masks are CodedMasks. Objects without a pixel are dropped.
        """
        runs, boxes, rows = [], [], []
        for annotation in self.annotations[index]:
            try:
                shape = runs_of(_segmentation(annotation), *self.sizes[index])
            except DataError as error:
                raise DataError(f"COCO annotation {annotation.get('id')}: {error}") from error
            if shape.area:
                runs.append(shape.rle)
                boxes.append(shape.box)
                rows.append(annotation)
        corners = np.array(boxes, np.float32).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        labels = np.array([self.label_of(a) for a in rows], np.int64)
        crowd = np.array([bool(a.get("iscrowd", 0)) for a in rows], bool)
        masks = CodedMasks(tuple(runs), decode_runs, self.sizes[index])
        return Target(corners, labels, cast(BoolArray, masks), crowd)

    def labels_at(self, index: int) -> IntArray:
        """The labels [n] of an image's instances, without crowds; nothing is decoded."""
        rows = [a for a in self.annotations[index] if not a.get("iscrowd", 0)]
        return np.array([self.label_of(a) for a in rows], np.int64)

    def label_of(self, annotation: Annotation) -> int:
        """The label 1..K of an object, or ANY_LABEL for an ignored region with unknown category."""
        category = annotation["category_id"]
        return ANY_LABEL if category is None else self.labels[category]

    def statistics(self) -> LabelStatistics:
        """Statistics for the choice of a recipe. Masks are decoded only if boxes are missing."""
        tally = Tally()
        for index, size in enumerate(self.sizes):
            rows = [a for a in self.annotations[index] if not a.get("iscrowd", 0)]
            given = [box for a in rows if (box := box_of(a.get("bbox"))) is not None]
            if len(given) == len(rows):
                boxes = np.array(given, np.float32).reshape(-1, 4)
                boxes[:, 2:] += boxes[:, :2]
                tally.add(size, boxes, self.labels_at(index))
            else:
                tally.add_target(self.target(index))
        return tally.statistics()

    def __getitem__(self, index: int, /) -> tuple[Image, Target]:
        return self.image(index), self.target(index)

    def relabelled(self, labels: dict[Key, int]) -> CocoSamples:
        """The same images with other labels for the categories: category id -> label 1..K."""
        return replace(self, labels=labels)

    def subset(self, rows: Iterable[int]) -> CocoSamples:
        """The images at the given rows, in that order."""
        chosen = list(rows)
        return CocoSamples(
            tuple(self.image_ids[row] for row in chosen),
            tuple(self.file_names[row] for row in chosen),
            tuple(self.sizes[row] for row in chosen),
            tuple(self.annotations[row] for row in chosen),
            self.labels,
            self.images_dir,
            tuple(self.paths[row] for row in chosen),
        )

    def identity(self) -> object:
        """A value that differs for other images or labels; image files count by name and size."""
        pictures = [(path.name, path.stat().st_size) for path in self.paths]
        return [self.image_ids, pictures, self.annotations, list(self.labels.items())]


def _segmentation(annotation: Annotation) -> Any:
    """The segmentation of an object, or its box if it has no segmentation."""
    box = box_of(annotation.get("bbox"))
    if box is not None and is_empty(annotation.get("segmentation")):
        return box_polygon(box)
    return annotation.get("segmentation")


def load_coco(json_path: Path, images_dir: Path) -> tuple[LabelMap, CocoSamples]:
    """Labels (in the order of the file's categories) and samples of a COCO instances file.

    Raises DataError if a record would be left out, or if neither the COCO file nor the image file
    gives the size of an image. Masks and pixels are only checked when they are accessed.
    `taudis.data.coco.check` checks everything first, and can leave out unusable records.
    """
    file = parse_coco(json_path)
    wrong = file.found.sentences("left out", "bad", "refused")
    if not file.labelled or not file.names:
        wrong.insert(0, "no list of annotations, or no categories.")
    if wrong:
        raise DataError(f"{json_path}: {' '.join(wrong)}")
    paths = tuple(find_picture(images_dir, image.name)[0] for image in file.images)
    sizes = tuple(
        image.size or read_image(path).shape[:2]
        for image, path in zip(file.images, paths, strict=True)
    )
    numbers = file.numbers or list(range(1, len(file.images) + 1))
    rows = tuple(tuple(file.annotations[image.key]) for image in file.images)
    names = tuple(image.name for image in file.images)
    samples = CocoSamples(tuple(numbers), names, sizes, rows, file.labels, images_dir, paths)
    return LabelMap(file.names), samples

"""COCO files in and out: labels, images, and masks as polygons or run lengths."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from faster_coco_eval import mask as rle_tools

from taudis.errors import DataError
from taudis.images import MAX_PIXELS, read_image_file
from taudis.instances import BoolArray, IntArray, LabelMap, Target
from taudis.labelled import LabelStatistics, Tally
from taudis.mask_rcnn import Image

Annotation = dict[str, Any]


def read_image(path: Path) -> Image:
    """An image file as uint8 [H,W,3] RGB (see `taudis.images`). Raises DataError."""
    return read_image_file(path, MAX_PIXELS)


def _polygons(parts: list[Any], height: int, width: int) -> BoolArray:
    """The union of polygons [x1,y1,x2,y2,...] px as COCO rasterises them."""
    for part in parts:
        if not isinstance(part, list) or len(part) < 6 or len(part) % 2:
            raise DataError("expected polygons of at least three x,y pairs")
    if not np.isfinite(np.concatenate([np.asarray(part, np.float64) for part in parts])).all():
        raise DataError("expected finite polygon coordinates")
    merged = rle_tools.merge(rle_tools.frPyObjects(parts, height, width))
    return np.asarray(rle_tools.decode(merged)).astype(bool)


def _runs(segmentation: dict[str, Any], height: int, width: int) -> BoolArray:
    """A run-length mask, compressed (a string) or not (a list of counts)."""
    if list(segmentation.get("size", [])) != [height, width]:
        raise DataError(f"expected RLE of size [{height}, {width}], got {segmentation.get('size')}")
    counts = segmentation.get("counts")
    if isinstance(counts, list):
        runs = np.asarray(counts, np.int64)
        if runs.ndim != 1 or (runs < 0).any() or runs.sum() != height * width:
            raise DataError(f"expected RLE counts that sum to {height * width}")
        values = np.arange(len(runs)) % 2 == 1
        return np.repeat(values, runs).reshape(width, height).T
    if isinstance(counts, str | bytes):
        return _compressed_runs(counts, height, width)
    raise DataError("expected RLE counts as a string or a list")


def _compressed_runs(counts: str | bytes, height: int, width: int) -> BoolArray:
    """COCO's string: 5 bits a character, signed, from the third on relative to two before.

    Decoded here because the C decoders trust the string and write past the image's end.
    """
    data = counts.encode() if isinstance(counts, str) else counts
    runs: list[int] = []
    at = 0
    while at < len(data):
        value, shift, more = 0, 0, True
        while more:
            if at >= len(data) or shift > 35:
                raise DataError("expected a whole RLE string, got one that is cut")
            char = data[at] - 48
            value |= (char & 0x1F) << shift
            more, at, shift = bool(char & 0x20), at + 1, shift + 5
            if not more and char & 0x10:
                value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
    return _runs({"size": [height, width], "counts": runs}, height, width)


def decode(segmentation: Any, height: int, width: int) -> BoolArray:
    """A COCO segmentation as a mask [H,W]. Raises DataError where it is none for this size."""
    try:
        if isinstance(segmentation, list) and segmentation:
            return _polygons(segmentation, height, width)
        if isinstance(segmentation, dict):
            return _runs(segmentation, height, width)
    except (TypeError, ValueError, OverflowError, cv2.error) as error:
        raise DataError(f"segmentation: {error}.") from error
    raise DataError(f"segmentation: expected polygons or RLE, got {type(segmentation).__name__}.")


def encode(mask: BoolArray) -> dict[str, Any]:
    """A mask [H,W] as COCO's compressed RLE, ready for JSON."""
    runs = rle_tools.encode(np.asfortranarray(mask, dtype=np.uint8))
    counts = runs["counts"]
    text = counts.decode("ascii") if isinstance(counts, bytes) else counts
    return {"size": [int(side) for side in mask.shape], "counts": text}


@dataclass(frozen=True, eq=False)
class CocoSamples:
    """The images of a COCO file with their targets, decoded when asked for."""

    image_ids: tuple[int, ...]
    file_names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]  # (height, width) px as the file says
    annotations: tuple[tuple[Annotation, ...], ...]  # of each image
    labels: dict[int, int]  # category id -> label 1..K
    images_dir: Path

    def __len__(self) -> int:
        return len(self.image_ids)

    def image(self, index: int) -> Image:
        """The image uint8 [H,W,3]. Raises DataError where it is missing, broken or resized."""
        image = read_image(self.images_dir / self.file_names[index])
        if image.shape[:2] != self.sizes[index]:
            raise DataError(
                f"{self.file_names[index]}: expected {self.sizes[index]} (height, width) as in the"
                f" COCO file, got {image.shape[:2]}."
            )
        return image

    def target(self, index: int) -> Target:
        """The ground truth of an image. Raises DataError naming the broken annotation."""
        height, width = self.sizes[index]
        rows = self.annotations[index]
        masks = np.zeros((len(rows), height, width), bool)
        for row, annotation in enumerate(rows):
            try:
                masks[row] = decode(annotation.get("segmentation"), height, width)
            except DataError as error:
                raise DataError(f"COCO annotation {annotation.get('id')}: {error}") from error
        labels = np.array([self.labels[a["category_id"]] for a in rows], np.int64)
        crowd = np.array([bool(a.get("iscrowd", 0)) for a in rows], bool)
        return Target.from_masks(masks, labels, crowd)

    def labels_at(self, index: int) -> IntArray:
        """The labels [n] of an image's instances, crowds not counted, without decoding it."""
        rows = [a for a in self.annotations[index] if not a.get("iscrowd", 0)]
        return np.array([self.labels[a["category_id"]] for a in rows], np.int64)

    def statistics(self) -> LabelStatistics:
        """What a recipe wants to know; masks are decoded only where the file gives no boxes."""
        tally = Tally()
        for index, size in enumerate(self.sizes):
            rows = [a for a in self.annotations[index] if not a.get("iscrowd", 0)]
            if all("bbox" in a for a in rows):
                boxes = np.array([a["bbox"] for a in rows], np.float32).reshape(-1, 4)
                boxes[:, 2:] += boxes[:, :2]
                tally.add(size, boxes, self.labels_at(index))
            else:
                tally.add_target(self.target(index))
        return tally.statistics()

    def __getitem__(self, index: int, /) -> tuple[Image, Target]:
        return self.image(index), self.target(index)

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
        )


def _read(json_path: Path) -> dict[str, Any]:
    try:
        content = json.loads(json_path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{json_path}: expected a COCO JSON file: {error}.") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise DataError(f"{json_path}: expected a COCO object with a list {key!r}.")
    return dict(content)


def load_coco(json_path: Path, images_dir: Path) -> tuple[LabelMap, CocoSamples]:
    """Labels (in the order of the file's categories) and samples of a COCO instances file.

    Raises DataError where the file is not readable, misses a field, repeats an id, or refers to an
    image or category that it does not hold. Masks and pixels are checked when they are read.
    """
    content = _read(json_path)
    try:
        labels = {int(c["id"]): row + 1 for row, c in enumerate(content["categories"])}
        names = LabelMap(tuple(str(c["name"]) for c in content["categories"]))
        ids = tuple(int(i["id"]) for i in content["images"])
        files = tuple(str(i["file_name"]) for i in content["images"])
        sizes = tuple((int(i["height"]), int(i["width"])) for i in content["images"])
        of_image: dict[int, list[Annotation]] = {number: [] for number in ids}
        for annotation in content["annotations"]:
            if annotation["category_id"] not in labels:
                raise DataError(f"unknown category {annotation['category_id']}")
            of_image[int(annotation["image_id"])].append(annotation)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{json_path}: a COCO record is not as expected: {error!r}.") from error
    if len(of_image) != len(ids) or len(labels) != len(content["categories"]):
        raise DataError(f"{json_path}: expected unique image and category ids, got duplicates.")
    per_image = tuple(tuple(of_image[number]) for number in ids)
    return names, CocoSamples(ids, files, sizes, per_image, labels, images_dir)


def coco_of(
    label_map: LabelMap,
    images: Iterable[tuple[int, str, tuple[int, int]]],
    targets: Iterable[Target],
) -> dict[str, Any]:
    """A COCO object of images (id, file name, (height, width)) and their targets, ids from 1 on."""
    content: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": row + 1, "name": name} for row, name in enumerate(label_map.names)],
    }
    for (number, name, (height, width)), target in zip(images, targets, strict=True):
        content["images"].append(
            {"id": number, "file_name": name, "height": height, "width": width}
        )
        for box, label, mask, crowd in zip(
            target.boxes.tolist(), target.labels, target.masks, target.iscrowd, strict=True
        ):
            x1, y1, x2, y2 = box
            content["annotations"].append({
                "id": len(content["annotations"]) + 1,
                "image_id": number,
                "category_id": int(label),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": int(mask.sum()),
                "iscrowd": int(crowd),
                "segmentation": encode(mask),
            })  # fmt: skip
    return content


def save_coco(
    json_path: Path,
    label_map: LabelMap,
    images: Iterable[tuple[int, str, tuple[int, int]]],
    targets: Iterable[Target],
) -> None:
    """Write `coco_of` the arguments as a JSON file. Raises OSError."""
    content = coco_of(label_map, images, targets)
    json_path.write_text(json.dumps(content), encoding="utf-8")

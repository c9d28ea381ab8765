"""Checks a COCO file: `python -m taudis check`, and before every training.

A broken image or mask must not end a training hours after its start. So the check first decodes
every image and reads every mask. It counts unusual and unusable records by kind
(`taudis.data.coco.kinds`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from taudis.data.coco import CocoSamples
from taudis.data.coco.checked import Checked, crowd_question
from taudis.data.coco.images import (
    Inspected,
    find_picture,
    inspect_pictures,
    is_picture,
    share_a_name,
)
from taudis.data.coco.kinds import Findings
from taudis.data.coco.masks import Shape, box_polygon, is_empty, shape_of
from taudis.data.coco.parse import Annotation, CocoFile, ImageRecord, parse_coco, place_of
from taudis.data.coco.values import box_of, excerpt, key_of, number
from taudis.errors import DataError

Crowds = Literal["ask", "objects", "ignore"]
CROWD_SHARE = 0.1
"""The check asks a person if at least this share of masks are crowds; COCO has 1 in 100."""
FRACTIONS_SHARE = 0.5
"""A file is refused if more than this share of objects has all coordinates in 0..1."""
PIXELLESS_SHARE = 0.5
"""A file is refused if more than this share of objects covers no pixel."""
AREA_SHARE, AREA_PX = 0.3, 16
"""Allowed difference between the stated area and the mask's area: a share of the latter plus px.
Tools that trace pixel centres state a smaller area."""
BOX_AREA_SHARE = 0.9
"""An object without a mask is its box if its stated area is at least this share of the box's."""


def check_coco(
    path: Path,
    folder: Path | None,
    *,
    labels: bool = True,
    crowds: Crowds = "ask",
    skip_bad: bool = False,
    progress: Callable[[int], Callable[[], object]] = lambda _: lambda: None,
) -> Checked:
    """Check a COCO file and its image files.

    Args:
        path: the COCO file.
        folder: the folder of its images; None: do not check image files.
        labels: whether to check the annotations (for train, evaluate) or only images (score).
        crowds: how objects with iscrowd 1 are read; "ask" returns a question if there are many.
        skip_bad: leave out unusable records. An unusable object with a box becomes a crowd region,
            of every label if its category is unknown; an image with any other unusable object is
            left out.
        progress: called with the number of images; returns a function to call after each.

    Raises DataError if the file is not a COCO instances file; other faults are in the result.
    """
    if folder is not None and not folder.is_dir():
        raise DataError(f"{folder}: expected the folder of the images, there is none.")
    file = parse_coco(path)
    check = _Check(file, folder, labels, crowds, skip_bad)
    images, paths = check.pictures(progress)
    return check.result(images, paths)


class _Check:
    """The steps of a check, with their common counters."""

    def __init__(
        self, file: CocoFile, folder: Path | None, labels: bool, crowds: Crowds, skip_bad: bool
    ) -> None:
        self.file, self.folder, self.labels = file, folder, labels
        self.crowds, self.skip_bad = crowds, skip_bad
        self.found = file.found if labels else _of_images(file.found)
        self.fractions = self.shapes = self.objects = self.crowd_count = 0
        self.skipped = self.ignored = self.pixelless = 0
        self.masks = self.copies = 0
        self.crowd_regions = set[str]()  # of one image

    # --- pictures ---

    def pictures(
        self, progress: Callable[[int], Callable[[], object]]
    ) -> tuple[list[ImageRecord], list[Path]]:
        """The usable images with their sizes, and the paths of their files."""
        images = self.file.images
        if self.folder is None:
            return list(images), [Path(image.name) for image in images]
        places = [find_picture(self.folder, image.name) for image in images]
        there = [path if is_picture(path) else None for path, _ in places]
        shared = share_a_name(
            (i, p) for i, p, (_, question) in zip(images, there, places, strict=True)
            if p is not None and not question
        )  # fmt: skip
        seen = inspect_pictures(there, progress(len(images)))
        kept: list[ImageRecord] = []
        paths: list[Path] = []
        for image, (path, as_given), view in zip(images, places, seen, strict=True):
            if path in shared and not as_given:
                self.found.add("ambiguous", f"{image.name}: {path.name}")
                continue
            sized = self._picture(image, view)
            if sized is not None:
                if not as_given:
                    self.found.add("elsewhere", f"{image.name}: {path}")
                kept.append(sized)
                paths.append(path)
        return kept, paths

    def _picture(self, image: ImageRecord, seen: Inspected | None) -> ImageRecord | None:
        """The image record with the size of its file; None if it is unusable."""
        if seen is None:
            self.found.add("missing", image.name)
            return None
        if seen.size is None:
            self.found.add("undecodable", seen.error)
            return None
        if seen.orientation > 1:
            self.found.add("turned", image.name)
        if image.size is None:
            self.found.add("picture_size", image.name)
        elif image.size != seen.size:
            self.found.add("exif" if image.size == seen.raw else "other_size", _sizes(image, seen))
            return None
        return replace(image, size=seen.size)

    # --- objects ---

    def result(self, images: list[ImageRecord], paths: list[Path]) -> Checked:
        """The result of the whole check."""
        kept: list[tuple[ImageRecord, Path, list[Annotation]]] = []
        for image, path in zip(images, paths, strict=True):
            rows = self._objects(image) if self.labels else []
            if rows is not None:
                kept.append((image, path, rows))
        question = self._crowds() if self.labels else ""
        self._verdict(len(kept), question)
        numbers = self.file.numbers
        place = {image.key: row for row, image in enumerate(self.file.images, start=1)}
        ids = tuple(int(i.key) if numbers else place[i.key] for i, _, _ in kept)
        if self.labels:
            empty = [image.name for image, _, rows in kept if not rows]
            if empty:
                self.found.add("no_object", count=len(empty))
        samples = CocoSamples(
            ids,
            tuple(image.name for image, _, _ in kept),
            tuple(image.size or (0, 0) for image, _, _ in kept),
            tuple(tuple(map(self._as_object, rows)) for _, _, rows in kept),
            self.file.labels,
            self.folder or Path(),
            tuple(path for _, path, _ in kept),
        )
        return Checked(
            self.file.names, samples, self.found, self.objects, self.crowd_count, question,
            self.labels, self.skipped + len(self.file.images) - len(images), self.ignored,
            self.folder is not None, numbers is not None,
        )  # fmt: skip

    def _objects(self, image: ImageRecord) -> list[Annotation] | None:
        """The usable objects of an image; None if an unusable object makes the image unusable."""
        if image.size is None:
            self.found.add("no_size", image.name)
            self.skipped += 1
            return None
        counts = self.objects, self.crowd_count, self.masks, self.copies
        self.crowd_regions.clear()
        rows: list[Annotation] = []
        bad = list(self.file.unusable.get(image.key, []))
        for annotation in self.file.annotations[image.key]:
            found = self._object(annotation, image.size)
            if found is None:
                bad.append(annotation)
            elif found:
                rows.append(found)
        places = [place_of(record, image.size) for record in bad]
        if None in places:
            self.objects, self.crowd_count, self.masks, self.copies = counts
            self.skipped += 1
            return None
        for record, place in zip(bad, places, strict=True):
            self.ignored += 1
            key = key_of(record.get("category_id"))
            category = key if key in self.file.labels else None
            rows.append({"category_id": category, "iscrowd": 1, "bbox": place, "ignored": True,
                         "segmentation": box_polygon(place or [])})  # fmt: skip
        return rows

    def _object(self, annotation: Annotation, size: tuple[int, int]) -> Annotation | None:
        """The object with its mask's box; {} if it covers no pixel, None if it is unusable."""
        where = f"annotation {excerpt(annotation.get('id'))}"
        box = box_of(annotation.get("bbox"))
        segmentation = annotation.get("segmentation")
        boxed = is_empty(segmentation)
        if boxed and not self._box_is_mask(annotation, where):
            return None
        if boxed and box is not None:
            segmentation = box_polygon(box)
        try:
            shape = shape_of(segmentation, *size)
        except DataError as error:
            self.found.add("bad_mask", f"{where}: {error}")
            return None
        self.shapes += 1
        self._unusual(annotation, shape, where, size)
        if not boxed and "bbox" in annotation and box is None:
            self.found.add("bad_box", f"{where}: {excerpt(annotation.get('bbox'))}")
        if shape.area == 0:
            self.pixelless += 1
            self.found.add("no_pixel", where)
            return {}
        if boxed:
            self.found.add("box_mask", where)
        self._count(annotation)
        return {**annotation, "segmentation": segmentation, "bbox": shape.box}

    def _box_is_mask(self, annotation: Annotation, where: str) -> bool:
        """Whether the box of an object without a segmentation is its mask; else it is unusable."""
        box = box_of(annotation.get("bbox"))
        if box is None:
            given = annotation.get("bbox")
            said = "and no box" if given is None else f"and its box is {excerpt(given)}"
            self.found.add("bad_mask", f"{where}: it has no segmentation, {said}")
            return False
        area, of_box = number(annotation.get("area")), box[2] * box[3]
        if area and area < BOX_AREA_SHARE * of_box - 1:
            self.found.add("lost_mask", f"{where}: area {area:g}, its box has {of_box:g}")
            return False
        return True

    def _unusual(
        self, annotation: Annotation, shape: Shape, where: str, size: tuple[int, int]
    ) -> None:
        for kind in sorted(shape.unusual):
            self.found.add(kind, where)
        area = number(annotation.get("area"))
        off = 0.0 if area is None or not shape.area else abs(area - shape.area)
        if off > AREA_SHARE * shape.area + AREA_PX:
            self.found.add("area_off", f"{where}: {area:g}, its mask has {shape.area}")
        slack = 1 / min(size)
        if shape.low < -slack or shape.high > 1 + slack:
            self.found.add("beyond", where)
        if shape.high > 0 and shape.low >= 0 and shape.largest <= 1 and max(size) > 2:
            self.fractions += 1

    def _count(self, annotation: Annotation) -> None:
        if annotation["iscrowd"]:
            region = json.dumps(annotation.get("segmentation"))
            self.copies += region in self.crowd_regions
            self.crowd_regions.add(region)
            self.crowd_count += 1
        else:
            self.objects += 1
        self.masks += 1

    # --- the verdict ---

    def _crowds(self) -> str:
        """Count crowds by the way they are read; returns the question for a person, or ""."""
        if not self.crowd_count:
            return ""
        if self.crowds == "objects":
            self.found.add("crowds_as_objects", count=self.crowd_count)
            self.objects, self.crowd_count = self.objects + self.crowd_count, 0
            return ""
        # `coco_of` writes a crowd without a label once for each label: that is one region.
        few = self.crowd_count - self.copies < CROWD_SHARE * (self.masks - self.copies)
        if self.crowds == "ignore" or few:
            self.found.add("crowds", count=self.crowd_count)
            return ""
        return crowd_question(self.crowd_count, self.masks, self.file.writer)

    def _verdict(self, images: int, question: str) -> None:
        if self.labels and self.fractions > FRACTIONS_SHARE * self.shapes:
            self.found.add("fractions", count=self.fractions)
        elif self.labels and self.pixelless > PIXELLESS_SHARE * self.shapes:
            self.found.add("pixelless", count=self.pixelless)
        unusable = self.found.of("bad")
        if self.labels and not self.objects and not question and not self.found.of("refused"):
            if not unusable or self.skip_bad:
                why = "it has no annotations" if not self.file.labelled else _why(self.found)
                self.found.add("nothing", why, 0)
        elif not self.labels and not images and (not unusable or self.skip_bad):
            raise DataError(f"{self.file.path}: expected at least one image, got none.")

    def _as_object(self, annotation: Annotation) -> Annotation:
        if self.crowds == "objects" and annotation["iscrowd"] and "ignored" not in annotation:
            return {**annotation, "iscrowd": 0}
        return annotation


def _why(found: Findings) -> str:
    kinds = [*found.of("left out", "bad"), *(["crowds"] if "crowds" in found.counts else [])]
    return " ".join(found.sentence(kind) for kind in kinds) or "no image has an annotation"


def _sizes(image: ImageRecord, seen: Inspected) -> str:
    height, width = image.size or (0, 0)
    high, wide = seen.size or (0, 0)
    turned = f", turned by EXIF ({seen.orientation})" if seen.orientation > 1 else ""
    return f"{image.name}: {width} x {height} in the file, {wide} x {high} in the picture{turned}"


IMAGE_KINDS = (
    "encoding", "text_id", "same_file", "bad_image", "doubled_image", "category_ids",
    "bad_category", "merged",
)  # fmt: skip


def _of_images(found: Findings) -> Findings:
    """The findings on images and categories only."""
    kept = Findings()
    for kind in IMAGE_KINDS:
        if kind in found.counts:
            kept.counts[kind] = found.counts[kind]
            kept.examples[kind] = found.examples[kind]
    return kept

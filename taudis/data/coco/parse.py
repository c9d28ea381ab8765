"""Reads the records of a COCO file (images, categories, annotations) of any tool.

No record is refused here. Unusual and unusable records are counted in `Findings`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from taudis.data.coco.file import read_coco_json
from taudis.data.coco.kinds import Findings
from taudis.data.coco.values import Key, box_of, crowd_of, excerpt, is_text, key_of, whole
from taudis.data.images import MAX_PIXELS

Annotation = dict[str, Any]
INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True)
class ImageRecord:
    """An image of the file."""

    key: Key  # its id in the file
    name: str  # its file name according to the file
    size: tuple[int, int] | None  # (height, width) px; None if the file does not have it


@dataclass(frozen=True, eq=False)
class CocoFile:
    """The normalised records of a COCO file, before masks and image files are checked."""

    path: Path
    names: tuple[str, ...]  # of labels 1..K, in the order of the file's categories
    labels: dict[Key, int]  # category id -> label
    images: tuple[ImageRecord, ...]
    annotations: dict[Key, list[Annotation]]  # by image; ids and iscrowd are normalised
    unusable: dict[Key, list[Annotation]]  # by image; they are counted in `found`
    labelled: bool  # whether it has a list of annotations
    writer: str  # the tool that wrote it; "" if unknown
    found: Findings = field(default_factory=Findings)

    @property
    def numbers(self) -> list[int] | None:
        """The images' ids as 64-bit integers; None if one is text or larger."""
        keys = [image.key for image in self.images]
        return keys if all(isinstance(k, int) and k in INT64 for k in keys) else None  # type: ignore[return-value]


def parse_coco(path: Path) -> CocoFile:
    """Read a COCO file. Raises DataError for a file of another kind; the rest is in `found`."""
    found = Findings()
    content = read_coco_json(path, found)
    labels, names = _categories(content.get("categories", []), found)
    images = _images(content["images"], found)
    annotations: dict[Key, list[Annotation]] = {image.key: [] for image in images}
    unusable: dict[Key, list[Annotation]] = {}
    records = content.get("annotations", [])
    known = {key for record in content["images"] if (key := _key(record, "id")) is not None}
    for record in records:
        image = _key(record, "image_id")
        annotation = _annotation(record, image, known, labels, found)
        if annotation is None or image is None or image not in annotations:
            if image in annotations and isinstance(record, dict):
                unusable.setdefault(image, []).append(record)
            continue
        annotations[image].append(annotation)
    _check_together(records, names, labels, found)
    return CocoFile(
        path, names, labels, images, annotations, unusable,
        "annotations" in content, _writer(content), found,
    )  # fmt: skip


def _key(record: Any, name: str) -> Key | None:
    return key_of(record.get(name)) if isinstance(record, dict) else None


# --- categories --------------------------------------------------------------------------------


def _categories(records: list[Any], found: Findings) -> tuple[dict[Key, int], tuple[str, ...]]:
    """(category id -> label, names of the labels). Categories with the same name are one label."""
    labels: dict[Key, int] = {}
    names: list[str] = []
    for record in records:
        key = _key(record, "id")
        name = record.get("name") if isinstance(record, dict) else None
        if key is None or isinstance(name, dict | list | None) or str(name) == "":
            found.add("bad_category", excerpt(record))
            continue
        name = str(name)
        if key in labels:
            if names[labels[key] - 1] != name:
                found.add("category_ids", f"{key!r}: {names[labels[key] - 1]!r} and {name!r}")
            continue
        if name in names:
            found.add("merged", f"{name!r}, id {key!r}")
        else:
            names.append(name)
        labels[key] = names.index(name) + 1
    return labels, tuple(names)


# --- images ------------------------------------------------------------------------------------


def _images(records: list[Any], found: Findings) -> tuple[ImageRecord, ...]:
    keys = Counter(_key(record, "id") for record in records)
    distinct: dict[Key, set[str]] = {}
    for record in records:
        key = _key(record, "id")
        if key is not None and keys[key] > 1:
            distinct.setdefault(key, set()).add(excerpt(name_of(record), 1000))
    images: dict[Key, ImageRecord] = {}
    for record in records:
        image = _image(record, found)
        if image is None:
            continue
        if len(distinct.get(image.key, ())) > 1:
            found.add("doubled_image", f"id {image.key!r}: {image.name}")
        elif image.key in images:
            found.add("same_file", f"{image.name}, id {image.key!r} twice")
        else:
            images[image.key] = image
    kept = tuple(images.values())
    _same_files(kept, found)
    odd = [i for i in kept if not isinstance(i.key, int) or i.key not in INT64]
    for image in odd:
        found.add("text_id", f"{excerpt(image.key)}: {image.name}")
    return kept


def _same_files(images: Iterable[ImageRecord], found: Findings) -> None:
    seen: dict[str, Key] = {}
    for image in images:
        if image.name in seen:
            found.add("same_file", f"{image.name}, ids {seen[image.name]!r} and {image.key!r}")
        seen.setdefault(image.name, image.key)


def name_of(record: Any) -> str | None:
    """The file name. LVIS has only a URL, whose last two parts are folder and name."""
    if not isinstance(record, dict):
        return None
    name = record.get("file_name")
    if isinstance(name, str) and name.strip():
        return name
    address = record.get("coco_url")
    if name is None and isinstance(address, str) and "/" in address:
        return str(PurePosixPath(*PurePosixPath(urlsplit(address).path).parts[-2:]))
    return None


def _image(record: Any, found: Findings) -> ImageRecord | None:
    key, name = _key(record, "id"), name_of(record)
    if key is None or name is None:
        found.add("bad_image", excerpt(record))
        return None
    given = (record.get("height"), record.get("width"))
    size = whole(given[0]), whole(given[1])
    if any(is_text(value) for value in (record.get("id"), *given)) and isinstance(key, int):
        found.add("text_number", f"image {key}")
    if record.get("neg_category_ids"):
        found.add("federated", f"{name}")
    height, width = size
    if height is None or width is None or height < 1 or width < 1:
        return ImageRecord(key, name, None)
    if height * width > MAX_PIXELS:
        found.add("bad_image", f"{name}: {width} x {height}, more than {MAX_PIXELS} pixels")
        return None
    return ImageRecord(key, name, (height, width))


# --- annotations -------------------------------------------------------------------------------


def _annotation(
    record: Any, image: Key | None, known: set[Key], labels: dict[Key, int], found: Findings
) -> Annotation | None:
    """The normalised record; None if it is unusable or its image is not in the file."""
    if not isinstance(record, dict) or image is None:
        found.add("bad_record", excerpt(record))
        return None
    where = f"annotation {excerpt(record.get('id'))}"
    if image not in known:
        found.add("unlisted", f"{where}: image {image!r}")
        return None
    category, crowd = key_of(record.get("category_id")), crowd_of(record.get("iscrowd"))
    if category is None or category not in labels:
        found.add("unknown_category", f"{where}: category {excerpt(record.get('category_id'))}")
        return None
    if crowd is None:
        found.add("bad_crowd", f"{where}: {excerpt(record.get('iscrowd'))}")
        return None
    if record.get("keypoints"):
        found.add("keypoints")
    same = record.get("category_id") == category and record.get("image_id") == image
    if not same or is_text(record.get("bbox")):
        found.add("text_number", where)
    if same and type(record.get("iscrowd")) is int:
        return record
    return {**record, "category_id": category, "image_id": image, "iscrowd": int(crowd)}


def _check_together(
    records: list[Any], names: tuple[str, ...], labels: dict[Key, int], found: Findings
) -> None:
    """Count faults that concern several annotations: ids, unused categories, doubled objects."""
    rows = [record for record in records if isinstance(record, dict)]
    ids = Counter(
        excerpt(record.get("id"), 1000) for record in rows if record.get("id") is not None
    )
    missing = sum(record.get("id") is None for record in rows)
    doubled = [key for key, count in ids.items() if count > 1]
    if missing or doubled:
        twice = f"id {', '.join(doubled[:3])}" if doubled else "none has one"
        found.add("ids", twice, missing + sum(ids[key] - 1 for key in doubled))
    if rows:
        used = {labels.get(key) for r in rows if (key := _key(r, "category_id")) is not None}
        for label, name in enumerate(names, start=1):
            if label not in used:
                found.add("unused", repr(name))
    _doubled(rows, found)


def _doubled(rows: list[Annotation], found: Findings) -> None:
    seen: set[int] = set()
    for record in rows:
        if not record.get("segmentation"):
            continue
        same = (record.get("image_id"), record.get("category_id"), record["segmentation"])
        mark = hash(json.dumps(same, sort_keys=True))
        if mark in seen:
            found.add("doubled", f"annotation {excerpt(record.get('id'))}")
        seen.add(mark)


def _writer(content: dict[str, Any]) -> str:
    """The tool that wrote the file, by its `info` and typical values; "" if unknown."""
    about = content.get("info")
    text = json.dumps(about).lower() if isinstance(about, dict) else ""
    for mark, name in (("label studio", "Label Studio"), ("darwin", "darwin-py (V7)"),
                       ("roboflow", "roboflow"), ("cvat", "CVAT")):  # fmt: skip
        if mark in text:
            return name
    rows = [a for a in content.get("annotations", []) if isinstance(a, dict)]
    if rows and all(isinstance(a.get("iscrowd"), bool) and "id" not in a for a in rows):
        return "labelformat"
    categories = [c for c in content.get("categories", []) if isinstance(c, dict)]
    if categories and all(c.get("supercategory") == "common-objects" for c in categories):
        return "supervision (roboflow)"
    if isinstance(about, dict) and about and not any(about.values()):
        return "datumaro (CVAT)"
    return ""


def place_of(record: Annotation, size: tuple[int, int]) -> list[float] | None:
    """The box of an unusable annotation's object, cut at the image: [x, y, width, height] px.

    size: (height, width) px of the image. None if there is no valid box, or none in the image.
    """
    box = box_of(record.get("bbox"))
    if box is None:
        return None
    (x1, x2), (y1, y2) = (
        (max(start, 0.0), min(start + length, float(side)))
        for start, length, side in zip(box[:2], box[2:], size[::-1], strict=True)
    )
    return [x1, y1, x2 - x1, y2 - y1] if x2 > x1 and y2 > y1 else None

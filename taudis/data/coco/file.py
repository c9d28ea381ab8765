"""Reads the JSON of a COCO file. The error for another kind of file names its kind."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

from taudis.data.coco.kinds import Findings
from taudis.errors import DataError

LISTS = ("images", "annotations", "categories")
MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
STARTS: dict[bytes, str] = {
    b"\x1f\x8b": "a gzip file. Unpack it first: gunzip",
    b"PK\x03\x04": "a zip archive. Unpack it first",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself. Fetch it: git lfs pull",
    b"<": "XML or HTML. Export it as COCO",
}
"""First bytes of a file of another kind -> its kind, with a remedy."""


def read_coco_json(path: Path, found: Findings) -> dict[str, Any]:
    """The JSON object of a COCO file. Raises DataError with the path and the kind of file found.

    `annotations` and `categories` may be missing, for unlabelled images; `images` may not.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: expected a COCO file, this file does not exist.") from None
    except OSError as error:
        raise DataError(f"{path}: expected a COCO file: {error}.") from error
    for start, kind in STARTS.items():
        if data.startswith(start):
            raise DataError(f"{path}: expected a COCO JSON file, got {kind}.")
    if not data.strip():
        raise DataError(f"{path}: expected a COCO JSON file, got an empty one.")
    if data.startswith(MARKS):
        found.add("encoding")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        if _is_lines(data):
            raise DataError(
                f"{path}: expected one COCO JSON object, got JSON Lines (an object a line)."
                " Export it as COCO."
            ) from error
        raise DataError(f"{path}: expected a COCO JSON file: {error}.") from error
    other = other_kind(content)
    if other:
        raise DataError(f"{path}: expected a COCO instances file, got {other}.")
    for key in LISTS:
        if key in content and not isinstance(content[key], list):
            raise DataError(f"{path}: expected a list {key!r}, got {type(content[key]).__name__}.")
    return dict(content)


def _is_lines(data: bytes) -> bool:
    """Whether the first two lines are each a JSON value."""
    lines = [line for line in data[:1_000_000].splitlines() if line.strip()][:2]
    try:
        return len(lines) == 2 and all(isinstance(json.loads(line), dict | list) for line in lines)
    except ValueError:
        return False


def other_kind(content: Any) -> str | None:
    """The kind of a JSON value that is not a COCO instances file; None if it may be one."""
    if isinstance(content, list):
        return _kind_of_list(content)
    if not isinstance(content, dict):
        return f"a JSON {type(content).__name__}"
    if not isinstance(content.get("images"), list):
        return _kind_of_object(content)
    first = _first(content.get("annotations"))
    if "segments_info" in first:
        return (
            "a panoptic file, whose masks are in PNG files. Give the instances file, or convert"
            " it with panopticapi"
        )
    if "caption" in first and not first.get("segmentation") and not first.get("bbox"):
        return "a captions file without objects. Give the instances file"
    if "question_id" in first or "questions" in content:
        return "a file of questions and answers without objects. Give the instances file"
    return None


def _first(records: Any) -> dict[str, Any]:
    """The first of a list of records, or {}."""
    return records[0] if isinstance(records, list) and records and _is_dict(records[0]) else {}


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def _kind_of_list(content: list[Any]) -> str:
    first = _first(content)
    if "score" in first and "image_id" in first:
        return (
            "COCO results (predictions with scores), which have no images. Give the file of labels"
        )
    if "data" in first and ("annotations" in first or "result" in first or "completions" in first):
        return "Label Studio's own JSON. Export the project as COCO"
    if "Labeled Data" in first or "External ID" in first:
        return "Labelbox's own JSON. Export it as COCO"
    if "image" in first and "annotations" in first:
        return "CreateML's JSON. Export it as COCO"
    if "segmentation" in first or "bbox" in first:
        return "a list of annotations without images and categories"
    return f"a list of {len(content)} values, not an object with 'images'"


def _kind_of_object(content: dict[str, Any]) -> str:
    if "shapes" in content and "imagePath" in content:
        return "a labelme file of one image. Convert the folder: labelme2coco"
    if "_via_img_metadata" in content or "_via_settings" in content:
        return "a VIA project. Export its annotations as COCO"
    values = list(content.values())[:3]
    if values and all(isinstance(value, dict) and "regions" in value for value in values):
        return "VIA's own JSON. Export its annotations as COCO"
    if "samples" in content and "classes" in content and "info" in content:
        return "a FiftyOne data set. Export it as COCODetectionDataset"
    if content.get("type") == "FeatureCollection":
        return "GeoJSON. Convert it to a COCO file in px"
    if "items" in content and "categories" in content:
        return "Datumaro's own JSON. Export it as coco_instances"
    keys = ", ".join(map(repr, list(content)[:6])) or "nothing"
    return f"an object without a list 'images' (it has {keys})"

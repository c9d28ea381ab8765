"""One annotation's regions -> the ground truth of one image.

A region that makes no mask is named and skipped; the good ones of the same task are kept.

Label Studio writes one result for every tag that a region carries, all of one id and each with the
whole shape: a magic wand's has one of type `magicwand` and one of `labels` or `brushlabels`. So the
label is that of a label tag's result, and the shape is told by its value, not by the type.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backend.errors import RegionError
from backend.label_config import KINDS, TOOLS, ControlTag, Kind, LabelConfig
from backend.regions.brush import MAX_PIXELS, decode_rle
from backend.regions.crop import Crop, resized, tight, union
from backend.regions.ellipse import ellipse_to_crop
from backend.regions.polygon import polygon_to_crop
from backend.regions.problems import RegionProblem, problem_of
from backend.regions.rectangle import rectangle_to_crop
from taudis.instances import Target

INSTANCE_KEY, PART_KEY = "taudis_instance", "taudis_part"
"""Keys of a region's meta that tie the parts of one instance. Label Studio keeps meta as it is."""

MAX_MASK_BYTES = 2 << 30
"""Bound on the masks [n,H,W] of one image: 10,000 regions on 12 megapixels would be 120 GB."""

ASPECT_TOLERANCE = 0.02
_TYPES = frozenset(tag.lower() for tag in KINDS)
_TOOL_TYPES = frozenset(tag.lower() for tag in TOOLS)
_UNREADABLE = {"bitmasklabels": "BitmaskLabels", "vectorlabels": "VectorLabels"}
_SHAPES: dict[str, Kind] = {
    "rle": "brush",
    "points": "polygon",
    "radiusX": "ellipse",
    "width": "rectangle",
}  # a key that only this kind's value has

Size = tuple[int, int]
Row = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Decoded:
    """An annotation as ground truth, and what in it could not be used."""

    target: Target | None  # None: no region, and no size was given
    problems: tuple[RegionProblem, ...]


@dataclass(frozen=True, eq=False)
class _Part:
    label: int
    crop: Crop
    instance: str | None
    part: str


def decode_annotation(
    result: Sequence[Any], config: LabelConfig, *, size: Size | None = None
) -> Decoded:
    """The target of an annotation's `result`, in the size (H, W) px of the image as it is used.

    Without a size, that of the first region that states one. Regions drawn on an image of another
    aspect (over 2 %) are problems; of another size but the same aspect, their masks are resized.
    Regions that `encode_prediction` tied by meta become one instance again.
    """
    problems: list[RegionProblem] = []
    regions = _regions(result, config)
    size = size or next((s for rows in regions if (s := _stated_size(rows[0])) is not None), None)
    if size is None:
        if regions:
            reason = "No region states original_width and original_height; all skipped."
            problems.append(RegionProblem("", "no_size", reason, "dropped"))
        return Decoded(None, tuple(problems))
    parts: list[_Part] = []
    for rows in regions:
        try:
            parts.append(_decode(rows, config, size, problems))
        except RegionError as error:
            problems.append(problem_of(rows[0].get("id", "?"), error))
    return Decoded(_target(_merged(parts), size, problems), tuple(problems))


def _regions(result: Sequence[Any], config: LabelConfig) -> list[list[Row]]:
    """The results of every region, in the order of their first: those of one id, one a tag."""
    regions: dict[object, list[Row]] = {}
    seen: Counter[tuple[str, str]] = Counter()
    for index, row in enumerate(result):
        if not _is_ours(row, config):
            continue
        name = (str(row.get("id")), str(row.get("from_name")))
        # A second result of the same tag, or one without id, is another region.
        key = index if row.get("id") is None else (name[0], seen[name])
        seen[name] += 1
        regions.setdefault(key, []).append(row)
    return list(regions.values())


def _is_ours(row: Any, config: LabelConfig) -> bool:
    """Whether this is a result masks are made of (not a choice, a text, a relation, a prompt)."""
    kind = row.get("type") if isinstance(row, Mapping) else None
    if not isinstance(kind, str):
        return False
    if kind in _TYPES or kind in _UNREADABLE:
        return True
    if kind not in _TOOL_TYPES:
        control = config.control(str(row.get("from_name")))
        return kind == "labels" and control is not None and control.result_type == kind
    # A tool's own result says only that a region lacks its label, where labels are apart.
    return row.get("to_name") == config.image.name and any(each.tool for each in config.controls)


def _stated_size(region: Row) -> Size | None:
    height, width = region.get("original_height"), region.get("original_width")
    if isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0:
        return (height, width) if height * width <= MAX_PIXELS else None
    return None


def _decode(
    rows: list[Row], config: LabelConfig, size: Size, problems: list[RegionProblem]
) -> _Part:
    region = rows[0]
    control, label = _label(rows, config, problems)
    value = region.get("value")
    if not isinstance(value, Mapping):
        raise RegionError(f"expected a value with the shape, got {type(value).__name__}.")
    if region.get("image_rotation"):
        raise RegionError(
            "it was drawn on a rotated image; turn the image back in Label Studio and draw again."
        )
    stated = _stated_size(region)
    if stated is not None:
        _check_aspect(stated, size)
    meta = region.get("meta")
    meta = meta if isinstance(meta, Mapping) else {}
    instance = meta.get(INSTANCE_KEY)
    kind = next((kind for key, kind in _SHAPES.items() if key in value), control.kind)
    crop = _crop(kind, value, stated, size)
    number = config.label_map.index(label)
    return _Part(number, crop, instance and str(instance), str(meta.get(PART_KEY, "")))


def _label(
    rows: list[Row], config: LabelConfig, problems: list[RegionProblem]
) -> tuple[ControlTag, str]:
    """The label tag and the label of a region: the first one known."""
    labelled = [row for row in rows if row["type"] not in _TOOL_TYPES]
    if not labelled:
        raise RegionError("it has no label; select it in Label Studio and choose one.")
    found, given, wrong = [], [], []
    for row in labelled:
        try:
            control = _control(row, config)
            names = _names(row, control)
        except RegionError as error:
            wrong.append(error)
            continue
        given += names
        found += [(control, name) for name in names if name in control.labels]
    if not found:
        raise wrong[0]
    if len(given) > 1:
        several = RegionError(
            f"it has several labels {given!s:.80}; an instance has one, so {found[0][1]!r} is"
            " used.",
            "several_labels",
        )
        problems.append(problem_of(rows[0].get("id", "?"), several, "used"))
    return found[0]


def _control(region: Row, config: LabelConfig) -> ControlTag:
    if region["type"] in _UNREADABLE:
        raise RegionError(
            f"{_UNREADABLE[region['type']]} cannot be read; draw it with one of {', '.join(KINDS)}."
        )
    control = config.control(str(region.get("from_name")))
    if control is None or control.result_type != region["type"]:
        known = ", ".join(f"{each.name} ({each.result_type})" for each in config.controls)
        raise RegionError(
            f"from_name {region.get('from_name')!r} ({region['type']}) is not in the labelling "
            f"config; known are {known}."
        )
    if region.get("to_name") != control.to_name:
        raise RegionError(f"expected to_name {control.to_name!r}, got {region.get('to_name')!r}.")
    return control


def _names(region: Row, control: ControlTag) -> list[Any]:
    """What a result gives as labels, of which at least one is known."""
    value = region.get("value")
    if not isinstance(value, Mapping):
        raise RegionError(f"expected a value with the shape, got {type(value).__name__}.")
    given = value.get(control.result_type)
    names = given if isinstance(given, list) else []
    if not any(isinstance(name, str) and name in control.labels for name in names):
        raise RegionError(
            f"expected a label of {control.name!r}, got {given!s:.80}; label it again, "
            "or put the label back into the labelling config."
        )
    return names


def _check_aspect(stated: Size, size: Size) -> None:
    """Refuse a region of another image: the sizes must agree up to scale (and rounding)."""
    (h, w), (height, width) = stated, size
    off = abs(h * width - w * height)
    if off > max(ASPECT_TOLERANCE * h * width, height, width, h, w):
        raise RegionError(
            f"it was drawn on an image of {h}x{w} px, but the image is {height}x{width}; "
            "the image was exchanged: draw again."
        )


def _crop(kind: Kind, value: Mapping[str, Any], stated: Size | None, size: Size) -> Crop:
    if kind == "polygon":
        return polygon_to_crop(value.get("points"), *size)
    if kind == "ellipse":
        return ellipse_to_crop(value, *size)
    if kind == "rectangle":
        return rectangle_to_crop(value, *size)
    if stated is None:
        raise RegionError("expected original_width and original_height of the image (in px).")
    if value.get("format", "rle") != "rle":
        raise RegionError(f"expected a brush in format 'rle', got {value.get('format')!r:.40}.")
    mask = decode_rle(value.get("rle", ()), *stated)
    return tight(Crop(resized(mask, *size), 0, 0))


def _merged(parts: list[_Part]) -> list[tuple[int, Crop]]:
    """Instances (label, crop): parts of one tie and one label together, in order of appearance.

    A part that is there twice was copied by an annotator: each copy is an instance of its own.
    """
    groups: dict[object, list[_Part]] = {}
    for index, part in enumerate(parts):
        key = (part.instance, part.label) if part.instance else index
        if any(other.part == part.part for other in groups.get(key, ())):
            key = index
        groups.setdefault(key, []).append(part)
    return [(group[0].label, union([part.crop for part in group])) for group in groups.values()]


def _target(instances: list[tuple[int, Crop]], size: Size, problems: list[RegionProblem]) -> Target:
    room = max(MAX_MASK_BYTES // (size[0] * size[1]), 1)
    if len(instances) > room:
        reason = (
            f"{len(instances)} instances of {size[0]}x{size[1]} px do not fit into "
            f"{MAX_MASK_BYTES >> 20} MiB of masks; the first {room} are used."
        )
        problems.append(RegionProblem("", "too_many", reason, "dropped"))
        instances = instances[:room]
    n = len(instances)
    masks = np.zeros((n, *size), bool)
    boxes = np.zeros((n, 4), np.float32)
    for row, (_, crop) in enumerate(instances):
        h, w = crop.mask.shape
        masks[row, crop.y : crop.y + h, crop.x : crop.x + w] = crop.mask
        boxes[row] = crop.x, crop.y, crop.x + w, crop.y + h
    labels = np.array([label for label, _ in instances], np.int64)
    return Target(boxes, labels, masks, np.zeros(n, bool))

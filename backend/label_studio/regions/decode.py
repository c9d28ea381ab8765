"""Reads the regions of one annotation as the ground truth of one image.

A region with known pixels but an unknown label becomes a crowd: its pixels count neither as object
nor as background. A region with unknown pixels is reported, and the image is left out of training.
Otherwise the image would teach that the object in that region is background.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backend.errors import RegionError
from backend.label_studio.label_config import Kind, LabelConfig
from backend.label_studio.regions.bitmask import decode_bitmask
from backend.label_studio.regions.brush import MAX_PIXELS, decode_rle, stated_values
from backend.label_studio.regions.crop import Crop, resized, tight, union
from backend.label_studio.regions.ellipse import ellipse_to_crop
from backend.label_studio.regions.polygon import polygon_to_crop
from backend.label_studio.regions.problems import RegionProblem, problem_of
from backend.label_studio.regions.rectangle import readable_number, rectangle_to_crop
from backend.label_studio.regions.results import Region, Result, regions_of, shape_of
from backend.label_studio.regions.vector import vector_to_crop
from taudis.types import ANY_LABEL, Target

INSTANCE_KEY, PART_KEY = "taudis_instance", "taudis_part"
"""Meta keys of a region that link the parts of one instance. Label Studio keeps meta unchanged."""

MAX_MASK_BYTES = 2 << 30
"""Limit for the masks [n,H,W] of one image. 10,000 regions on 12 megapixels would take 120 GB."""

ASPECT_TOLERANCE = 0.02

MAX_SCALE = 4
"""Maximum width of a bitmask, as a multiple of its image's width. The editor writes equal width."""

Size = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Decoded:
    """An annotation as ground truth, and the problems of its regions.

    A region with the effect `painted_out` is a row of the target with `iscrowd` and ANY_LABEL.
    """

    target: Target | None  # None if the image's size is unknown
    problems: tuple[RegionProblem, ...]


@dataclass(frozen=True, eq=False)
class _Part:
    label: int
    crop: Crop
    instance: str | None
    part: str


def decode_annotation(
    result: Sequence[Any],
    config: LabelConfig,
    *,
    size: Size | None = None,
    largest: Size | None = None,
) -> Decoded:
    """The target of an annotation's `result`, in the size (H, W) px of the image in use.

    Without `size`, the first size that a region states is used. Regions drawn on an image with
    another aspect ratio (over 2 %) are problems. If only the size differs, their masks are resized.
    Regions that `encode_prediction` linked by meta become one instance again.

    `largest`: the size (H, W) px of the original image, if `size` is that of a smaller copy. A
    bitmask may be MAX_SCALE times as wide as `largest`, or as `size` without it.

    Regions with known pixels and unknown label come last, as crowds, and so do, as one row, the
    instances beyond the memory limit. Crowd pixels may also belong to instances.
    """
    problems: list[RegionProblem] = []
    regions = regions_of(result, config)
    size = size or _first_stated(regions)
    if size is None:
        return Decoded(None, tuple(_without_size(regions)))
    largest = largest or size
    parts: list[_Part] = []
    unknown: list[Crop] = []
    for region in regions:
        try:
            parts.append(_part(region, config, size, largest, problems))
        except RegionError as error:
            problems.append(_painted(region, config, size, largest, error, unknown))
    target = _target(_merged(parts), unknown, size, problems)
    return Decoded(target, tuple(problems))


def problems_of(result: Sequence[Any], config: LabelConfig) -> list[RegionProblem]:
    """The problems that `decode_annotation` finds, with the mask of only one region in memory.

    The image's size is the first that a region states. A wrong image and too many instances are
    therefore not detected.
    """
    problems: list[RegionProblem] = []
    regions = regions_of(result, config)
    size = _first_stated(regions)
    if size is None:
        return _without_size(regions)
    for region in regions:
        try:
            _part(region, config, size, size, problems)
        except RegionError as error:
            problems.append(_painted(region, config, size, size, error, []))
    return problems


def _without_size(regions: Sequence[Region]) -> list[RegionProblem]:
    """The problem of an annotation whose image size is unknown; [] without regions."""
    reason = "No region states original_width and original_height; all skipped."
    return [RegionProblem("", "no_size", reason, "dropped")] if regions else []


def image_size(result: Sequence[Any], config: LabelConfig) -> Size | None:
    """The first image size (H, W) px that a region states; None if no region states it."""
    return _first_stated(regions_of(result, config))


def _first_stated(regions: Sequence[Region]) -> Size | None:
    return next((size for each in regions if (size := _stated_size(each.first))), None)


def _part(
    region: Region, config: LabelConfig, size: Size, largest: Size, problems: list[RegionProblem]
) -> _Part:
    label, several = region.label(config)
    crop = _crop(region, config, size, largest)
    if several is not None:
        problems.append(problem_of(region.id, several, "used"))
    if shape_of(region.first) == "polygon" and region.first["value"].get("closed") is False:
        reason = "its outline was not closed; it is read as if it were: close it in Label Studio."
        problems.append(RegionProblem(region.id[:40], "open_outline", reason, "used"))
    meta = region.first.get("meta")
    meta = meta if isinstance(meta, Mapping) else {}
    instance = meta.get(INSTANCE_KEY)
    number = config.label_map.index(label)
    return _Part(number, crop, instance and str(instance), str(meta.get(PART_KEY, "")))


def _painted(
    region: Region,
    config: LabelConfig,
    size: Size,
    largest: Size,
    error: RegionError,
    unknown: list[Crop],
) -> RegionProblem:
    """The problem of a region that is no instance. Adds its pixels, if known, to `unknown`."""
    if error.kind == "no_pixel":
        return problem_of(region.id, error, "painted_out")  # it is known to cover no pixel
    try:
        unknown.append(_crop(region, config, size, largest))
    except RegionError as shape:
        if shape.kind == "no_pixel":
            return problem_of(region.id, error, "painted_out")
        if str(shape) != str(error):
            error = RegionError(f"{error} And {shape}", error.kind)
        return problem_of(region.id, error, "dropped")
    return problem_of(region.id, error, "painted_out")


def _stated_size(row: Result) -> Size | None:
    """The image size (H, W) that a result states; None if it is missing or invalid."""
    height = readable_number(row.get("original_height"))
    width = readable_number(row.get("original_width"))
    if height is None or width is None or not (height >= 1 and width >= 1):
        return None
    return (round(height), round(width)) if height * width <= MAX_PIXELS else None


def _crop(region: Region, config: LabelConfig, size: Size, largest: Size) -> Crop:
    """The region's pixels. Raises RegionError if it is of another image or covers no pixel."""
    row = region.first
    value = row.get("value")
    if not isinstance(value, Mapping):
        raise RegionError(f"expected a value with the shape, got {type(value).__name__}.")
    page = readable_number(row.get("item_index"))
    if page is not None and page != 0:
        raise RegionError(
            f"it was drawn on page {page:g} of a list of images, of which the first is used; "
            "give each image a task of its own.",
            "other_image",
        )
    to_name = row.get("to_name")
    if str(to_name) in config.other_objects:
        raise RegionError(
            f"expected to_name {config.image.name!r}, got {to_name!r:.60}, another object.",
            "other_image",
        )
    stated = _stated_size(row)
    control = config.control(str(row.get("from_name")))
    kind = shape_of(row) or (control.kind if control else None)
    if kind is None:
        raise RegionError("it has no shape that can be read.")
    # A bitmask has its own size. Run lengths imply theirs: the editor reads them by the image's
    # size, whatever size is stated. The stated size is trusted only if they fit it too.
    wrong = kind == "brush" and stated is not None and not _is_of_size(value, stated)
    if stated is not None and kind != "bitmask" and not (wrong and _is_of_size(value, size)):
        _check_aspect(stated, size)
    return _shape(kind, value, stated, size, largest)


def _is_of_size(value: Mapping[str, Any], size: Size) -> bool:
    """Whether a brush's run lengths have the number of values for this image size."""
    return stated_values(value.get("rle")) == size[0] * size[1] * 4


def _check_aspect(stated: Size, size: Size) -> None:
    """Raise RegionError for a region of another image: sizes may differ by scale and rounding."""
    (h, w), (height, width) = stated, size
    off = abs(h * width - w * height)
    if off > max(ASPECT_TOLERANCE * h * width, height, width, h, w):
        raise RegionError(
            f"it was drawn on an image of {h}x{w} px, but the image is {height}x{width}; "
            "the image was exchanged: draw again.",
            "other_image",
        )


def _shape(
    kind: Kind, value: Mapping[str, Any], stated: Size | None, size: Size, largest: Size
) -> Crop:
    if kind == "polygon":
        return polygon_to_crop(value.get("points"), *size)
    if kind == "vector":
        return vector_to_crop(value, *size)
    if kind == "ellipse":
        return ellipse_to_crop(value, *size)
    if kind == "rectangle":
        return rectangle_to_crop(value, *size)
    if kind == "bitmask":
        most = min(MAX_PIXELS, MAX_SCALE**2 * largest[0] * largest[1])
        mask = decode_bitmask(value.get("imageDataURL"), most)
        _check_aspect(mask.shape, size)
        return tight(Crop(resized(mask, *size), 0, 0))
    return _brush(value, stated, size)


def _brush(value: Mapping[str, Any], stated: Size | None, size: Size) -> Crop:
    """A brush's pixels, read by the image's size as in the editor, else by the stated size.

    The number of values in the run lengths tells which size applies.
    """
    rle = value.get("rle")
    if rle is None:
        others = sorted(set(value) & {"touches", "maskDataURL", "format"})
        raise RegionError(
            f"expected a brush's run lengths (rle), got {', '.join(others) or 'no shape'}; "
            "open the task in Label Studio and submit it again."
        )
    if stated is None or _is_of_size(value, size):
        stated = size
    return tight(Crop(resized(decode_rle(rle, *stated), *size), 0, 0))


def _merged(parts: list[_Part]) -> list[tuple[int, Crop]]:
    """Instances (label, crop) in order of appearance. Linked parts with one label are one instance.

    If a part occurs twice, an annotator copied it: each copy is then a separate instance.
    """
    groups: dict[object, list[_Part]] = {}
    for index, part in enumerate(parts):
        key = (part.instance, part.label) if part.instance else index
        if any(other.part == part.part for other in groups.get(key, ())):
            key = index
        groups.setdefault(key, []).append(part)
    return [(group[0].label, union([part.crop for part in group])) for group in groups.values()]


def _target(
    instances: list[tuple[int, Crop]],
    unknown: list[Crop],
    size: Size,
    problems: list[RegionProblem],
) -> Target:
    """Instances first, then the crowds. Instances beyond the memory limit become one crowd."""
    room = max(MAX_MASK_BYTES // (size[0] * size[1]), 1)
    if len(instances) + len(unknown) > room:
        kept = min(len(instances), room - 1)
        unknown = [union([crop for _, crop in instances[kept:]] + unknown)]
        if kept < len(instances):
            reason = (
                f"{len(instances)} instances of {size[0]}x{size[1]} px do not fit into "
                f"{MAX_MASK_BYTES >> 20} MiB of masks; the first {kept} are used, the others are "
                "painted out."
            )
            problems.append(RegionProblem("", "too_many", reason, "painted_out"))
            instances = instances[:kept]
    rows = [*instances, *((ANY_LABEL, crop) for crop in unknown)]
    n = len(rows)
    masks = np.zeros((n, *size), bool)
    boxes = np.zeros((n, 4), np.float32)
    for row, (_, crop) in enumerate(rows):
        h, w = crop.mask.shape
        masks[row, crop.y : crop.y + h, crop.x : crop.x + w] = crop.mask
        boxes[row] = crop.x, crop.y, crop.x + w, crop.y + h
    labels = np.array([label for label, _ in rows], np.int64)
    return Target(boxes, labels, masks, np.arange(n) >= len(instances))

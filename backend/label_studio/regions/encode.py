"""Writes detections as the regions of one Label Studio prediction."""

from __future__ import annotations

import hashlib
from typing import Any

import cv2
import numpy as np

from backend.errors import RegionError
from backend.label_studio.label_config import ControlTag, LabelConfig
from backend.label_studio.regions.bitmask import encode_bitmask
from backend.label_studio.regions.brush import encode_rles
from backend.label_studio.regions.crop import Crop, tight
from backend.label_studio.regions.decode import INSTANCE_KEY, PART_KEY
from backend.label_studio.regions.ellipse import mask_to_ellipse
from backend.label_studio.regions.polygon import SIMPLIFY_PX, SPECK_PX, mask_to_polygons
from backend.label_studio.regions.rectangle import box_to_value
from taudis.evaluation.visible import visible
from taudis.types import Detection, FloatArray, Instances

MASK_THRESHOLD = 0.5
BRUSH_PX = 4_000_000  # limits the memory of crops that wait to be encoded together

Region = dict[str, Any]


def encode_prediction(
    detection: Detection,
    config: LabelConfig,
    *,
    threshold: float | FloatArray,
    simplify_px: float = SIMPLIFY_PX,
) -> list[Region]:
    """The regions of the instances that `taudis.evaluation.visible` picks, best score first.

    `threshold` is the lowest score, for all labels or for each [K]. A label's regions use its
    control: brush, else bitmask, polygon, ellipse, rectangle. If no tag of a label takes
    predictions (`ControlTag.scores_only`), the label gets no regions. Instances of fewer than
    SPECK_PX pixels are dropped. A polygon instance of several parts gives several regions, linked
    by their meta.

    As in the editor, a region has two results with the same id if a tool draws it and a `Labels`
    tag labels it, or if its class is a choice. The choice's result has no shape: the editor uses
    the shape of the other result, and a second brush would double the bytes of a task. The same
    detection always gives the same region ids. All numbers are within the limits of Label Studio's
    check.
    """
    instances = visible(detection.instances, np.broadcast_to(threshold, len(config.label_map)))
    regions: list[Region] = []
    for row, shapes in enumerate(_shapes(instances, config, detection.size, simplify_px)):
        label = config.label_map.name(int(instances.labels[row]))
        regions += _regions(
            shapes, config.control_for(label), label, instances, row, detection.size
        )
    return regions


def _shapes(
    instances: Instances, config: LabelConfig, size: tuple[int, int], simplify_px: float
) -> list[list[Region]]:
    """The shape part of each instance's regions. Brushes are encoded together, which is faster."""
    height, width = size
    values: list[list[Region]] = []
    brushes: list[tuple[int, Crop]] = []  # wait to be encoded together
    waiting = 0
    for row in range(len(instances)):
        control = config.control_for(config.label_map.name(int(instances.labels[row])))
        probs = None if instances.mask_probs is None else instances.mask_probs[row]
        if control.scores_only:
            values.append([])
            continue
        if control.kind != "brush":
            values.append(_values(control, probs, instances.boxes[row], height, width, simplify_px))
            continue
        crop = _instance(control, probs, instances.boxes[row], height, width)
        values.append([])
        if crop is None:
            continue
        brushes.append((row, crop))
        waiting += crop.mask.size
        if waiting > BRUSH_PX:
            _fill(values, brushes, height, width)
            brushes, waiting = [], 0
    _fill(values, brushes, height, width)
    return values


def _fill(
    values: list[list[Region]], brushes: list[tuple[int, Crop]], height: int, width: int
) -> None:
    """Encode the crops, and put each result into its row of `values`."""
    written = encode_rles([crop for _, crop in brushes], height, width)
    for (row, _), rle in zip(brushes, written, strict=True):
        values[row] = [{"format": "rle", "rle": rle}]


def paste(mask_probs: FloatArray, box: FloatArray, height: int, width: int) -> Crop | None:
    """A mask [M,M] of probabilities in its box (xyxy px), as by torchvision's paste_masks_in_image.

    Computes only the box's part of the image. None if no pixel reaches 0.5, which happens with weak
    models.
    """
    side = mask_probs.shape[-1]
    padded = np.zeros((side + 2, side + 2), np.float32)
    padded[1:-1, 1:-1] = mask_probs
    x1, y1, x2, y2 = _expanded(box, np.float32((side + 2) / side))
    resized = cv2.resize(
        padded, (max(x2 - x1 + 1, 1), max(y2 - y1 + 1, 1)), interpolation=cv2.INTER_LINEAR
    )
    left, top = max(x1, 0), max(y1, 0)
    inside = resized[top - y1 : max(height - y1, 0), left - x1 : max(width - x1, 0)]
    mask = np.asarray(inside >= MASK_THRESHOLD)
    return tight(Crop(mask, left, top)) if mask.any() else None


def _expanded(box: FloatArray, scale: np.float32) -> tuple[int, int, int, int]:
    """Torchvision's `expand_boxes`, with the same order of float32 operations, in whole px."""
    x1, y1, x2, y2 = box.astype(np.float32)
    half = np.float32(0.5)
    w, h = (x2 - x1) * half * scale, (y2 - y1) * half * scale
    x, y = (x2 + x1) * half, (y2 + y1) * half
    return int(x - w), int(y - h), int(x + w), int(y + h)


def _values(
    control: ControlTag,
    probs: FloatArray | None,
    box: FloatArray,
    height: int,
    width: int,
    simplify_px: float,
) -> list[Region]:
    """The shape part of an instance's regions: one, several for a polygon in parts, or none.

    Not used for brushes, which are encoded together.
    """
    if control.kind == "rectangle":
        try:
            return [box_to_value(box.tolist(), height, width)]
        except RegionError:  # nobody can see or correct a box without area
            return []
    crop = _instance(control, probs, box, height, width)
    if crop is None:
        return []
    if control.kind == "ellipse":
        return [mask_to_ellipse(crop, height, width)]
    if control.kind == "bitmask":
        return [{"imageDataURL": encode_bitmask(crop.paste(height, width))}]
    outlines = mask_to_polygons(crop, height, width, simplify_px=simplify_px)
    return [{"points": outline, "closed": True} for outline in outlines]


def _instance(
    control: ControlTag, probs: FloatArray | None, box: FloatArray, height: int, width: int
) -> Crop | None:
    """The instance's pixels; None for a speck. Raises RegionError without a mask."""
    if probs is None:
        raise RegionError(
            f"Pre-annotations for {control.name!r} need masks; keep mask_probs in the detection."
        )
    crop = paste(probs, box, height, width)
    return None if crop is None or np.count_nonzero(crop.mask) < SPECK_PX else crop


def _regions(
    values: list[Region],
    control: ControlTag,
    label: str,
    instances: Instances,
    row: int,
    size: tuple[int, int],
) -> list[Region]:
    height, width = size
    written = [_content(value) for value in values]
    instance = _identity(row, control.name, label, instances.boxes[row].tobytes(), written)
    regions: list[Region] = []
    for part, value in enumerate(values):
        region: Region = {
            "id": instance if len(values) == 1 else _identity(instance, part),
            "from_name": control.name,
            "to_name": control.to_name,
            "type": control.result_type,
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {**value, control.result_type: [label]},
            "score": round(float(instances.scores[row]), 6),
        }
        if len(values) > 1:
            region["meta"] = {INSTANCE_KEY: instance, PART_KEY: part}
        if control.tool:
            tool = control.tool
            shape = {**value, tool.result_type: [tool.label]} if tool.label else value
            drawn = {"from_name": tool.name, "type": tool.result_type, "value": shape}
            regions.append(region | drawn)
        if control.choices:
            region = region | {"value": {control.result_type: [label]}}
        regions.append(region)
    return regions


def _content(value: Region) -> bytes:
    """A digest of a shape, which is faster to make than the decimals of its many numbers."""
    digest = hashlib.sha256()
    for name, part in sorted(value.items()):
        digest.update(f"{name}:".encode())
        if name == "points":
            digest.update(np.asarray(part, np.float64).tobytes())
        elif name == "rle":
            digest.update(bytes(part))
        else:
            digest.update(repr(part).encode())
    return digest.digest()


def _identity(*what: Any) -> str:
    """An id of ten characters, like the editor's, that depends only on the content."""
    return hashlib.sha256(repr(what).encode()).hexdigest()[:10]

"""Writes labelled objects, such as those of a COCO file, as the regions of an annotation."""

from __future__ import annotations

from typing import Any

from backend.errors import RegionError
from backend.label_studio.label_config import ControlTag, LabelConfig
from backend.label_studio.regions.bitmask import encode_bitmask
from backend.label_studio.regions.brush import encode_rle
from backend.label_studio.regions.crop import Crop
from backend.label_studio.regions.decode import INSTANCE_KEY, PART_KEY
from backend.label_studio.regions.polygon import mask_to_polygons
from backend.label_studio.regions.rectangle import box_to_value
from taudis.types import BoolArray, LabelMap, Target

Region = dict[str, Any]


def encode_objects(target: Target, label_map: LabelMap, config: LabelConfig) -> list[Region]:
    """The regions of an image's objects, each drawn with the control tag of its label.

    No object is too small, because a person annotated it.

    Args:
        target: the objects. Crowds are left out, because their members cannot be outlined, and so
            are masks without a pixel.
        label_map: the names of the target's labels. The labelling config must have them.
        config: the project's labelling config. Its controls are tags, not tools beside `Labels`.

    Returns:
        One region for each object, several for a polygon in parts (linked by their meta), none for
        a box without an area. The same objects give the same region ids.
    """
    regions: list[Region] = []
    for index in range(len(target)):
        mask = target.masks[index]
        if target.iscrowd[index] or not mask.any():
            continue
        label = label_map.name(int(target.labels[index]))
        control = config.control_for(label)
        height, width = mask.shape
        values = _values(control, mask, target.boxes[index].tolist())
        for part, value in enumerate(values):
            regions.append({
                "id": f"t{index}p{part}",
                "type": control.result_type,
                "from_name": control.name,
                "to_name": control.to_name,
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                "value": {**value, control.result_type: [label]},
            })  # fmt: skip
            if len(values) > 1:
                regions[-1]["meta"] = {INSTANCE_KEY: f"t{index}", PART_KEY: part}
    return regions


def count_objects(regions: list[Region]) -> int:
    """The number of objects in regions of `encode_objects`. Parts of one object count once."""
    return sum(not region.get("meta", {}).get(PART_KEY) for region in regions)


def _values(control: ControlTag, mask: BoolArray, box: list[float]) -> list[Region]:
    """The region values of one object's mask [H,W], in the control tag's shape."""
    height, width = mask.shape
    if control.kind == "brush":
        return [{"format": "rle", "rle": encode_rle(mask)}]
    if control.kind == "bitmask":
        return [{"imageDataURL": encode_bitmask(mask)}]
    if control.kind == "rectangle":
        try:
            return [box_to_value(box, height, width)]
        except RegionError:
            return []
    outlines = mask_to_polygons(Crop(mask, 0, 0), height, width, specks=0)
    return [{"points": outline, "closed": True} for outline in outlines]

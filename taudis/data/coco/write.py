"""Writes COCO files and COCO results. Masks become run lengths or polygons.

Run lengths store a mask exactly. Polygons are for tools that read only polygons. Their points are
pixel corners, so COCO's rasteriser restores the mask. COCO's polygons have no holes, so a hole is
joined to its outline by a cut of width 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, cast, get_args

import numpy as np

from taudis.data.coco.masks import encode
from taudis.data.coco.values import Key
from taudis.data.outlines import Points, bridge, oriented, parts_of
from taudis.errors import DataError
from taudis.types import BoolArray, Detection, IntArray, LabelMap, Target, labels_of_region

Segmentation = Literal["rle", "polygon"]


def segmentation_of(mask: BoolArray, form: Segmentation = "rle") -> Any:
    """A mask [H,W] as run lengths or polygons; an empty mask has no polygon."""
    return encode(mask) if form == "rle" else polygons_of(mask)


def polygons_of(mask: BoolArray) -> list[list[float]]:
    """The outlines [x1, y1, x2, y2, ...] px of a mask's parts, along pixel corners, without holes.

    Parts that touch only at a corner are one polygon. pycocotools restores the mask bit for bit
    (tested), and so does a reader with the even-odd or the winding rule.
    """
    outlines = []
    for outer, holes in parts_of(mask):
        outline = oriented(_corners(outer), 1)
        for hole in holes:
            outline = bridge(outline, oriented(_corners(hole), -1))
        outlines.append([float(side) for side in outline.ravel()])
    return outlines


def _corners(ring: IntArray) -> Points:
    """A ring without repeated points and without points inside straight lines."""
    ring = ring[(ring != np.roll(ring, 1, axis=0)).any(axis=1)]
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    turns = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0] != 0
    back = (before * after).sum(axis=1) < 0
    kept = ring[turns | back]
    return np.asarray(kept if len(kept) >= 3 else ring, np.float64)


def form_of(text: str) -> Segmentation:
    """`text` as a form. Raises DataError for anything but rle and polygon."""
    for form in get_args(Segmentation):
        if text == form:
            return cast(Segmentation, form)
    raise DataError(f"segmentation: expected rle or polygon, got {text!r}.")


def coco_results(
    number: int,
    detection: Detection,
    masks: Iterable[BoolArray],
    categories: Sequence[Key],
    segmentation: Segmentation = "rle",
) -> list[dict[str, Any]]:
    """One image's detections as COCO results.

    number: the image id. masks: of the instances, at the image's size (`taudis.detector.pasting`).
    categories: the COCO ids of labels 1..K.
    """
    rows = detection.instances
    return [
        {
            "image_id": number,
            "category_id": categories[int(label) - 1],
            "score": float(score),
            "bbox": [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])],
            "segmentation": segmentation_of(mask, segmentation),
        }
        for label, score, box, mask in zip(rows.labels, rows.scores, rows.boxes, masks, strict=True)
    ]


def coco_of(
    label_map: LabelMap,
    images: Iterable[tuple[int, str, tuple[int, int]]],
    targets: Iterable[Target],
    segmentation: Segmentation = "rle",
) -> dict[str, Any]:
    """The content of a COCO file for images (id, file name, (height, width)) and their targets.

    Crowds are always run lengths, as in COCO. A crowd with ANY_LABEL is written once for each
    label, since a crowd in COCO has one label.
    """
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
            written = segmentation_of(mask, "rle" if crowd else segmentation)
            area = int(mask.sum())
            for category in labels_of_region(int(label), len(label_map)):
                content["annotations"].append({
                    "id": len(content["annotations"]) + 1,
                    "image_id": number,
                    "category_id": category,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": area,
                    "iscrowd": int(crowd),
                    "segmentation": written,
                })  # fmt: skip
    return content

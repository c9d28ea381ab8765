#!/usr/bin/env bash
# Expected: the box of a rotated rectangle in a COCO export holds the rectangle.
# Happens: Label Studio's COCO export rotates in percent of the image's sides. This is right in square images alone.
#   In an image of 1200 x 400 pixels the exported box of a rectangle that is turned by 90 degrees has an IoU of 0.2
#   with the rectangle. The VOC and YOLO exports write the box before the rotation (IoU 0). YOLO_OBB is right.
# Version and source: label-studio-sdk 2.1.2, label_studio_sdk.converter.Converter.rotated_rectangle, which Label Studio
#   1.23.2 exports with. Issue 101 of HumanSignal/label-studio-converter (open) is a user of it.
# The product: rotates in pixels (backend/label_studio/regions/).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check label-studio-sdk==2.1.2
venv/bin/python -W ignore - <<'PYTHON'
import json
import re
import sys
from importlib.metadata import version
from pathlib import Path

from label_studio_sdk.converter import Converter
from PIL import Image

CONFIG = '<View><Image name="image" value="$image"/><RectangleLabels name="box" toName="image">' \
    '<Label value="thing"/></RectangleLabels></View>'
SIZES = ((1200, 400), (400, 400))


def by_hand(width, height):
    """The rectangle below, turned about its corner x, y, as left, top, right, bottom."""
    x, y, w, h = 0.4 * width, 0.2 * height, 0.2 * width, 0.1 * height
    return tuple(round(side) for side in (x - h, y, x, y + w))


def iou(one, other):
    sides = [max(0, min(one[k + 2], other[k + 2]) - max(one[k], other[k])) for k in (0, 1)]
    inner = sides[0] * sides[1]
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return round(inner / (areas - inner), 2)


def exported(width, height):
    value = {"x": 40, "y": 20, "width": 20, "height": 10, "rotation": 90, "rectanglelabels": ["thing"]}
    region = {"id": "r", "from_name": "box", "to_name": "image", "type": "rectanglelabels", "value": value,
              "original_width": width, "original_height": height}
    task = {"id": 1, "data": {"image": "/data/upload/1/scene.png"},
            "annotations": [{"id": 1, "result": [region], "was_cancelled": False}]}
    Path("tasks.json").write_text(json.dumps([task]))
    Image.new("RGB", (width, height)).save("media/upload/1/scene.png")
    folder = f"{width}x{height}"
    for form in ("COCO", "VOC", "YOLO", "YOLO_OBB"):
        converter = Converter(CONFIG, ".", upload_dir="media", download_resources=False)
        converter.convert("tasks.json", f"{folder}/{form}", form, is_dir=False)
    (row,) = json.loads(Path(folder, "COCO/result.json").read_text())["annotations"]
    x, y, w, h = row["bbox"]
    text = next(Path(folder, "VOC/Annotations").glob("*.xml")).read_text()
    voc = [int(re.search(f"<{side}>(.*?)</", text)[1]) for side in ("xmin", "ymin", "xmax", "ymax")]
    cx, cy, bw, bh = map(float, next(Path(folder, "YOLO/labels").glob("*.txt")).read_text().split()[1:])
    yolo = [(cx - bw / 2) * width, (cy - bh / 2) * height, (cx + bw / 2) * width, (cy + bh / 2) * height]
    points = [float(part) for part in next(Path(folder, "YOLO_OBB/labels").glob("*.txt")).read_text().split()[1:]]
    xs, ys = [p * width for p in points[::2]], [p * height for p in points[1::2]]
    found = {"COCO": [x, y, x + w, y + h], "VOC": voc, "YOLO": yolo, "YOLO_OBB": [min(xs), min(ys), max(xs), max(ys)]}
    return {form: tuple(round(side) for side in box) for form, box in found.items()}


Path("media/upload/1").mkdir(parents=True)
print("label-studio-sdk", version("label-studio-sdk"), "boxes as left, top, right, bottom, and IoU with the right one")
seen = {}
for size in SIZES:
    boxes, right = exported(*size), by_hand(*size)
    seen[size] = {form: iou(box, right) for form, box in boxes.items()}
    print(f"image {size}, right {right}:", {form: (box, seen[size][form]) for form, box in boxes.items()})
other = {"VOC": 0, "YOLO": 0, "YOLO_OBB": 1}
if seen != {SIZES[0]: {"COCO": 0.2} | other, SIZES[1]: {"COCO": 1} | other}:
    sys.exit("Changed: expected IoU 0.2 for COCO in the wide image and 1 in the square one, 0 for VOC and YOLO.")
PYTHON

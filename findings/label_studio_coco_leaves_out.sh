#!/usr/bin/env bash
# Expected: an export holds every object, or names those that it could not write.
# Happens: Label Studio's COCO export leaves out brush and ellipse regions but keeps the picture,
#   which then seems to have fewer objects. Its log says "Unknown label type or labels are
#   empty {task_id=}", without the task's id. BRUSH_TO_COCO writes brush regions, but an object
#   of two parts as two annotations.
# Version and source: label-studio-sdk 2.1.2, label_studio_sdk.converter.Converter, which Label
#   Studio 1.23.2 exports with.
# The product: reads Label Studio's own JSON, in which a brush region of two parts is one object.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check label-studio-sdk==2.1.2
venv/bin/python - <<'PYTHON'
import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from label_studio_sdk.converter import Converter
from label_studio_sdk.converter.brush import mask2rle
from PIL import Image

TOOLS = ("PolygonLabels", "BrushLabels", "EllipseLabels")


def config(*tools):
    rows = (f'<{t} name="{t}" toName="image"><Label value="thing"/></{t}>' for t in tools)
    return '<View><Image name="image" value="$image"/>' + "".join(rows) + "</View>"


def region(tool, **value):
    kind = tool.lower()
    return {"id": kind, "from_name": tool, "to_name": "image", "type": kind,
            "original_width": 100, "original_height": 80, "value": value | {kind: ["thing"]}}


def exported(form, tools, regions):
    task = {"id": 1, "data": {"image": "/data/upload/1/scene.png"},
            "annotations": [{"id": 1, "result": regions, "was_cancelled": False}]}
    Path("tasks.json").write_text(json.dumps([task]))
    converter = Converter(config(*tools), ".", upload_dir="media", download_resources=False)
    converter.convert("tasks.json", form, form, is_dir=False)
    content = json.loads(next(Path(form).glob("*.json")).read_text())
    return len(content["images"]), len(content["annotations"])


Path("media/upload/1").mkdir(parents=True)
Image.new("RGB", (100, 80)).save("media/upload/1/scene.png")
parts = np.zeros((80, 100), np.uint8)
parts[50:60, 10:20] = parts[60:70, 30:40] = 255
polygon = region("PolygonLabels", points=[[10, 10], [30, 10], [30, 30]], closed=True)
brush = region("BrushLabels", format="rle", rle=mask2rle(parts))
ellipse = region("EllipseLabels", x=70, y=30, radiusX=10, radiusY=10, rotation=0)
seen = [exported("COCO", TOOLS, [polygon, brush, ellipse]),
        exported("BRUSH_TO_COCO", ["BrushLabels"], [brush])]
print("label-studio-sdk", version("label-studio-sdk"), "(images, annotations)")
print("COCO of a polygon, a brush and an ellipse region:", seen[0])
print("BRUSH_TO_COCO of one brush region of two parts:", seen[1])
if seen != [(1, 1), (1, 2)]:
    sys.exit("Changed: expected (1, 1) and (1, 2).")
PYTHON

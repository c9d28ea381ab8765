#!/usr/bin/env bash
# Expected: the area of an exported box is its width times its height.
# Happens: SuperAnnotate's converter to COCO computes (x2 - x1) * y2 - y1, so the area grows with the distance from the
#   top. A box of 10 x 10 pixels has an area of 100 at y 0, of 1000 at y 100, and of 9100 at y 1000. COCO's evaluation
#   groups the objects by this number: the third box is no small object but a medium one.
# Version and source: superannotate 4.6.2, export_annotation with the task object_detection (sa_vector_to_coco.py), and
#   pycocotools 2.0.11. With instance_segmentation the area is 121, with a row and a column too many, at each y.
# The product: computes areas from the mask, never from the file.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check superannotate==4.6.2 pycocotools==2.0.11
SA_VERSION_CHECK=false SA_SKIP_METRICS=true venv/bin/python -W ignore - <<'PYTHON'
import contextlib
import io
import json
import os
import sys
from importlib.metadata import version

from pycocotools.coco import COCO
from superannotate import export_annotation

TOPS = (0, 100, 1000)


def exported(task, instances):
    os.makedirs(task + "/classes")
    scene = {"metadata": {"name": "scene.png", "width": 400, "height": 1200}, "instances": instances}
    for path, content in (("/scene.png___objects.json", scene),
                          ("/classes/classes.json", [{"id": 1, "name": "thing", "color": "#ff0000"}])):
        with open(task + path, "w") as file:
            json.dump(content, file)
    export_annotation(task, task + "_coco", "COCO", "result", "Vector", task)
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(task + "_coco/result.json")


thing = {"classId": 1, "className": "thing", "groupId": 0}
boxes = exported("object_detection", [
    thing | {"type": "bbox", "points": {"x1": 100, "y1": top, "x2": 110, "y2": top + 10}} for top in TOPS])
polygons = exported("instance_segmentation", [
    thing | {"type": "polygon", "points": [100, top, 110, top, 110, top + 10, 100, top + 10]} for top in TOPS])
print("superannotate", version("superannotate"), "boxes and polygons of 10 x 10 pixels at y", TOPS)
areas = [[row["area"] for row in coco.dataset["annotations"]] for coco in (boxes, polygons)]
for row in boxes.dataset["annotations"]:
    print("exported box", row["bbox"], "area", row["area"])
print("areas of the exported polygons:", areas[1])
medium = boxes.getAnnIds(areaRng=[32**2, 96**2])
print("pycocotools", version("pycocotools"), "boxes of medium size:", medium)
if (areas, medium) != ([[100, 1000, 9100], [121, 121, 121]], [3]):
    sys.exit("Changed: expected areas of 100, 1000 and 9100 for boxes, 121 for polygons, and one medium box.")
PYTHON

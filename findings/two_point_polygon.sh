#!/usr/bin/env bash
# Expected: an exporter's file of a thin object is read, or refused with a message, and two
#   evaluators of one interface agree.
# Happens: imantics writes a line one pixel wide as a polygon of two points: four numbers. Where the
#   first polygon has four numbers, faster-coco-eval reads x, y, width, height: a line of 16
#   pixels becomes a box of 200. pycocotools raises a TypeError about a numpy array.
# Version and source: imantics 0.1.12, faster-coco-eval 1.8.0, pycocotools 2.0.11 (frPyObjects). The
#   contour is OpenCV's, which gives the two end points of such a line.
# The product: treats a polygon of fewer than three points as covering no pixel. The check counts it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
  imantics==0.1.12 faster-coco-eval==1.8.0 pycocotools==2.0.11
venv/bin/python - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
import pycocotools.mask
from faster_coco_eval import mask as faster
from imantics import Annotation, Category, Dataset, Image, Mask

line = np.zeros((80, 100), bool)
line[5:21, 10] = True
image = Image(image_array=np.zeros((80, 100, 3), np.uint8), id=1)
image.add(Annotation(image, Category("thing", id=1), mask=Mask(line)))
(written,) = Dataset("scene", images=[image]).coco()["annotations"]
polygons = [[int(number) for number in part] for part in written["segmentation"]]
print("imantics", version("imantics"), "a line of", line.sum(), "pixels:", polygons)

pixels = int(faster.decode(faster.frPyObjects(polygons, 80, 100)).sum())
print("faster-coco-eval", version("faster-coco-eval"), "reads", pixels, "pixels")
try:
    pycocotools.mask.frPyObjects(polygons, 80, 100)
    raised = "nothing"
except TypeError as error:
    raised = f"TypeError: {error}"
print("pycocotools", version("pycocotools"), "raises", raised)
if polygons != [[10, 5, 10, 20]] or pixels != 200 or not raised.startswith("TypeError"):
    sys.exit("Changed: expected a polygon of two points, 200 pixels, and a TypeError.")
PYTHON

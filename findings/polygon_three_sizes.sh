#!/usr/bin/env bash
# Expected: a COCO polygon is one set of pixels, and a mask is the same after writing and reading.
# Happens: COCO's polygons run along pixel corners. supervision fills them including the border
#   (441 pixels of a square of 400). It writes masks as contours through pixel centres, which
#   pycocotools reads as 361 pixels. Its own reader gives 400 again, so a round trip hides it.
# Version and source: supervision 0.31.2 with OpenCV 5.0.0 (findContours, fillPoly), pycocotools
#   2.0.11. Issue 659 of cocodataset/cocoapi, issue 7816 of open-mmlab/mmdetection.
# The product: reads polygons as pycocotools does, and writes run lengths, which are exact.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
  supervision==0.31.2 opencv-python-headless==5.0.0.93 pycocotools==2.0.11
venv/bin/python - <<'PYTHON'
import contextlib
import io
import json
import sys
from importlib.metadata import version

import numpy as np
import supervision as sv
from PIL import Image
from pycocotools.coco import COCO


def by_pycocotools(path):
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(path)
    return int(coco.annToMask(coco.anns[1]).sum())


def by_supervision(path):
    with contextlib.redirect_stdout(io.StringIO()):
        data = sv.DetectionDataset.from_coco(".", path, force_masks=True)
    return int(next(iter(data))[2].mask.sum())


Image.new("RGB", (100, 80)).save("scene.png")
square = {
    "images": [{"id": 1, "file_name": "scene.png", "width": 100, "height": 80}],
    "categories": [{"id": 1, "name": "thing"}],
    "annotations": [{
        "id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 400,
        "bbox": [10, 10, 20, 20], "segmentation": [[10, 10, 30, 10, 30, 30, 10, 30]],
    }],
}
with open("corners.json", "w") as file:
    json.dump(square, file)
mask = np.zeros((1, 80, 100), bool)
mask[0, 10:30, 10:30] = True
found = sv.Detections(sv.mask_to_xyxy(mask).astype(np.float32), mask, class_id=np.zeros(1, int))
data = sv.DetectionDataset(["thing"], ["scene.png"], {"scene.png": found})
data.as_coco(annotations_path="written.json")
print("pycocotools", version("pycocotools"), "and supervision", version("supervision"))
seen = [read(path) for path in ("corners.json", "written.json")
        for read in (by_pycocotools, by_supervision)]
print("polygon along the corners of 20 x 20 pixels, read by each:", seen[:2])
print("mask of 20 x 20 pixels, written by supervision, read by each:", seen[2:])
if seen != [400, 441, 361, 400]:
    sys.exit("Changed: expected 400, 441, 361 and 400 pixels.")
PYTHON

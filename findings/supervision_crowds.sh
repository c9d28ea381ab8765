#!/usr/bin/env bash
# Expected: one object stays one object, even if something covers its middle or splits it.
# Happens: supervision writes iscrowd 0 for a plain object, but iscrowd 1 for one with a hole or
#   of two parts. Training and evaluation code leaves crowds out. So the occluded objects vanish, and
#   the file seems complete.
# Version and source: supervision 0.31.2, DetectionDataset.as_coco. In the COCO format iscrowd says
#   whether a segmentation stands for a group of objects, not how many parts it has.
# The product: counts crowds before it trains, names the likely writer, and asks (--crowds objects).
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
import sys
from importlib.metadata import version

import numpy as np
import supervision as sv
from PIL import Image
from pycocotools.coco import COCO

masks = np.zeros((3, 80, 100), bool)
masks[0, 10:30, 10:30] = True
masks[1, 10:35, 40:80] = True
masks[1, 15:25, 50:70] = False
masks[2, 50:60, 10:20] = masks[2, 60:70, 30:40] = True
Image.new("RGB", (100, 80)).save("scene.png")
found = sv.Detections(sv.mask_to_xyxy(masks).astype(np.float32), masks, class_id=np.zeros(3, int))
sv.DetectionDataset(["thing"], ["scene.png"], {"scene.png": found}).as_coco(
    annotations_path="coco.json"
)
with contextlib.redirect_stdout(io.StringIO()):
    coco = COCO("coco.json")
crowds = [row["iscrowd"] for row in coco.loadAnns(coco.getAnnIds())]
left = coco.getAnnIds(iscrowd=False)
print("supervision", version("supervision"))
print("iscrowd of a plain object, one with a hole, one of two parts:", crowds)
print("pycocotools", version("pycocotools"), "getAnnIds(iscrowd=False):", left)
if crowds != [0, 1, 1] or left != [1]:
    sys.exit("Changed: expected iscrowd 0, 1, 1.")
PYTHON

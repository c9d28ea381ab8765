#!/usr/bin/env bash
# Expected: an object with a hole keeps its hole in the COCO file.
# Happens: imantics writes the outline of the hole as one more polygon of the object. In COCO the
#   polygons of an object are united, so pycocotools fills the hole. The area in the same
#   record still excludes the hole.
# Version and source: imantics 0.1.12, pycocotools 2.0.11. COCO's polygons have no holes; run
#   lengths can have them.
# The product: writes run lengths. Where a file's area and its mask differ, it takes the mask, as
#   every COCO reader does. It cannot know which is right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check imantics==0.1.12 pycocotools==2.0.11
venv/bin/python - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
import pycocotools.mask as tools
from imantics import Annotation, Category, Dataset, Image, Mask

plate = np.zeros((80, 100), bool)
plate[10:35, 40:80] = True
plate[15:25, 50:70] = False
image = Image(image_array=np.zeros((80, 100, 3), np.uint8), id=1)
image.add(Annotation(image, Category("thing", id=1), mask=Mask(plate)))
(written,) = Dataset("scene", images=[image]).coco()["annotations"]
polygons = [[int(number) for number in part] for part in written["segmentation"]]
read = tools.decode(tools.merge(tools.frPyObjects(polygons, 80, 100))).astype(bool)
filled = int(read[15:25, 50:70].sum())
print("imantics", version("imantics"), "polygons:", polygons)
print("area in the file:", int(written["area"]), "of a mask of", int(plate.sum()), "pixels")
print("pycocotools", version("pycocotools"), "reads", int(read.sum()), "pixels;",
      filled, "of the 200 of the hole are filled")
if len(polygons) != 2 or written["area"] != 800 or filled != 200:
    sys.exit("Changed: expected two polygons, area 800, and the hole filled.")
PYTHON

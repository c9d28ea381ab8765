#!/usr/bin/env bash
# Expected: a mask of one object is exported as one object (iscrowd 0).
# Happens: datumaro, which CVAT exports with, writes iscrowd 1 for every mask in its default mode.
#   pycocotools then has no object to find: perfect detections have AP -1. Code that leaves
#   crowds out has nothing to train on.
# Version and source: datumaro 1.13.12. Issue 5027 of facebookresearch/detectron2 is a user of it.
# The product: counts the crowds of such a file, names the likely writer, and asks (--crowds objects).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check datumaro==1.13.12 pycocotools==2.0.11
venv/bin/python - <<'PYTHON'
import contextlib
import io
import json
import sys
from importlib.metadata import version

import numpy as np
from datumaro.components.annotation import Mask
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

shapes = []
for number in (1, 2):
    mask = np.zeros((80, 100), bool)
    mask[10:30, 40 * number - 30 : 40 * number - 10] = True
    shapes.append(Mask(mask, label=0, id=number, group=number))
picture = Image.from_numpy(np.zeros((80, 100, 3), np.uint8))
item = DatasetItem("scene", subset="train", media=picture, annotations=shapes)
Dataset.from_iterable([item], categories=["thing"]).export("out", "coco_instances")
path = "out/annotations/instances_train.json"
with open(path) as file:
    rows = json.load(file)["annotations"]
crowds = [row["iscrowd"] for row in rows]

with contextlib.redirect_stdout(io.StringIO()):
    truth = COCO(path)
    keys = ("image_id", "category_id", "segmentation")
    perfect = [
        {key: row[key] for key in keys} | {"segmentation": truth.annToRLE(row), "score": 0.9}
        for row in rows
    ]
    run = COCOeval(truth, truth.loadRes(perfect), "segm")
    run.evaluate()
    run.accumulate()
    run.summarize()
print("datumaro", version("datumaro"), "iscrowd of two plain masks:", crowds)
print("pycocotools", version("pycocotools"), "AP of perfect detections:", run.stats[0])
if crowds != [1, 1] or run.stats[0] != -1:
    sys.exit("Changed: expected iscrowd 1 for both, and AP -1.")
PYTHON

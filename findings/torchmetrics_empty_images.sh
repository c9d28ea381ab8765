#!/usr/bin/env bash
# Expected: a mask predicted in an image without objects is a false positive, in mask AP as in box AP.
# Happens: with iou_type="segm", torchmetrics leaves the images without objects out of the evaluation. One perfect mask
#   and nine wrong ones of higher score, in nine empty images, have AP 1. With "bbox", or with both types at once, the
#   same detections have 0.1, as in pycocotools. Both of its backends do so.
# Version and source: torchmetrics 1.9.0 with torch 2.15.0, pycocotools 2.0.11. The documentation of
#   MeanAveragePrecision says nothing of such images; torchmetrics/detection/helpers.py skips them.
# The product: evaluates masks with faster-coco-eval itself, and gives it all images of the split.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
  torch==2.15.0 torchvision==0.29.2 torchmetrics==1.9.0 pycocotools==2.0.11 faster-coco-eval==1.8.0
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PYTHON'
import contextlib
import io
import sys
from importlib.metadata import version

import numpy as np
import torch
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchmetrics.detection import MeanAveragePrecision

mask = torch.zeros(1, 60, 60, dtype=torch.bool)
mask[0, 10:30, 10:30] = True
thing = {"masks": mask, "boxes": torch.tensor([[10.0, 10, 30, 30]]), "labels": torch.tensor([1])}
nothing = {key: value[:0] for key, value in thing.items()}
truth = [thing] + 9 * [nothing]
found = [thing | {"scores": torch.tensor([score])} for score in [0.5] + 9 * [0.9]]


def in_torchmetrics(kind, backend):
    metric = MeanAveragePrecision(iou_type=kind, backend=backend)
    metric.update(found, truth)
    return {key: round(value.item(), 3) for key, value in metric.compute().items() if key.endswith("map")}


def in_pycocotools():
    shape = {"category_id": 1, "segmentation": rle.encode(np.asfortranarray(mask[0].numpy().astype(np.uint8)))}
    rows = [shape | {"image_id": image, "score": each["scores"].item()} for image, each in enumerate(found)]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {}, "images": [{"id": image, "width": 60, "height": 60} for image in range(10)],
            "categories": [{"id": 1}],
            "annotations": [shape | {"id": 1, "image_id": 0, "iscrowd": 0, "area": 400, "bbox": [10, 10, 20, 20]}],
        }
        coco.createIndex()
        run = COCOeval(coco, coco.loadRes(rows), "segm")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return round(float(run.stats[0]), 3)


print("torchmetrics", version("torchmetrics"), "one image with an object, nine without, one mask predicted in each")
seen = []
for backend in ("pycocotools", "faster_coco_eval"):
    for kind in ("segm", "bbox", ("bbox", "segm")):
        seen.append(in_torchmetrics(kind, backend))
        print(f"backend {backend}, iou_type {kind}: {seen[-1]}")
right = in_pycocotools()
print("pycocotools", version("pycocotools"), "mask AP:", right)
if right != 0.1 or seen != 2 * [{"map": 1.0}, {"map": 0.1}, {"bbox_map": 0.1, "segm_map": 0.1}]:
    sys.exit("Changed: expected mask AP 1 with segm alone, and 0.1 otherwise.")
PYTHON

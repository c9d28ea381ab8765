#!/usr/bin/env bash
# Expected: AP in torchmetrics is that of pycocotools, which it calls and whose default thresholds it documents.
# Happens: torchmetrics makes the thresholds in float32. Those of IoU 0.55, 0.6, 0.8 and 0.85 become larger, so a mask
#   with exactly this IoU is no match: AP is 0.2 instead of 0.3 for an IoU of 0.6. Those of the recall become larger
#   too: with 8 of 10 objects found, AP is 0.792 instead of 0.802. With the thresholds as arguments both are equal.
# Version and source: torchmetrics 1.9.0 with torch 2.15.0, pycocotools 2.0.11. The documentation of
#   MeanAveragePrecision has "the stepped range" of both, and an example of masks with IoU 0.6. It gives AP 0.2 there.
# The product: evaluates with faster-coco-eval and its thresholds in float64; the tests compare it with pycocotools.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
  torch==2.15.0 torchvision==0.29.2 torchmetrics==1.9.0 pycocotools==2.0.11
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

EXACT = {"iou_thresholds": np.linspace(0.5, 0.95, 10).tolist(), "rec_thresholds": np.linspace(0, 1, 101).tolist()}


def mask(pixels):
    image = np.zeros((10, 10), np.uint8)
    image.flat[:pixels] = 1
    return image


def in_torchmetrics(truth, found, **options):
    def rows(masks):
        labels = torch.ones(len(masks), dtype=torch.int64)
        return {"masks": torch.tensor(np.array(masks).reshape(-1, 10, 10), dtype=torch.bool), "labels": labels}

    metric = MeanAveragePrecision(iou_type="segm", **options)
    metric.update([rows(each) | {"scores": torch.full((len(each),), 0.9)} for each in found], [rows(t) for t in truth])
    return round(metric.compute()["map"].item(), 3)


def in_pycocotools(truth, found):
    def rows(images):
        return [{"id": number, "image_id": image, "category_id": 1, "iscrowd": 0, "area": int(each.sum()),
                 "bbox": [0, 0, 10, 10], "segmentation": rle.encode(np.asfortranarray(each))}
                for number, (image, each) in enumerate([(i, m) for i, masks in enumerate(images) for m in masks], 1)]

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"info": {}, "images": [{"id": i, "width": 10, "height": 10} for i in range(len(truth))],
                        "categories": [{"id": 1}], "annotations": rows(truth)}
        coco.createIndex()
        run = COCOeval(coco, coco.loadRes([row | {"score": 0.9} for row in rows(found)]), "segm")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return round(float(run.stats[0]), 3)


cases = {"12 of the 20 pixels of an object": ([[mask(20)]], [[mask(12)]]),
         "8 of 10 objects, each in its image": ([[mask(20)]] * 10, [[mask(20)]] * 8 + [[]] * 2)}
seen = [(in_torchmetrics(*case), in_torchmetrics(*case, **EXACT), in_pycocotools(*case)) for case in cases.values()]
print("mask AP in torchmetrics", version("torchmetrics"), "by default, with float64 thresholds, and in pycocotools",
      version("pycocotools"))
for name, values in zip(cases, seen):
    print(f"{name}: {values}")
if seen != [(0.2, 0.3, 0.3), (0.792, 0.802, 0.802)]:
    sys.exit("Changed: expected 0.2, 0.3, 0.3, and 0.792, 0.802, 0.802.")
PYTHON

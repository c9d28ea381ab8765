#!/usr/bin/env bash
# Expected: the AP of masks for small, medium and large objects depends on the masks and scores alone.
# Happens: where the detections also have boxes, pycocotools takes the boxes' areas for those of the masks. A wrong
#   mask of a thin diagonal object is then in another group of sizes: the AP of small objects goes from 0.5 to 1, that
#   of medium ones from 1 to 0.5. The AP over all sizes stays. faster-coco-eval and hotcoco do the same. The format
#   of results wants a segmentation for masks, and a box for boxes. One file with both serves both evaluations.
# Version and source: pycocotools 2.0.11 (loadRes in coco.py), faster-coco-eval 1.8.0, hotcoco 1.3.0. Pull request 4898
#   of open-mmlab/mmdetection took the boxes out of its results for this reason.
# The product: gives its evaluator masks without boxes (coco_dicts in taudis/evaluation/metrics.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pycocotools==2.0.11 faster-coco-eval==1.8.0 hotcoco==1.3.0
venv/bin/python -W ignore - <<'PYTHON'
import contextlib
import io
import json
import sys
from importlib.metadata import version

import faster_coco_eval
import hotcoco
import numpy as np
import pycocotools.coco
import pycocotools.cocoeval
from pycocotools import mask as rle

EVALUATORS = {
    "pycocotools": (pycocotools.coco.COCO, pycocotools.cocoeval.COCOeval),
    "faster-coco-eval": (faster_coco_eval.COCO, faster_coco_eval.COCOeval_faster),
    "hotcoco": (hotcoco.COCO, hotcoco.COCOeval),
}


def encoded(mask):
    code = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": code["size"], "counts": code["counts"].decode()}


y, x = np.mgrid[:200, :200]
small = (x < 20) & (y < 20)  # 400 px
medium = (x >= 100) & (x < 150) & (y >= 100) & (y < 150)  # 2500 px
diagonal = (abs(x - y + 60) < 4) & (x < 60)  # 420 px, in a box of some 4000 px
masks = [small, medium, diagonal]
truth = [{"id": 1 + row, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": encoded(mask),
          "area": int(mask.sum()), "bbox": rle.toBbox(encoded(mask)).tolist()} for row, mask in enumerate(masks[:2])]
found = [{"image_id": 1, "category_id": 1, "score": score, "segmentation": encoded(mask)}
         for mask, score in zip(masks, (0.8, 0.7, 0.9))]
boxed = [row | {"bbox": rle.toBbox(row["segmentation"]).tolist()} for row in found]
for name, content in (("truth", {"info": {}, "images": [{"id": 1, "width": 200, "height": 200, "file_name": "1.png"}],
                                 "categories": [{"id": 1, "name": "thing"}], "annotations": truth}),
                      ("masks", found), ("both", boxed)):
    with open(name + ".json", "w") as file:
        json.dump(content, file)


def sizes(reader, evaluator, results):
    with contextlib.redirect_stdout(io.StringIO()):
        coco = reader("truth.json")
        run = evaluator(coco, coco.loadRes(results), "segm")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return [round(float(run.stats[place]), 3) for place in (0, 3, 4)]


print("pycocotools", version("pycocotools"), "faster-coco-eval", version("faster-coco-eval"),
      "hotcoco", version("hotcoco"))
seen = []
for name, evaluator in EVALUATORS.items():
    seen.append([sizes(*evaluator, "masks.json"), sizes(*evaluator, "both.json")])
    print(name, "mask AP, of small, of medium: masks alone", seen[-1][0], "with boxes", seen[-1][1])
print("pixels of the wrong mask:", int(diagonal.sum()), "its box:", boxed[2]["bbox"])
if seen != 3 * [[[0.667, 0.5, 1.0], [0.667, 1.0, 0.5]]]:
    sys.exit("Changed: expected AP 0.5 for small and 1 for medium objects, and the opposite with boxes.")
PYTHON

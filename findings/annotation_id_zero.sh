#!/usr/bin/env bash
# Expected: detections equal to the ground truth have AP 1, whatever the annotations' ids.
# Happens: globox numbers the annotations that it writes from 0. pycocotools and faster-coco-eval
#   store the id of the matched annotation and read 0 as "no match". So a file of one object
#   has AP 0 with the perfect detection, and AP 1 when the id is 1.
# Version and source: globox 2.9.0, pycocotools 2.0.11 (says nothing), faster-coco-eval 1.8.0
#   (warns). Issue 664 of cocodataset/cocoapi, issue 77 of MiXaiLL76/faster_coco_eval.
# The product: numbers annotations from 1 before it evaluates, and writes ids from 1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
  globox==2.9.0 pycocotools==2.0.11 faster-coco-eval==1.8.0
venv/bin/python -W ignore - <<'PYTHON'
import contextlib
import io
import json
import sys
from importlib.metadata import version

import faster_coco_eval
import pycocotools.coco
import pycocotools.cocoeval
from globox import Annotation, AnnotationSet, BoundingBox

box = BoundingBox.create(label="thing", coords=(10, 10, 30, 30))
AnnotationSet([Annotation("a.png", (100, 80), [box])]).save_coco("coco.json", auto_ids=True)
with open("coco.json") as file:
    content = json.load(file)
(annotation,) = content["annotations"]
print("globox", version("globox"), "writes the annotation id", annotation["id"])

peers = {
    "pycocotools": (pycocotools.coco.COCO, pycocotools.cocoeval.COCOeval),
    "faster-coco-eval": (faster_coco_eval.COCO, faster_coco_eval.COCOeval_faster),
}
seen = {}
for name, (coco, evaluator) in peers.items():
    for number in (annotation["id"], 1):
        with contextlib.redirect_stdout(io.StringIO()):
            truth = coco()
            truth.dataset = content | {"info": {}, "annotations": [annotation | {"id": number}]}
            truth.createIndex()
            keys = ("image_id", "category_id", "bbox")
            found = truth.loadRes([{key: annotation[key] for key in keys} | {"score": 0.9}])
            run = evaluator(truth, found, "bbox")
            run.evaluate()
            run.accumulate()
            run.summarize()
        seen[name, number] = round(float(run.stats[0]), 3)
        print(name, version(name), "annotation id", number, "AP", seen[name, number])
if seen != {(name, number): float(number) for name in peers for number in (0, 1)}:
    sys.exit("Changed: expected id 0 to have AP 0, and id 1 AP 1.")
PYTHON

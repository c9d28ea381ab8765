#!/usr/bin/env bash
# Expected: a COCO file that is imported into Label Studio and exported again holds the same objects.
# Happens: the importer makes a rectangle of the box and a polygon of each part. The COCO export of
#   the same package makes an annotation of each region. One object of two parts comes back as
#   three annotations, the rectangle's without a mask. Ids begin with 0.
# Version and source: label-studio-sdk 2.1.2, label_studio_sdk.converter (imports.coco, and the COCO
#   export that Label Studio 1.23.2 offers). The importer calls segmentation "experimental".
# The product: the check of a COCO file takes the box of such an annotation as its mask, and says so.
#   The backend reads Label Studio's own JSON, not its COCO export.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check label-studio-sdk==2.1.2
venv/bin/python - <<'PYTHON'
import json
import logging
import sys
from importlib.metadata import version
from pathlib import Path

from label_studio_sdk.converter import Converter
from label_studio_sdk.converter.imports.coco import convert_coco_to_ls
from PIL import Image

logging.disable()
parts = [[10, 50, 20, 50, 20, 60, 10, 60], [30, 60, 40, 60, 40, 70, 30, 70]]
one = {
    "images": [{"id": 1, "file_name": "scene.png", "width": 100, "height": 80}],
    "categories": [{"id": 1, "name": "thing"}],
    "annotations": [{
        "id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 200,
        "bbox": [10, 50, 30, 20], "segmentation": parts,
    }],
}
Path("in.json").write_text(json.dumps(one))
convert_coco_to_ls("in.json", "tasks.json", image_root_url="/data/upload/1")
tasks = json.loads(Path("tasks.json").read_text())
regions = [region["type"] for region in tasks[0]["annotations"][0]["result"]]
tasks[0] |= {"id": 1}
tasks[0]["annotations"][0] |= {"id": 1, "was_cancelled": False}
Path("tasks.json").write_text(json.dumps(tasks))

Path("media/upload/1").mkdir(parents=True)
Image.new("RGB", (100, 80)).save("media/upload/1/scene.png")
config = Path("tasks.label_config.xml").read_text()
converter = Converter(config, ".", upload_dir="media", download_resources=False)
converter.convert("tasks.json", "out", "COCO", is_dir=False)
rows = json.loads(Path("out/result.json").read_text())["annotations"]
seen = [(row["id"], len(row["segmentation"])) for row in rows]
print("label-studio-sdk", version("label-studio-sdk"))
print("one annotation of two polygons is imported as", regions)
print("and exported as (id, polygons)", seen)
if seen != [(0, 0), (1, 1), (2, 1)]:
    sys.exit("Changed: expected three annotations, the first without a polygon.")
PYTHON

#!/usr/bin/env bash
# Expected: the polygons of one COCO annotation are the parts of one object, and together they are its mask.
#   pycocotools merges them.
# Happens: where two of them overlap, sahi cuts the common pixels out. An object of two crossing bars has 2000
#   pixels in pycocotools. After sahi read and wrote its file, or sliced it, the object has 1600.
# Version and source: sahi 0.12.8, pycocotools 2.0.11 (merge in mask.py: the union). get_shapely_multipolygon of
#   sahi/utils/shapely.py repairs the polygons with shapely's make_valid; the documentation does not say so.
# The product: merges the polygons of an annotation as pycocotools does (taudis/data/coco/masks.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check sahi==0.12.8 pycocotools==2.0.11
TQDM_DISABLE=1 venv/bin/python -W ignore - <<'PYTHON'
import contextlib
import io
import json
import sys
from importlib.metadata import version

from PIL import Image
from pycocotools.coco import COCO
from sahi.slicing import slice_coco
from sahi.utils.coco import Coco

across = [10, 40, 70, 40, 70, 60, 10, 60]  # 60 x 20
down = [30, 20, 50, 20, 50, 80, 30, 80]  # 20 x 60, of which 20 x 20 are also in the other
content = {
    "images": [{"id": 1, "file_name": "scene.png", "width": 100, "height": 100}],
    "categories": [{"id": 1, "name": "thing"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 2000,
                     "bbox": [10, 20, 60, 60], "segmentation": [across, down]}],
}
Image.new("RGB", (100, 100)).save("scene.png")


def pixels(path, content):
    with open(path, "w") as file:
        json.dump(content, file)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(path)
    return [int(coco.annToMask(row).sum()) for row in coco.dataset["annotations"]]


before = pixels("before.json", content)
written = Coco.from_coco_dict_or_path("before.json").json
(row,) = written["annotations"]
after = pixels("after.json", written)
sliced, _ = slice_coco(coco_annotation_file_path="before.json", image_dir=".", output_coco_annotation_file_name="part",
                       output_dir="slices", slice_height=100, slice_width=100)
tile = pixels("tile.json", sliced)
print("pycocotools", version("pycocotools"), "pixels of the object:", before)
print("sahi", version("sahi"), "the area it writes:", row["area"], "the polygons it writes:", row["segmentation"])
print("pixels of the object in pycocotools after sahi wrote it:", after, "after it sliced it:", tile)
if (before, row["area"], after, tile) != ([2000], 1600, [1600], [1600]):
    sys.exit("Changed: expected 2000 pixels before, an area of 1600, and 1600 pixels after both.")
PYTHON

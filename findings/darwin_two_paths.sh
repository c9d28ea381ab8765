#!/usr/bin/env bash
# Expected: an object of two parts is exported with the pixels and the area of its parts.
# Happens: darwin-py (V7) writes a polygon of one path exactly. One of two paths becomes run lengths
#   with iscrowd 1, area 0, and each part larger by a row and a column: two squares of 100
#   pixels are 242. pycocotools counts an object of area 0 as small.
# Version and source: darwin-py 3.6.3, darwin.exporter.formats.coco.
# The product: counts crowds before it trains, and asks. It computes areas from the mask, never from
#   the file.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check darwin-py==3.6.3 pycocotools==2.0.11
venv/bin/python - <<'PYTHON'
import json
import sys
from importlib.metadata import version
from pathlib import Path

import pycocotools.mask as tools
from darwin import datatypes
from darwin.exporter.formats.coco import export


def square(x, y):
    return [{"x": x + i, "y": y + j} for i, j in ((0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0))]


one = datatypes.make_polygon("thing", [square(10, 10)])
two = datatypes.make_polygon("thing", [square(10, 50), square(30, 60)])
drawn = datatypes.AnnotationFile(
    Path("scene.png"), "scene.png", {one.annotation_class}, [one, two],
    image_width=100, image_height=80, remote_path="/",
)
export([drawn], Path("."))
seen = []
with open("output.json") as file:
    for row in json.load(file)["annotations"]:
        runs = tools.frPyObjects(row["segmentation"], 80, 100)
        pixels = int(tools.area(tools.merge(runs) if isinstance(runs, list) else runs))
        seen.append((pixels, row["area"], row["iscrowd"]))
print("darwin-py", version("darwin-py"), "(pixels, area, iscrowd)")
print("one square of 100 pixels:", seen[0])
print("two squares of 100 pixels:", seen[1])
if seen != [(100, 100, 0), (242, 0, 1)]:
    sys.exit("Changed: expected (100, 100, 0) and (242, 0, 1).")
PYTHON

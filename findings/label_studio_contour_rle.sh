#!/usr/bin/env bash
# Expected: contour2rle(contours, contour_id, img_width, img_height) writes the filled contour as a brush region.
# Happens: it draws into an array of [width, height] instead of [height, width]. In a square image the region is right.
#   In one of 60 x 40 pixels it has the right number of pixels at other places: the IoU with the contour is 0.11.
#   mask2rle of the same package is right in both.
# Version and source: label-studio-sdk 2.1.2, label_studio_sdk.converter.brush; its docstring names the two sizes. Read
#   back with decode_from_annotation of the same module, which takes [height, width] as Label Studio's exports do.
# The product: has its own reader and writer of brush regions (backend/label_studio/regions/).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check label-studio-sdk==2.1.2
venv/bin/python -W ignore - <<'PYTHON'
import sys
from importlib.metadata import version

import cv2
import numpy as np
from label_studio_sdk.converter import brush


def read(rle, width, height):
    region = {"type": "brushlabels", "brushlabels": ["thing"], "rle": rle, "original_width": width,
              "original_height": height}
    (layer,) = brush.decode_from_annotation("tag", [region]).values()
    return layer > 0


def compare(width, height):
    true = np.zeros((height, width), np.uint8)
    true[5:15, 10:30] = 255
    contours, _ = cv2.findContours(true, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    row = [width, height]
    for rle in (brush.mask2rle(true), brush.contour2rle(contours, 0, width, height)):
        mask = read(rle, width, height)
        overlap, union = (mask & (true > 0)).sum(), (mask | (true > 0)).sum()
        row += [int(mask.sum()), round(float(overlap / union), 2)]
    return row


print("label-studio-sdk", version("label-studio-sdk"), "a rectangle of 20 x 10 pixels")
seen = [compare(50, 50), compare(60, 40), compare(40, 60)]
for width, height, *mask, pixels, iou in seen:
    print(f"image {width} x {height}: mask2rle {mask[0]} px, IoU {mask[1]}; contour2rle {pixels} px, IoU {iou}")
if seen != [[50, 50, 200, 1.0, 200, 1.0], [60, 40, 200, 1.0, 200, 0.11], [40, 60, 200, 1.0, 200, 0.11]]:
    sys.exit("Changed: expected an IoU of 1 in the square image, and of 0.11 from contour2rle in the others.")
PYTHON

#!/usr/bin/env bash
# Expected: one box as x, y, x, y and as x, y, width, height is the same box after the same flip, and it is the box of
#   the mask that was flipped with it.
# Happens: kornia's AugmentationSequential reads bbox_xyxy with the last column and row in the box, and bbox_xywh
#   without them. A box of 20..40 of 100 columns, flipped, is 59..79 as bbox_xyxy, and 60..80 as bbox_xywh and as the
#   mask. A turn by 90 degrees does the same. After Resize to half the size neither is the box of the mask.
# Version and source: kornia 0.9.0 with torch 2.15.0. The documentation of AugmentationSequential says that boxes are
#   inclusive. In Boxes, of the same package, the mode named xyxy is exclusive, as in torchvision.
# The product: flips and turns the masks, and takes the boxes from them (taudis/training/samples.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check torch==2.15.0 kornia==0.9.0
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PYTHON'
import sys
from importlib.metadata import version

import kornia.augmentation as K
import torch
from kornia.geometry.boxes import Boxes

mask = torch.zeros(1, 1, 100, 100)
mask[..., 10:30, 20:40] = 1
as_xyxy, as_xywh = torch.tensor([[[20.0, 10, 40, 30]]]), torch.tensor([[[20.0, 10, 20, 20]]])


def together(step):
    run = K.AugmentationSequential(step, data_keys=["input", "mask", "bbox_xyxy", "bbox_xywh"])
    _, pixels, corners, sides = run(mask.repeat(1, 3, 1, 1), mask, as_xyxy.clone(), as_xywh.clone())
    rows, columns = torch.where(pixels[0, 0] > 0.5)
    sides[..., 2:] += sides[..., :2]
    found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    boxes = [[round(side, 1) for side in box.flatten().tolist()] for box in (corners, sides)]
    return [[int(side) for side in found], *boxes]


print("kornia", version("kornia"), "torch", version("torch"))
print("pixels of the box in Boxes: mode xyxy", int(Boxes.from_tensor(as_xyxy, mode="xyxy").to_mask(100, 100).sum()),
      "mode xywh", int(Boxes.from_tensor(as_xywh, mode="xywh").to_mask(100, 100).sum()), "of the mask", int(mask.sum()))
seen = []
for name, step in (("flip", K.RandomHorizontalFlip(p=1.0)), ("turn", K.RandomRotation((90.0, 90.0), p=1.0)),
                   ("half", K.Resize((50, 50)))):
    seen.append(together(step))
    print(f"{name}: mask {seen[-1][0]}, bbox_xyxy {seen[-1][1]}, bbox_xywh {seen[-1][2]}")
if seen != [[[60, 10, 80, 30], [59, 10, 79, 30], [60, 10, 80, 30]],
            [[10, 60, 30, 80], [10, 59, 30, 79], [10, 60, 30, 80]],
            [[10, 5, 20, 15], [9.9, 4.9, 19.8, 14.8], [9.9, 4.9, 20.3, 15.4]]]:
    sys.exit("Changed: expected boxes that differ by a pixel after a flip and a turn, and both off after Resize.")
PYTHON

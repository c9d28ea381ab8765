#!/usr/bin/env bash
# Expected: on a CPU, the weight gradient of a depthwise convolution of 5 x 5 costs 25/9 of that of 3 x 3.
# Happens: it costs many times as much. oneDNN has a depthwise kernel for the weight gradient of 3 x 3
#   alone. Larger ones go through its kernel for ordinary convolutions, which pads each group of one
#   channel to a block of 8 or 16 channels in and out. Forward and input gradient have depthwise kernels.
# Version and source: torch 2.15.0, which brings oneDNN; ONEDNN_VERBOSE names the kernel of each call.
# The product: trains EfficientNet-lite0, which has 5 x 5 ones, and puts their weight gradient together
#   from four parts of 3 x 3 (taudis/detector/gradients.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check torch==2.15.0 numpy==2.4.6
cat > gradients.py <<'PYTHON'
import torch

for side in (3, 5):
    x = torch.randn(4, 64, 12, 12).to(memory_format=torch.channels_last).requires_grad_()
    layer = torch.nn.Conv2d(64, 64, side, padding=side // 2, groups=64)
    layer(x).sum().backward()
PYTHON
ONEDNN_VERBOSE=1 OMP_NUM_THREADS=1 venv/bin/python gradients.py > calls.txt
venv/bin/python - <<'PYTHON'
import re
import sys
from importlib.metadata import version
from pathlib import Path

# Lines: ...,exec,cpu,convolution,KERNEL:ISA,DIRECTION,...,SHAPES,MILLISECONDS
found = {}
for line in Path("calls.txt").read_text().splitlines():
    call = re.search(r"exec,cpu,convolution,(\w+):\w+,(\w+),.*?oh\d+kh(\d)", line)
    if call:
        kernel, direction, side = call.groups()
        found[direction, int(side)] = kernel
print("torch", version("torch"))
for (direction, side), kernel in sorted(found.items()):
    print(f"{side} x {side} {direction}: kernel {kernel}")
special = {call for call, kernel in found.items() if kernel.endswith("_dw")}
if len(found) != 6 or special != set(found) - {("backward_weights", 5)}:
    sys.exit("Changed: expected a depthwise kernel for all but the weight gradient of 5 x 5.")
PYTHON

#!/usr/bin/env bash
# Expected: weights of a convolution that were put into oneDNN's layout for one input size serve other
#   sizes as well, perhaps a little slower.
# Happens: on a CPU with bfloat16 instructions and without AMX, the layout depends on the input's size. Each
#   call with another size converts the weights anew, and from a packed layout oneDNN has only its reference
#   kernel ("simple:any") for that: some 60 times the time of the convolution. From the plain layout it
#   has a fast one ("jit:uni"). Nothing is said unless ONEDNN_VERBOSE is set.
# Version and source: torch 2.15.0 with its oneDNN; mkldnn::_reorder_convolution_weight takes the input's
#   size. torch.compile's freezing calls it for its example inputs.
# The product: keeps the weights of each layer for the latest sizes (taudis/detector/fused.py). A backbone
#   at 192 px went from 25 to 5 ms an image, on an AMD EPYC.
set -euo pipefail
if ! grep -q avx512_bf16 /proc/cpuinfo || grep -q amx_bf16 /proc/cpuinfo; then
    echo "Not looked into on this CPU: expected AVX-512 with bfloat16 and without AMX."
    exit 77
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check torch==2.15.0 numpy==2.4.6
cat > calls.py <<'PYTHON'
import sys

import torch

ops, sizes = torch.ops.mkldnn, ([0, 0], [1, 1], [1, 1], 1)
layer = torch.nn.Conv2d(1152, 320, 1, bias=False).to(torch.bfloat16)
pixels = torch.rand(4, 1152, 6, 6).to(torch.bfloat16).to(memory_format=torch.channels_last)
weight = layer.weight.detach()
if sys.argv[1] != "plain":
    side = int(sys.argv[1])
    weight = ops._reorder_convolution_weight(weight, *sizes, [4, 1152, side, side])
with torch.inference_mode():
    for _ in range(3):
        ops._convolution_pointwise(pixels, weight, None, *sizes, "none", [], "")
    print("measured from here on", flush=True)
    for _ in range(3):
        ops._convolution_pointwise(pixels, weight, None, *sizes, "none", [], "")
PYTHON
for packed in plain 6 48; do
    ONEDNN_VERBOSE=1 OMP_NUM_THREADS=1 venv/bin/python calls.py "$packed" > "$packed.txt"
done
venv/bin/python - <<'PYTHON'
import sys
from importlib.metadata import version
from pathlib import Path

# Lines: ...,exec,cpu,KIND,KERNEL,...,MILLISECONDS
print("torch", version("torch"))
found = {}
for packed in ("plain", "6", "48"):
    lines = Path(f"{packed}.txt").read_text().split("measured from here on")[1].splitlines()
    calls = [line.split(",") for line in lines if ",exec," in line]
    converting = [call for call in calls if call[5] == "reorder"]
    found[packed] = sorted({call[6] for call in converting})
    spent = {
        kind: min(float(call[-1]) for call in calls if call[5] == kind)
        for kind in {call[5] for call in calls}
    }
    print(f"packed for {packed}, called with 6 x 6: converts by {found[packed]}; ms {spent}")
if found != {"plain": ["jit:uni"], "6": [], "48": ["simple:any"]}:
    sys.exit("Changed: expected the reference kernel for weights packed for 48 x 48 alone.")
PYTHON

#!/usr/bin/env bash
# Expected: a convolution with a batch norm folded into it trains as any other.
# Happens: torch.nn.utils.fusion.fuse_conv_bn_eval gives a convolution that had no bias a bias with
#   requires_grad False, and a trainable weight. An optimiser skips the bias. A convolution that had
#   a bias keeps a trainable one. No error, no warning.
# Version and source: torch 2.15.0; torch/nn/utils/fusion.py makes the bias from
#   `torch.zeros_like(bn_rm)` and copies its requires_grad.
# The product: folds the batch norms of pretrained backbones and trains them on. It sets
#   requires_grad of what it folds (taudis/detector/backbones.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check torch==2.15.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys
from importlib.metadata import version

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

found = {}
for bias in (False, True):
    folded = fuse_conv_bn_eval(nn.Conv2d(3, 4, 3, bias=bias).eval(), nn.BatchNorm2d(4).eval())
    found[bias] = (folded.weight.requires_grad, folded.bias.requires_grad)
print("torch", version("torch"))
print("convolution without a bias: weight, bias trainable:", *found[False])
print("convolution with a bias:    weight, bias trainable:", *found[True])
if found != {False: (True, False), True: (True, True)}:
    sys.exit("Changed: expected the bias to be constant where the convolution had none.")
PYTHON

#!/usr/bin/env bash
# Expected: an array that is saved and loaded has the same values at the same places.
# Happens: safetensors.numpy.save_file writes the bytes in their order in memory, with the array's
#   shape. A transposed array reads back with its values at other places. No error, no warning.
# Version and source: safetensors 0.8.0. Issue 825 of safetensors/safetensors (open in August
#   2026) reports it as new since 0.7.0. The format itself is C order.
# The product: writes pool files (docs/pools.md) with its own writer, which makes arrays contiguous
#   first. A reader cannot tell such a file from a right one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
from safetensors.numpy import load_file, save_file

array = np.arange(6, dtype=np.float32).reshape(2, 3).T
save_file({"as it is": array, "contiguous": np.ascontiguousarray(array)}, "arrays.safetensors")
loaded = load_file("arrays.safetensors")
print("safetensors", version("safetensors"))
print("saved                      ", array.tolist())
print("loaded                     ", loaded["as it is"].tolist())
print("loaded, contiguous at first", loaded["contiguous"].tolist())
if loaded["as it is"].tolist() != [[0, 1], [2, 3], [4, 5]]:
    sys.exit("Changed: expected the values in memory order, 0 to 5.")
if not np.array_equal(loaded["contiguous"], array):
    sys.exit("Changed: expected the contiguous array to read back as it was.")
PYTHON

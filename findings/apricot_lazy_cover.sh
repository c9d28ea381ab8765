#!/usr/bin/env bash
# Expected: lazy greedy picks the same rows as greedy, faster; for a cover both are exact.
# Happens: apricot's optimizer "lazy" picks a row that adds nothing while another would add one. It
#   covers 3 columns; "naive" covers 4. The reported gains are 3, then 0.
# Version and source: apricot-select 0.6.1, MaxCoverageSelection; measured here. The package
#   needs scikit-learn and does not declare it.
# The product: has its own greedy algorithm. Its tests compare with "naive", never with "lazy".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
  apricot-select==0.6.1 numba==0.68.1 numpy==2.4.6 scikit-learn==1.9.1 scipy==1.17.1
venv/bin/python - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
from apricot import MaxCoverageSelection

rows = np.array([
    [0, 0, 0, 1, 0, 0],
    [0, 1, 0, 0, 1, 0],
    [0, 1, 0, 0, 1, 1],
    [0, 1, 0, 0, 0, 1],
], dtype=float)
print("apricot-select", version("apricot-select"), "two of four rows")
covered = {}
for optimizer in ("naive", "lazy"):
    chosen = MaxCoverageSelection(2, optimizer=optimizer).fit(rows)
    covered[optimizer] = int(rows[chosen.ranking].any(axis=0).sum())
    print(f"{optimizer}: rows {chosen.ranking.tolist()}, gains {chosen.gains.tolist()},",
          covered[optimizer], "columns covered")
if covered != {"naive": 4, "lazy": 3}:
    sys.exit("Changed: expected 4 columns by naive, and 3 by lazy.")
PYTHON

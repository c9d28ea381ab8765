#!/usr/bin/env bash
# Expected: a query strategy ranks the samples that it is given.
# Happens: scikit-activeml's ProbCover stores the distances of its first call, and ranks by them in each later call of
#   the same object. With the embeddings of a model that was trained anew, it returns the picks of the old ones, without
#   a warning. In the first call it covers 100 of 100 samples by 4 picks, and in the second some 70. query has an
#   argument update=True against this, which its docstring does not have.
# Version and source: scikit-activeml 1.0.1; docstring of ProbCover.query ("X: Training data set"). CoreSet, of the same
#   package, ranks what it is given.
# The product: computes the distances anew in each round, from the embeddings of the round's own model.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check scikit-activeml==1.0.1
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
from skactiveml.pool import CoreSet, ProbCover

random = np.random.default_rng(0)
centres = np.array([(0, 0), (10, 0), (0, 10), (10, 10)])
unlabelled = np.full(100, np.nan)


def embeddings():
    """100 samples in four groups far apart, in another order at each call."""
    group = random.permutation(np.repeat(np.arange(4), (40, 30, 20, 10)))
    return centres[group] + random.normal(0, 0.05, (100, 2)), group


rounds = [embeddings() for _ in range(20)]
strategies = {"CoreSet": CoreSet(random_state=0), "ProbCover": ProbCover(deltas=[1.0], random_state=0),
              "ProbCover, a new object each time": None,
              "ProbCover, update=True": ProbCover(deltas=[1.0], random_state=0)}
print("scikit-activeml", version("scikit-activeml"), "samples in the groups of 4 picks, of 100")
seen = {}
for name, strategy in strategies.items():
    options = {"update": True} if "update" in name else {}
    seen[name] = []
    for samples, group in rounds:
        each = strategy or ProbCover(deltas=[1.0], random_state=0)
        picks = each.query(samples, unlabelled, batch_size=4, **options)
        seen[name].append(int(np.isin(group, group[picks]).sum()))
    print(f"{name}: in the first round {seen[name][0]}, in the next {seen[name][1:]}")
later = seen.pop("ProbCover")[1:]
print("update in the docstring of query:", "update" in ProbCover.query.__doc__)
right = all(set(covered) == {100} for covered in seen.values())
if not right or np.mean(later) > 90 or "update" in ProbCover.query.__doc__:
    sys.exit("Changed: expected fewer than 100 from the second call of one ProbCover on alone, and no word on update.")
PYTHON

#!/usr/bin/env bash
# Expected: with a sample of the pool as candidates, a strategy ranks these candidates by its rule.
# Happens: scikit-activeml's ProbCover takes each unlabelled sample that is no candidate for a labelled one. Without any
#   label, all candidates of a random half then have the utility 0, and the picks are random. TypiClust returns some
#   candidates twice in one batch. SubSamplingWrapper, which the package offers for large pools, passes such candidates.
# Version and source: scikit-activeml 1.0.1; docstrings of ProbCover ("points within delta of any labeled sample" are
#   covered), of query (candidates) and of SubSamplingWrapper. _prob_cover.py reads ~is_candidate as labelled.
# The product: takes its candidates by their uncertainty, and covers the whole pool with them (taudis/selection/).
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
from skactiveml.pool import ProbCover, SubSamplingWrapper, TypiClust

SIZES, SEEDS = (40, 30, 20, 10), range(30)
centres = np.array([(0, 0), (10, 0), (0, 10), (10, 10)])
group = np.repeat(np.arange(4), SIZES)
samples = centres[group] + np.random.default_rng(0).normal(0, 0.05, (100, 2))
unlabelled = np.full(100, np.nan)
near = ((samples[:, None] - samples) ** 2).sum(-1) <= 1  # within delta = 1: exactly those of the same group


def by_hand(candidates):
    covered, counts = np.zeros(100, bool), []
    for _ in SIZES:
        new = (near[candidates] & ~covered).sum(1)
        covered |= near[candidates[new.argmax()]]
        counts.append(int(new.max()))
    return counts


def by_package(half, seed):
    strategy = ProbCover(deltas=[1.0], random_state=seed)
    if half:
        strategy = SubSamplingWrapper(strategy, max_candidates=0.5, random_state=seed)
    picks, utilities = strategy.query(samples, unlabelled, batch_size=4, return_utilities=True)
    candidates = np.flatnonzero(np.isfinite(utilities[0]))
    best = [int(row[candidates][~np.isnan(row[candidates])].max()) for row in utilities]
    return candidates, best, int(near[picks].any(0).sum())


print("scikit-activeml", version("scikit-activeml"), "ProbCover, 4 picks of 100 samples in groups of", SIZES)
seen = {}
for name, half in (("all samples", False), ("a random half", True)):
    runs = [by_package(half, seed) for seed in SEEDS]
    rights = {tuple(by_hand(candidates)) for candidates, _, _ in runs}
    seen[name] = {tuple(best) for _, best, _ in runs}
    print(f"candidates: {name}: utilities of the picks {seen[name]}, by hand {rights}, samples covered in the mean",
          np.mean([covered for _, _, covered in runs]))
twice = 0
for seed in SEEDS:
    strategy = SubSamplingWrapper(TypiClust(random_state=seed), max_candidates=0.2, random_state=seed)
    twice += len(set(strategy.query(samples, unlabelled, batch_size=8).tolist())) < 8
print("TypiClust, 8 picks of a random fifth: batches with a sample that is twice in them:", twice, "of", len(SEEDS))
if seen != {"all samples": {SIZES}, "a random half": {(0, 0, 0, 0)}} or rights != {SIZES} or twice == 0:
    sys.exit("Changed: expected the utilities 40, 30, 20, 10 with all, only 0 with half, and samples twice.")
PYTHON

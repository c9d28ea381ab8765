"""Foreground random: a random order in which images with more predicted objects tend to come first.

A baseline beyond the paper. Images are drawn without replacement. In each draw, the probability of
an image is proportional to its expected number of objects.
"""

from __future__ import annotations

import numpy as np

from taudis.selection.baselines import figure_reasons, order_by, sum_by_group
from taudis.selection.candidates import object_probability
from taudis.selection.params import Labelled, ProgressCallback, SelectionParams, check_budget
from taudis.selection.vote import seeded_hash
from taudis.types import FloatArray, Pool, Selection

LEAST_WEIGHT = 1e-12
"""Weight of an image whose detections are certainly background: it is drawn after all others."""


def expected_objects(pool: Pool) -> FloatArray:
    """The expected number of objects of each image, [I] float64; 0 without detections.

    It is the sum of 1 - p_0 over the image's detections, the probability that a detection is an
    object of any label. The score is the probability of one label only; with it, an object between
    two labels would count as half an object.
    """
    objects = object_probability(pool, "foreground")
    return sum_by_group(pool.instances.image_index, objects, len(pool))


def foreground_random(
    pool: Pool,
    *,
    budget: int,
    labelled: Labelled,
    params: SelectionParams,
    seed: int,
    progress: ProgressCallback | None = None,
) -> Selection:
    """Images in the order of a seeded draw without replacement, weighted by `expected_objects`.

    Each image has an exponential waiting time t = -log(1 - u) / w. Here u is a hash of seed and
    image id in [0, 1), and w is the expected number of objects. The order by ascending t equals the
    order of successive weighted draws (Efraimidis and Spirakis 2006). The t of an image does not
    depend on other images. Equal weights give the order of `random`. Utilities are 1 / (1 + t).
    Images without detections come last, ordered by the hash. `labelled` and `params` are not read.
    Raises SelectionError for a budget below 0.
    """
    images = check_budget(budget, pool)
    weight = expected_objects(pool)
    uniform = seeded_hash(pool.image_ids, seed) / 2.0**64
    below_one = np.minimum(uniform, np.nextafter(1.0, 0.0))  # the largest hashes round to 1
    times = -np.log1p(-below_one) / np.maximum(weight, LEAST_WEIGHT)
    found = np.bincount(pool.instances.image_index, minlength=len(pool)) > 0
    utilities = np.where(found, 1 / (1 + times), 0.0)
    order = order_by(pool, utilities, seed)
    label = "seeded random draw by the expected objects,"
    reasons = figure_reasons(pool, order, label, weight)
    return Selection("foreground_random", order, utilities, reasons, images)

"""Foreground random: images by chance, those with more predicted objects more often.

A baseline beyond the paper. Images are drawn one after another without replacement; each draw takes
an image with a probability proportional to its expected objects.
"""

from __future__ import annotations

import numpy as np

from taudis.selection.baselines import figure_reasons, order_by, sum_by_group
from taudis.selection.candidates import object_probability
from taudis.selection.params import Labelled, ProgressCallback, SelectionParams, check_budget
from taudis.selection.vote import seeded_hash
from taudis.types import FloatArray, Pool, Selection

LEAST_WEIGHT = 1e-12
"""Weight of an image whose detections are background for certain: drawn after all others."""


def expected_objects(pool: Pool) -> FloatArray:
    """The expected number of objects of each image, [I] float64; 0 without detections.

    It is the sum over the image's detections of 1 - p_0, the probability that the detection is an
    object of any label. (The score would be the probability of one label alone, so that an object
    between two labels would count half.)
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

    Each image has an exponential waiting time t = -log(1 - u) / w: u is its hash of seed and id as
    a number in [0, 1), w its expected objects. The shortest time is first. That is the order of
    successive weighted draws (Efraimidis and Spirakis 2006), and an image's time does not depend on
    other images. Equal weights give the order of `random`. Utilities are 1 / (1 + t). Images
    without detections come last, by the hash alone. Neither `labelled` nor `params` is read. Raises
    SelectionError for a budget below 0.
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

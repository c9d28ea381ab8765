"""Draws in proportion to the expected objects, against the probabilities of successive draws."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from taudis.selection.foreground_random import expected_objects, foreground_random
from taudis.selection.params import Labelled, SelectionParams
from taudis.selection.strategies import STRATEGIES

SEEDS = 20_000


def order_of(pool, seed):
    return foreground_random(
        pool, budget=1, labelled=Labelled(1.0), params=SelectionParams(), seed=seed
    )


def pool_of(build, backgrounds):
    """A pool of images 0, 1, ... with detections of the given background probabilities."""
    pool = build.pool({i: [(0, 0, (1, 0, 0))] * len(row) for i, row in enumerate(backgrounds)})
    p = np.concatenate([np.zeros(0), *map(np.asarray, backgrounds)])
    probs = np.stack([p, 1 - p], axis=1).astype(np.float32)
    return replace(pool, instances=replace(pool.instances, class_probs=probs))


def test_expected_objects_are_one_minus_the_probability_of_background(build):
    pool = pool_of(build, [[0.25, 0.5], [], [0.0], [1.0]])
    assert expected_objects(pool).tolist() == [1.25, 0.0, 1.0, 0.0]


def successive_draws(weights, order):
    """The probability of an order when each draw is proportional to the weights that are left."""
    left, chance = list(range(len(weights))), 1.0
    for row in order:
        chance *= weights[row] / sum(weights[i] for i in left)
        left.remove(row)
    return chance


@pytest.mark.slow
def test_orders_are_as_frequent_as_successive_weighted_draws_make_them(build):
    weights = [0.5, 1.0, 2.5]
    pool = pool_of(build, [[0.5], [0.5, 0.5], [0.5] * 5])
    orders = [tuple(order_of(pool, seed).order.tolist()) for seed in range(SEEDS)]
    for order in permutations(range(3)):
        chance = successive_draws(weights, order)
        spread = (chance * (1 - chance) / SEEDS) ** 0.5
        assert orders.count(order) / SEEDS == pytest.approx(chance, abs=4 * spread)


def test_equal_weights_give_the_order_of_random_and_empty_images_come_last(build):
    pool = pool_of(build, [[0.5], [], [0.5], [1.0], [], [0.5]])
    by_chance = STRATEGIES["random"](
        pool, budget=1, labelled=Labelled(1.0), params=SelectionParams(), seed=3
    )
    got = order_of(pool, 3)
    for start, images in ((0, {0, 2, 5}), (3, {3}), (4, {1, 4})):
        wanted = [row for row in by_chance if row in images]
        assert list(got)[start : start + len(images)] == wanted
    assert got.utilities[1] == got.utilities[4] == 0
    assert got.reasons[0] == (
        "seeded random draw by the expected objects, 0.500 of its 1 detection"
    )

"""Draws by power noise, against the probabilities of successive draws; `clasp_se`."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from taudis.selection.params import Labelled, SelectionParams
from taudis.selection.power_noise import noised, scheduled_power
from taudis.selection.strategies import query

SEEDS = 20_000


@pytest.mark.slow
@pytest.mark.parametrize("power", [1.0, 2.0])
def test_orders_are_as_frequent_as_draws_by_the_power(power):
    figure, ids = np.array([0.1, 0.2, 0.3]), np.array([4, 7, 9])
    orders = [
        tuple(np.argsort(-noised(figure, ids, seed, power)).tolist()) for seed in range(SEEDS)
    ]
    for order in permutations(range(3)):
        left, chance = [0, 1, 2], 1.0
        for row in order:
            chance *= figure[row] ** power / sum(figure[i] ** power for i in left)
            left.remove(row)
        spread = (chance * (1 - chance) / SEEDS) ** 0.5
        assert orders.count(order) / SEEDS == pytest.approx(chance, abs=4 * spread)


def test_a_figure_of_zero_is_drawn_last_and_ids_decide_the_noise():
    figure = np.array([0.0, 1e-9, 0.5])
    drawn = noised(figure, np.array([1, 2, 3]), 0, 1.0)
    assert drawn[0] == -np.inf and np.isfinite(drawn[1:]).all()
    assert noised(figure[2:], np.array([3]), 0, 1.0).tolist() == drawn[2:].tolist()
    assert noised(figure, np.array([1, 2, 3]), 1, 1.0)[2] != drawn[2]


@pytest.mark.parametrize(
    ("labelled", "budget", "power"),
    [(0, 16, 1), (16, 16, 1), (48, 16, 3), (24, 16, 1.5), (9, 0, 9)],
)
def test_the_noise_decays_by_a_round_of_labels(labelled, budget, power):
    assert scheduled_power(labelled, budget) == power


def ask(name, pool, *, images, seed=0, budget=9):
    return query(
        name,
        pool,
        budget=budget,
        labelled=Labelled(2.0, images=images),
        params=SelectionParams(),
        seed=seed,
    )


def test_with_hardly_any_noise_it_is_round_robin(build):
    pool = build.mixed_pool(40, seed=3)
    calm, turns = ask("clasp_se", pool, images=10**9), ask("round_robin", pool, images=0)
    assert calm.order.tolist() == turns.order.tolist()
    assert calm.reasons == turns.reasons
    assert calm.diagnostics == {**turns.diagnostics, "power": 10**9 / 9}


def test_labels_take_turns_and_early_rounds_are_noisier(build):
    pool = build.mixed_pool(60, seed=5)
    turns = ask("round_robin", pool, images=0)
    shared = {}
    for images in (0, 900):
        found = [ask("clasp_se", pool, images=images, seed=seed) for seed in range(30)]
        for each in found:
            labels = [reason.split(":")[0] for reason in each.reasons[:9]]
            assert labels == ["turn of label 1", "turn of label 2", "turn of label 3"] * 3
        shared[images] = np.mean([
            len(set(each.order[:9].tolist()) & set(turns.order[:9].tolist())) for each in found
        ])  # fmt: skip
    assert shared[0] < 5 < 8 < shared[900]


def test_one_label_is_drawn_by_its_entropy_alone(build):
    pool = build.mixed_pool(20, seed=2)
    alone = replace(pool, instances=replace(pool.instances, labels=np.ones(
        len(pool.instances), np.int64)))  # fmt: skip
    got = ask("clasp_se", alone, images=0, budget=20)
    assert got.diagnostics["labels"] == 1
    assert sorted(got) == list(range(20))

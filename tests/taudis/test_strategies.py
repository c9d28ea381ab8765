"""The contract of every query strategy; a new line in STRATEGIES is held to it at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from taudis.errors import SelectionError
from taudis.select import Labelled, SelectionParams
from taudis.strategies import STRATEGIES, query

LABELLED = Labelled(mean_instances=5.0, image_embeddings=np.zeros((3, 2), np.float32))
every_strategy = pytest.mark.parametrize("name", sorted(STRATEGIES))


def ask(name, pool, *, budget=6, seed=0, params=None):
    return query(
        name, pool, budget=budget, labelled=LABELLED, params=params or SelectionParams(), seed=seed
    )


@pytest.fixture(scope="module")
def pool(build):
    return build.clustered_pool(30, 5, 12, seed=4)


@every_strategy
def test_total_order_with_a_reason_a_rank(name, pool):
    got = ask(name, pool)
    assert got.strategy == name
    assert sorted(got) == list(range(30))
    assert len(got.reasons) == 30 and all(got.reasons)
    assert got.utilities.shape == (30,)
    assert (np.diff(got.utilities[got.order]) <= 0).all()
    assert got.budget == 6


@every_strategy
def test_reproducible(name, pool):
    one, two = ask(name, pool), ask(name, pool)
    assert list(one) == list(two)
    assert one.reasons == two.reasons


@every_strategy
def test_rows_of_the_pool_do_not_matter(name, pool, build):
    other = build.permute(pool, np.random.default_rng(7))
    assert (
        pool.image_ids[ask(name, pool).order].tolist()
        == other.image_ids[ask(name, other).order].tolist()
    )


@every_strategy
def test_the_pool_is_left_as_it_was(name, pool):
    before = pool.instances.embeddings.copy(), pool.uncertainty.se.copy(), pool.image_ids.copy()
    ask(name, pool, params=SelectionParams(centre=True, standardise=True))
    assert np.array_equal(before[0], pool.instances.embeddings)
    assert np.array_equal(before[1], pool.uncertainty.se)
    assert np.array_equal(before[2], pool.image_ids)


@every_strategy
@pytest.mark.parametrize("budget", [0, 1, 30, 31])
def test_every_budget(name, pool, budget):
    assert sorted(ask(name, pool, budget=budget)) == list(range(30))


@every_strategy
def test_a_negative_budget_is_refused(name, pool):
    with pytest.raises(SelectionError, match="budget"):
        ask(name, pool, budget=-1)


@every_strategy
def test_pools_without_images_or_detections(name, build):
    assert list(ask(name, build.pool({}))) == []
    assert sorted(ask(name, build.pool({i: [] for i in range(5)}))) == list(range(5))


@every_strategy
def test_half_precision_embeddings_are_taken(name, pool):
    small = replace(pool.instances, embeddings=pool.instances.embeddings.astype(np.float16))
    assert sorted(ask(name, replace(pool, instances=small))) == list(range(30))


def test_random_depends_on_seed_and_id_alone(build, pool):
    assert list(ask("random", pool, seed=1)) != list(ask("random", pool, seed=2))
    whole = [i for i in pool.image_ids[ask("random", pool).order].tolist() if i < 10]
    few = build.pool({i: [] for i in range(10)})
    assert few.image_ids[ask("random", few).order].tolist() == whole


def test_an_unknown_name_lists_the_known(pool):
    with pytest.raises(SelectionError, match="expected one of random, taudis, got 'best'"):
        ask("best", pool)

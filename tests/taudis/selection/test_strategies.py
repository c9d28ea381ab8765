"""The contract of every query strategy; a new entry of STRATEGIES is held to it at once."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taudis.errors import SelectionError
from taudis.selection.params import Labelled, SelectionParams, Sketch
from taudis.selection.strategies import STRATEGIES, QueryStrategy, query, strategies_table
from taudis.types import Pool

ROOT = Path(__file__).resolve().parents[3]
every_strategy = pytest.mark.parametrize("name", sorted(STRATEGIES))
INDEPENDENT = [name for name, strategy in STRATEGIES.items() if strategy.independent]
READ_DETECTIONS = [name for name, strategy in STRATEGIES.items() if strategy.detections]
TIES_BY_ID = ("taudis", "taudis_uncovered")  # before the seed can matter (decision 3)


def ask(name, pool, *, budget=6, seed=0, params=None, labelled=None):
    if labelled is None:
        known = np.array([[0, 0], [1, 2]], np.float32)
        width = pool.image_embeddings.shape[1]
        labelled = Labelled(3.0, np.pad(known, ((0, 0), (0, width - 2))))
    params = params or SelectionParams()
    return query(name, pool, budget=budget, labelled=labelled, params=params, seed=seed)


def ids(pool, selection):
    return pool.image_ids[selection.order].tolist()


def assert_total(pool, got):
    """A total order with a reason a rank, along which utilities never rise."""
    assert sorted(got) == list(range(len(pool)))
    assert len(got.reasons) == len(pool) and all(got.reasons)
    assert got.utilities.shape == (len(pool),)
    assert np.isfinite(got.utilities).all()
    assert (np.diff(got.utilities[got.order]) <= 0).all()


def assert_same(pool, one, other_pool, two):
    """The same selection bit for bit, whatever the rows are called."""
    assert ids(pool, one) == ids(other_pool, two)
    assert one.reasons == two.reasons
    assert one.utilities[one.order].tolist() == two.utilities[two.order].tolist()
    assert one.gains.tolist() == two.gains.tolist()
    assert one.diagnostics == two.diagnostics
    assert one.warnings == two.warnings


@st.composite
def questions(draw, build):
    """A pool with the arguments of a query."""
    pool = build.scene_pool(draw(build.scenes()))
    params = SelectionParams(
        centre=draw(st.booleans()),
        standardise=draw(st.booleans()),
        sigma_rule=draw(st.sampled_from(("adaptive", "flat"))),
        remainder=draw(st.sampled_from(("layers", "uncertainty", "none"))),
        alpha_img=draw(st.sampled_from((1.0, 1.5, 3.0))),
    )
    known = draw(st.lists(st.tuples(st.integers(-2, 2), st.integers(-2, 2)), max_size=3))
    asked = {
        "budget": draw(st.integers(0, len(pool) + 1)),
        "seed": draw(st.integers(-5, 5)),
        "params": params,
        "labelled": Labelled(2.0, np.array(known, np.float32).reshape(-1, 2)),
    }
    return pool, asked


@pytest.fixture(scope="module")
def pool(build):
    return build.mixed_pool(40, seed=4)


@every_strategy
def test_the_one_signature(name):
    wanted = inspect.signature(QueryStrategy.__call__, eval_str=True)
    run = inspect.signature(STRATEGIES[name].run, eval_str=True)
    assert list(run.parameters.values()) == list(wanted.parameters.values())[1:]
    assert run.return_annotation is wanted.return_annotation


@every_strategy
def test_total_order_with_a_reason_a_rank(name, pool):
    got = ask(name, pool)
    assert_total(pool, got)
    assert got.strategy == name
    assert got.budget == 6


@every_strategy
def test_reproducible(name, pool):
    assert_same(pool, ask(name, pool), pool, ask(name, pool))


@every_strategy
def test_rows_of_the_pool_do_not_matter(name, pool, build):
    for seed in range(5):
        other = build.permute(pool, np.random.default_rng(seed))
        assert_same(pool, ask(name, pool), other, ask(name, other))


@pytest.mark.slow
@every_strategy
@settings(max_examples=60)
@given(data=st.data())
def test_contract_on_pools_full_of_ties(name, build, data):
    pool, asked = data.draw(questions(build))
    got = ask(name, pool, **asked)
    assert_total(pool, got)
    assert got.budget == min(asked["budget"], len(pool))
    assert_same(pool, got, pool, ask(name, pool, **asked))
    other = build.permute(pool, np.random.default_rng(data.draw(st.integers(0, 99))))
    assert_same(pool, got, other, ask(name, other, **asked))
    if name in READ_DETECTIONS:
        assert_empty_last(pool, got, asked["seed"])


def assert_empty_last(pool, got, seed):
    """Images without detections come last, in the order of `random`, and are told."""
    found = np.bincount(pool.instances.image_index, minlength=len(pool))
    empty = [row for row in got if not found[row]]
    assert list(got)[len(pool) - len(empty) :] == empty
    assert empty == [row for row in ask("random", pool, seed=seed) if not found[row]]
    assert list(got.reasons[len(pool) - len(empty) :]) == (
        ["no detections; seeded random place"] * len(empty)
    )


@pytest.mark.slow
@every_strategy
@settings(max_examples=40)
@given(data=st.data())
def test_candidate_subsets(name, build, data):
    pool, asked = data.draw(questions(build))
    rows = np.array(data.draw(st.permutations(range(len(pool)))), np.int64)
    some = pool.subset(rows[: data.draw(st.integers(0, len(pool)))])
    got = ask(name, some, **asked)
    assert_total(some, got)
    again = build.permute(some, np.random.default_rng(data.draw(st.integers(0, 99))))
    assert_same(some, got, again, ask(name, again, **asked))
    if name in INDEPENDENT:
        assert_restricted(pool, ask(name, pool, **asked), some, got)


def assert_restricted(pool, whole, some, part):
    """The order and the utilities of the whole pool, as far as the part holds its images."""
    kept = set(some.image_ids.tolist())
    assert ids(some, part) == [key for key in ids(pool, whole) if key in kept]
    utilities = dict(zip(pool.image_ids.tolist(), whole.utilities.tolist(), strict=True))
    for key, utility in zip(some.image_ids.tolist(), part.utilities.tolist(), strict=True):
        assert utility == utilities[key]


@every_strategy
def test_the_table_says_whose_order_other_images_leave_as_it_is(name, pool):
    """On real numbers, where no two images tie."""
    some = pool.subset(np.random.default_rng(0).permutation(len(pool))[:17])
    whole, part = ask(name, pool), ask(name, some)
    if name in INDEPENDENT:
        assert_restricted(pool, whole, some, part)
    else:
        kept = set(some.image_ids.tolist())
        assert ids(some, part) != [key for key in ids(pool, whole) if key in kept]


@every_strategy
def test_the_pool_is_left_as_it_was(name, pool):
    def arrays():
        parts = (pool, pool.instances, pool.uncertainty)
        values = (getattr(part, f.name) for part in parts for f in fields(part))
        return [value.copy() for value in values if isinstance(value, np.ndarray)]

    before = arrays()
    ask(name, pool, params=SelectionParams(centre=True, standardise=True))
    assert len(before) == 13
    assert all(np.array_equal(a, b) for a, b in zip(before, arrays(), strict=True))


@every_strategy
@pytest.mark.parametrize("budget", [0, 1, 40, 41])
def test_every_budget(name, pool, budget):
    got = ask(name, pool, budget=budget)
    assert_total(pool, got)
    assert got.budget == min(budget, 40)


@every_strategy
@pytest.mark.parametrize("budget", [-1, 2.5])
def test_a_wrong_budget_is_refused(name, pool, budget):
    with pytest.raises(SelectionError, match="budget: expected a number of images"):
        ask(name, pool, budget=budget)


@every_strategy
@pytest.mark.parametrize("budget", [0, 1, 3])
def test_pools_without_images_or_detections(name, build, budget):
    assert list(ask(name, build.pool({}), budget=budget)) == []
    blank = build.pool({i: [] for i in range(5)})
    got = ask(name, blank, budget=budget)
    assert_total(blank, got)
    assert list(got) != list(ask(name, blank, budget=budget, seed=1))


@every_strategy
def test_one_image(name, build):
    for content in ({4: []}, {4: [(3, 0, (1, 0, 0)), (3, 0, (0, 0, 0))]}):
        for budget in (0, 1, 2):
            one = build.pool(content)
            assert_total(one, ask(name, one, budget=budget))


@every_strategy
def test_one_label(name, pool):
    found = replace(pool.instances, labels=np.full(len(pool.instances), 2))
    alike = replace(pool, instances=found)
    assert_total(alike, ask(name, alike))


@every_strategy
def test_duplicated_images(name, build):
    """Copies of one image differ in nothing but their id: ties all along."""
    pool = build.pool({i: [(3, 0, (1, 1, 0)), (2, 1, (0, 1, 1))] for i in range(12)})
    got = [ask(name, pool, seed=seed) for seed in range(3)]
    for seed, one in enumerate(got):
        assert_total(pool, one)
        other = build.permute(pool, np.random.default_rng(seed))
        assert_same(pool, one, other, ask(name, other, seed=seed))
    orders = {tuple(ids(pool, one)) for one in got}
    assert len(orders) == (1 if name in TIES_BY_ID else 3)


@every_strategy
def test_half_precision_is_taken(name, pool):
    small = replace(pool.instances, embeddings=pool.instances.embeddings.astype(np.float16))
    halved = replace(
        pool, instances=small, image_embeddings=pool.image_embeddings.astype(np.float16)
    )
    assert_total(halved, ask(name, halved))


@every_strategy
def test_the_table_says_whether_image_embeddings_matter(name, pool, build):
    rng = np.random.default_rng(3)
    other = replace(pool, image_embeddings=rng.normal(size=(40, 5)).astype(np.float32))
    changed = list(ask(name, pool)) != list(ask(name, other))
    assert changed == STRATEGIES[name].image_embeddings


@every_strategy
def test_the_table_says_whether_detections_matter(name, pool, build):
    blank = replace(
        pool,
        instances=pool.instances.filter(np.zeros(0, np.int64)),
        uncertainty=type(pool.uncertainty)(*(np.zeros(0, np.float32) for _ in range(3))),
        mask_areas=np.zeros(0, np.float32),
    )
    changed = list(ask(name, pool)) != list(ask(name, blank))
    assert changed == (name in READ_DETECTIONS)


@every_strategy
def test_the_table_says_whether_labelled_images_matter(name, pool):
    known = np.random.default_rng(5).normal(size=(8, 5)).astype(np.float32)
    changed = list(ask(name, pool)) != list(ask(name, pool, labelled=Labelled(3.0, known)))
    assert changed == STRATEGIES[name].labelled_embeddings


@every_strategy
@pytest.mark.parametrize("sketch", get_args(Sketch))
def test_the_check_of_parameters_is_what_a_run_refuses(name, pool, sketch):
    """So a program can refuse them at its start, instead of in each run."""
    params = SelectionParams(sketch=sketch)
    try:
        STRATEGIES[name].check(params)
    except SelectionError as error:
        with pytest.raises(SelectionError, match=re.escape(str(error))):
            ask(name, pool, params=params)
    else:
        assert_total(pool, ask(name, pool, params=params))


def test_random_depends_on_seed_and_id_alone(build, pool):
    assert list(ask("random", pool, seed=1)) != list(ask("random", pool, seed=2))
    few = build.pool({i: [] for i in pool.image_ids.tolist()[:10]})
    whole = [key for key in ids(pool, ask("random", pool)) if key in few.image_ids]
    assert ids(few, ask("random", few)) == whole


def test_progress_reaches_the_strategy(pool):
    reported = []

    def note(what: str, done: int, of: int) -> None:
        reported.append((what, done, of))

    query(
        "core_set",
        pool,
        budget=4,
        labelled=Labelled(1.0),
        params=SelectionParams(),
        seed=0,
        progress=note,
    )
    assert reported == [("core-set", done, 4) for done in (1, 2, 3, 4)]


def test_an_unknown_name_lists_the_known(pool):
    known = ", ".join(STRATEGIES)
    with pytest.raises(SelectionError, match=f"expected one of {known}, got 'best'"):
        ask("best", pool)


def test_the_table_has_a_row_and_a_use_for_each_strategy():
    table, uses = strategies_table().split("\n\n")
    head, rule, *rows = table.splitlines()
    assert [row.split("`")[1] for row in rows] == list(STRATEGIES)
    assert {line.count("|") for line in (head, rule, *rows)} == {8}
    assert [line.split("`")[1] for line in uses.splitlines()] == list(STRATEGIES)
    assert all(line.endswith(".") for line in uses.splitlines())


def test_the_page_holds_the_table_of_the_code():
    page = (ROOT / "docs" / "strategies.md").read_text()
    held = page.split("<!-- strategies:", 1)[1].split("-->", 1)[1]
    held = held.split("<!-- /strategies -->", 1)[0].strip()
    assert held == strategies_table(), (
        "paste this between the strategies comments of docs/strategies.md:\n" + strategies_table()
    )


def test_an_image_without_area_is_named(build):
    pool: Pool = build.pool({7: [(1, 0, (1, 0, 0))], 9: []})
    flat = replace(pool, sizes=np.array([[64, 64], [0, 64]]))
    weighted = [name for name in READ_DETECTIONS if "mask area" in STRATEGIES[name].detections]
    assert len(weighted) > 3
    for name in weighted:
        with pytest.raises(SelectionError, match=r"got \[0, 64\] for image 9"):
            ask(name, flat)

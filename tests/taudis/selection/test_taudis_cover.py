"""`taudis_cover` against an oracle in plain Python, by hand, and by what greedy cover promises."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taudis.selection.algorithm1 import taudis
from taudis.selection.graph import sample_universe
from taudis.selection.params import Labelled, SelectionParams
from taudis.selection.taudis_cover import taudis_cover
from tests.taudis.selection.taudis_cover_oracle import cover_by_images, estimates

SEED_SET = Labelled(mean_instances=2.0)
REMAINDERS = ("layers", "uncertainty", "none")


def described(pool, rows):
    """Instances as the oracle names them."""
    found = pool.instances
    return [
        (
            round(float(pool.uncertainty.se[i]) * 16),
            int(pool.image_ids[found.image_index[i]]),
            int(found.boxes[i, 0]),
            tuple(int(x) for x in found.embeddings[i]),
        )
        for i in rows
    ]


def by_image(pool, selection):
    """The summed gains of each image that holds a chosen instance, in pick order."""
    sums = {}
    for row, gain in zip(selection.chosen.tolist(), selection.gains.tolist(), strict=True):
        image = int(pool.instances.image_index[row])
        sums[image] = sums.get(image, 0) + gain
    return sums


@st.composite
def questions(draw, build):
    """A pool's content and the arguments that oracle and strategy share."""
    content = draw(build.contents())
    return content, {
        "budget": draw(st.integers(0, len(content) + 2)),
        "alpha": draw(st.sampled_from((1.1, 1.5, 3.0, 7.0))),
        "sigma": draw(st.sampled_from(build.sigmas)),
        "remainder": draw(st.sampled_from(REMAINDERS)),
        "seed": draw(st.integers(0, 99)),
    }


def ask(pool, asked, **changed):
    params = SelectionParams(
        alpha=asked["alpha"],
        sigma=asked["sigma"],
        remainder=asked["remainder"],
        sigma_rule="flat",
    )
    return taudis_cover(
        pool,
        budget=asked["budget"],
        labelled=SEED_SET,
        params=replace(params, **changed),
        seed=asked["seed"],
    )


@pytest.mark.slow
@settings(max_examples=200)
@given(data=st.data())
def test_equals_brute_force(build, data):
    content, asked = data.draw(questions(build))
    pool = build.pool(content)
    got, want = ask(pool, asked), cover_by_images(build, content, **asked)
    assert pool.image_ids[got.order].tolist() == want.order
    assert described(pool, got.candidates) == want.candidates
    assert described(pool, got.chosen) == want.chosen
    assert got.gains.tolist() == want.gains
    assert got.layers.tolist() == want.layers
    assert list(got.reasons) == want.reasons
    assert list(by_image(pool, got).values()) == want.image_gains
    places = np.argsort(got.order)
    assert got.utilities.tolist() == (len(pool) - places).tolist()


@pytest.mark.slow
@settings(max_examples=80)
@given(data=st.data())
def test_the_figures_of_the_cover(build, data):
    content, asked = data.draw(questions(build))
    pool = build.pool(content)
    got, want = ask(pool, asked), cover_by_images(build, content, **asked)
    instances = len(pool.instances)
    reported = got.diagnostics
    first = sum(want.image_gains[: want.first_picks])
    assert reported["picked"] == len(want.image_gains)
    assert reported["candidates"] == len(want.candidates)
    assert reported["coverage"] == pytest.approx(first / max(1, instances))
    assert reported["coverable"] == pytest.approx(want.coverable / max(1, instances))
    complete = want.first_picks > 0 and first == want.coverable
    assert reported["saturation_pick"] == (want.first_picks if complete else None)
    pairs = len(want.candidates) * instances
    assert reported["density"] == pytest.approx(want.edges / max(1, pairs))
    early = complete and want.first_picks < min(got.budget, len(want.sets))
    assert any("cover was complete" in each for each in got.warnings) == early


@pytest.mark.slow
@settings(max_examples=120)
@given(data=st.data())
def test_a_sketch_covers_its_sample(build, data):
    """With few candidates the sample of 2C instances is a part of the pool."""
    content, asked = data.draw(questions(build))
    asked["budget"] = data.draw(st.sampled_from((1, 1, 2)))
    asked["alpha"] = data.draw(st.sampled_from((1.1, 1.5, 2.5)))
    pool = build.pool(content)
    total = len(pool.instances)
    size = 2 * math.ceil(round(asked["alpha"] * min(asked["budget"], len(pool)), 9))
    sketched = size < total
    columns = sample_universe(total, size, asked["seed"]).tolist() if sketched else None
    got = ask(pool, asked, sketch="always")
    want = cover_by_images(build, content, **asked, columns=columns)
    scale = total / size if sketched else 1
    assert pool.image_ids[got.order].tolist() == want.order
    assert described(pool, got.chosen) == want.chosen
    assert got.gains.tolist() == estimates(want.gains, want.layers, scale)
    assert list(got.reasons) == want.reasons
    assert got.diagnostics["sketch_columns"] == (size if sketched else None)
    reported = f"a random sample of {size} of {total} instances"
    assert any(reported in warning for warning in got.warnings) == sketched


@pytest.mark.slow
@settings(max_examples=80)
@given(data=st.data())
def test_covers_what_the_theory_promises(build, data):
    """At least 1 - 1/e of what the best B images that hold candidates cover."""
    content, asked = data.draw(questions(build))
    asked["remainder"] = "none"
    got, want = (
        ask(build.pool(content), asked),
        cover_by_images(build, content, **asked),
    )
    few = min(got.budget, len(want.sets))
    best = max(len(set().union(*some)) for some in combinations(want.sets.values(), few))
    assert got.gains.sum() >= (1 - 1 / math.e) * best


@pytest.mark.slow
@settings(max_examples=60)
@given(data=st.data())
def test_any_permutation_of_the_pool_gives_the_same(build, data):
    content, asked = data.draw(questions(build))
    pool = build.pool(content)
    changed = {
        "uncertainty": data.draw(st.sampled_from(("se", "ce", "cm"))),
        "standardise": data.draw(st.booleans()),
        "sigma_rule": data.draw(st.sampled_from(("adaptive", "flat"))),
        "sketch": data.draw(st.sampled_from(("auto", "always"))),
    }
    other = build.permute(pool, np.random.default_rng(data.draw(st.integers(0, 999))))
    one, two = (ask(each, asked, **changed) for each in (pool, other))
    assert pool.image_ids[one.order].tolist() == other.image_ids[two.order].tolist()
    assert described(pool, one.chosen) == described(other, two.chosen)
    assert one.gains.tolist() == two.gains.tolist()
    assert (one.reasons, one.diagnostics, one.warnings) == (
        two.reasons,
        two.diagnostics,
        two.warnings,
    )


@settings(max_examples=40)
@given(data=st.data())
def test_neither_beta_nor_votes_matter(build, data):
    content, asked = data.draw(questions(build))
    pool = build.pool(content)
    asked["alpha"] = 7.0
    one, two = (ask(pool, asked, beta=beta) for beta in (1.5, 6.5))
    assert list(one) == list(two)
    assert one.chosen.tolist() == two.chosen.tolist()
    assert len(one.votes) == 0
    assert "beta" not in one.diagnostics


def test_two_alike_in_one_image_count_once(build):
    """Where Algorithm 1's vote and a cover by images part."""
    a, b, c, d = (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0)
    pool = build.pool(
        {
            1: [(9, 0, a), (9, 1, a), (9, 2, a)],  # three of one kind
            2: [(8, 0, b), (8, 1, c)],  # two kinds, common ones
            3: [(1, 0, b), (1, 1, b), (1, 2, c)],
            4: [(7, 0, d)],
        }
    )
    params = SelectionParams(alpha=3.0, beta=2.9, sigma=0.9, sigma_rule="flat")
    voted, covered = (
        strategy(pool, budget=2, labelled=SEED_SET, params=params, seed=0)
        for strategy in (taudis, taudis_cover)
    )
    assert pool.image_ids[voted.order].tolist()[:2] == [2, 1]  # 2 votes; 1 + 1/2 + 1/4
    assert pool.image_ids[covered.order].tolist()[:2] == [2, 1]
    assert voted.votes.tolist() == [1.75, 2.0, 0, 1.0]
    assert covered.gains.tolist() == [3, 2, 3, 0, 0]  # 2: both b, c; 1: its first a
    assert covered.reasons[:2] == (
        "its 2 uncertain instances cover 5 pool instances that no image before covered",
        "its 3 uncertain instances cover 3 pool instances that no image before covered",
    )


@pytest.mark.parametrize("remainder", REMAINDERS)
def test_after_the_cover_is_complete(build, remainder):
    a, b = (1, 0, 0), (0, 1, 0)
    pool = build.pool({1: [(5, 0, a)], 2: [(9, 0, a), (1, 1, b)], 3: [(6, 0, a)], 4: [(7, 0, b)]})
    params = SelectionParams(alpha=5, sigma_rule="flat", remainder=remainder)
    got = taudis_cover(pool, budget=3, labelled=SEED_SET, params=params, seed=0)
    heads = {
        # the first covers all; then a and b once more
        "layers": ([2, 3, 4, 1], [0, 0, 1, 1], [3, 2, 3, 2]),
        # then by summed uncertainty, covering nothing new
        "uncertainty": ([2, 4, 3, 1], [0, 0, 1, 1], [3, 2, 0, 0]),
        "none": ([2, 4, 3, 1], [0, 0], [3, 2]),
    }
    order, layers, gains = heads[remainder]
    assert pool.image_ids[got.order].tolist() == order
    assert got.layers.tolist() == layers
    assert got.gains.tolist() == gains
    assert got.diagnostics["saturation_pick"] == 1
    assert got.diagnostics["picked"] == (1 if remainder == "none" else 3)
    (warning,) = got.warnings
    assert "complete after 1 picks, fewer than the budget of 3 images" in warning


def test_a_pool_of_real_numbers_against_its_bits(build):
    """Gains of the images equal a cover of sets that are made from float64 cosines."""
    pool = build.clustered_pool(60, 5, 40, seed=4, noise=0.35, width=32)
    params = SelectionParams(alpha=8, sigma_rule="flat", sigma=0.8)
    got = taudis_cover(pool, budget=9, labelled=SEED_SET, params=params, seed=2)
    vectors = pool.instances.embeddings.astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = vectors[got.candidates] @ vectors.T
    assert np.abs(cosines - 0.8).min() > 1e-5  # no edge hangs on rounding
    image = pool.instances.image_index
    seen = set()
    for picked in list(got)[:9]:
        mine = [i for i, row in enumerate(got.candidates) if image[row] == picked]
        covers = set(np.flatnonzero((cosines[mine] >= 0.8).any(axis=0)).tolist())
        assert by_image(pool, got)[picked] == len(covers - seen) > 0
        seen |= covers
    assert got.diagnostics["coverage"] == len(seen) / 300


@pytest.mark.parametrize("budget", [0, 1, 60, 99])
def test_budgets(build, budget):
    pool = build.clustered_pool(60, 5, 40, seed=4, noise=0.35)
    got = taudis_cover(pool, budget=budget, labelled=SEED_SET, params=SelectionParams(), seed=2)
    assert sorted(got) == list(range(60))
    assert got.diagnostics["picked"] <= min(budget, 60)
    held = set(pool.instances.image_index[got.candidates].tolist())
    assert set(list(got)[: int(got.diagnostics["picked"])]) <= held
    assert (budget == 0) == (len(got.chosen) == 0)


def test_progress_is_told(build):
    reported = []
    pool = build.clustered_pool(10, 3, 4, seed=0)
    taudis_cover(
        pool,
        budget=2,
        labelled=SEED_SET,
        params=SelectionParams(),
        seed=0,
        progress=lambda what, done, of: reported.append((what, done, of)),
    )
    assert reported[-1] == ("similarity", 30, 30)

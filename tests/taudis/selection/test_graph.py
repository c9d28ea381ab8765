"""A cover of a sample: the guarantee by brute force, and that no sample is taken in silence."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taudis.errors import SelectionError
from taudis.selection.algorithm1 import taudis
from taudis.selection.cover import greedy_cover
from taudis.selection.graph import cap_degrees, degree_cap, fast_columns, guaranteed_columns
from taudis.selection.params import Labelled, SelectionParams
from taudis.selection.sigma import hash_sample
from taudis.selection.taudis_cover import taudis_cover


def as_rows(sets, columns):
    bits = np.zeros((len(sets), -(-columns // 64) * 64), bool)
    for row, members in enumerate(sets):
        bits[row, list(members)] = True
    return np.packbits(bits, axis=1)


def best_cover(sets, k):
    """What the best k sets cover, by looking at all families."""
    k = min(k, len(sets))
    return max(len(set().union(*family)) for family in itertools.combinations(sets, k))


systems = st.lists(
    st.frozensets(st.integers(0, 39), min_size=1, max_size=12), min_size=1, max_size=9
)


@pytest.mark.parametrize("epsilon", [0.4, 0.6])
@pytest.mark.parametrize("seed", range(4))
def test_the_guaranteed_form_keeps_its_share_of_the_best(epsilon, seed):
    """Samples *and* caps: 60 disjoint blocks, each held by one set, which the best families are,
    among 340 sets that all hold the same half of everything (elements of high degree)."""
    rng = np.random.default_rng(seed)
    blocks, others, columns, k = 60, 340, 60_000, 60
    bits = np.zeros((blocks + others, columns), bool)
    bits[:blocks] = np.repeat(np.eye(blocks, dtype=bool), columns // blocks, axis=1)
    bits[blocks:, : columns // 2] = rng.random((others, columns // 2)) < 0.9
    bits = bits[rng.permutation(len(bits))]
    best = columns  # the k blocks cover everything
    size = guaranteed_columns(epsilon, k, len(bits), columns, reached=columns)
    cap = degree_cap(epsilon, k, len(bits))
    assert size < columns and cap < len(bits)
    sample = hash_sample(columns, size, seed)
    rows = np.packbits(bits[:, sample], axis=1)
    before = int(np.bitwise_count(rows).sum())
    capped = cap_degrees(rows, cap)
    assert int(np.bitwise_count(capped).sum()) < before  # edges were dropped
    picks = greedy_cover(capped, k, remainder="none").picks
    assert bits[picks].any(0).sum() >= (1 - 1 / math.e - epsilon) * best


@settings(max_examples=60)
@given(systems, st.integers(1, 5))
def test_greedy_on_everything_keeps_its_share_of_the_best(sets, k):
    """What the guaranteed form is where it needs every element: brute force over all families."""
    picks = greedy_cover(as_rows(sets, 40), k, remainder="none").picks
    covered = set().union(*(sets[row] for row in picks.tolist()))
    assert len(covered) >= (1 - (1 - 1 / min(k, len(sets))) ** k) * best_cover(sets, k) - 1e-9


def test_the_guarantee_where_the_sample_is_small():
    """20,000 elements, so that the proof needs only some: 8 sets, all families of 3 by force."""
    rng = np.random.default_rng(0)
    share = rng.uniform(0.05, 0.4, 8)
    bits = rng.random((8, 20_000)) < share[:, None]
    best = max(bits[list(f)].any(0).sum() for f in itertools.combinations(range(8), 3))
    epsilon, misses = 0.3, 0
    size = guaranteed_columns(epsilon, 3, 8, 20_000, reached=int(bits.sum(1).max()))
    assert size < 10_000
    for seed in range(40):
        sample = np.random.default_rng(seed).permutation(20_000)[:size]
        picks = greedy_cover(np.packbits(bits[:, sample], axis=1), 3, remainder="none").picks
        misses += bits[picks].any(0).sum() < (1 - 1 / math.e - epsilon) * best
    assert misses == 0


@given(systems, st.integers(1, 6))
def test_capping_keeps_the_first_edges_of_every_element(sets, cap):
    got = np.unpackbits(cap_degrees(as_rows(sets, 40), cap), axis=1)[:, :40]
    whole = np.unpackbits(as_rows(sets, 40), axis=1)[:, :40]
    for element in range(40):
        holders = np.flatnonzero(whole[:, element])
        assert np.flatnonzero(got[:, element]).tolist() == holders[:cap].tolist()


def test_sizes_follow_the_formulas():
    assert fast_columns(1000, 10**6) == 2000 and fast_columns(1000, 900) == 900
    assert guaranteed_columns(0.1, 10, 100, 5000, reached=1) == 5000  # more than there are
    assert guaranteed_columns(0.1, 10, 100, 5000, reached=0) == 5000
    few = [guaranteed_columns(e, 10, 100, 10**9, reached=10**8) for e in (0.4, 0.2, 0.1)]
    assert few[0] < few[1] < few[2] < 10**9
    d = 0.1 / (2 - 1 / math.e)
    wanted = (2 + 2 * d / 3) / d**2 * (math.log(math.comb(100, 10)) + math.log(200)) / 0.09
    assert few[1] == pytest.approx(wanted, rel=1e-3)
    assert degree_cap(0.4, 100, 1000) == math.ceil(1000 * math.log(10) / 10)
    assert degree_cap(0.4, 109, 1000) == math.ceil(1000 * math.log(10) / 10)  # whole sets
    assert degree_cap(0.4, 5, 1000) == 1000
    for epsilon in (0, 1, -1, math.nan):
        with pytest.raises(SelectionError, match="epsilon"):
            guaranteed_columns(epsilon, 1, 1, 1, reached=1)
        with pytest.raises(SelectionError, match="epsilon"):
            SelectionParams(epsilon=epsilon)


@pytest.fixture(scope="module")
def pool(build):
    return build.clustered_pool(150, 20, 40, seed=6)


def ask(pool, **params):
    return taudis(pool, budget=4, labelled=Labelled(10.0), params=SelectionParams(**params), seed=3)


def test_estimates_add_up_and_stay_below_what_is_coverable(build):
    """300 instances that resemble none: every gain is 1 of the sample and stands for 1.5."""
    content = {i: [(i % 9, 0, tuple(int(j == i) for j in range(300)))] for i in range(300)}
    pool = build.pool(content, width=300)
    params = SelectionParams(
        alpha=25.0, beta=20.0, sigma_rule="flat", sketch="always", remainder="none"
    )
    got = taudis(pool, budget=4, labelled=Labelled(1.0), params=params, seed=0)
    figures = got.diagnostics
    assert figures["sketch_columns"] == 200
    assert figures["coverage"] <= figures["coverable"]
    assert figures["coverage"] * 300 == pytest.approx(got.gains.sum())


def test_no_edge_is_dropped_where_everything_is_covered(build):
    pool = build.pool({i: [(3, 0, (1, 1, 0))] for i in range(300)})
    params = SelectionParams(
        alpha=20.0, beta=15.0, sigma_rule="flat", sketch="guaranteed", epsilon=0.4
    )
    got = taudis(pool, budget=8, labelled=Labelled(1.0), params=params, seed=0)
    assert got.diagnostics["density"] == 1 and got.diagnostics["sketch_columns"] is None


def test_a_sample_is_told_with_estimates_of_the_whole(pool):
    whole, part = ask(pool), ask(pool, sketch="always")
    assert whole.diagnostics["sketch_columns"] is None
    assert part.diagnostics["sketch_columns"] == 200  # 2C, C = 25 * 4
    assert "random sample of 200 of 3,000 instances" in part.warnings[0]
    assert "A heuristic" in part.warnings[0]
    assert part.diagnostics["coverage"] == pytest.approx(whole.diagnostics["coverage"], abs=0.1)
    assert part.gains[0] % 15 == 0 and part.gains[0] > 0  # columns stand for 15 instances each
    assert sorted(part) == list(range(150))
    assert not any("sample" in warning for warning in whole.warnings)


def test_auto_samples_only_what_does_not_fit(build):
    pool = build.clustered_pool(600, 150, 40, seed=2, width=8)  # 90,000 instances
    params = {"alpha": 30.0, "beta": 2.0, "edge_bytes": 1_000_000}
    small = ask(pool, **params)  # 120 candidates: 1.35 MB of edges
    assert small.diagnostics["sketch_columns"] == 240
    assert "1 MB of 1 MB allowed (edge_bytes; edge-mb)" in small.warnings[0]
    assert ask(pool, **params | {"edge_bytes": 2_000_000}).diagnostics["sketch_columns"] is None
    assert ask(pool, **params, sketch="never").diagnostics["sketch_columns"] is None


def test_the_guaranteed_form_of_a_query(build):
    pool = build.clustered_pool(600, 150, 4, seed=2, width=8)
    params = {"alpha": 5.0, "beta": 2.0, "sketch": "guaranteed", "epsilon": 0.3}
    got = ask(pool, **params)
    size = got.diagnostics["sketch_columns"]
    assert size is not None and size < 90_000
    assert "at least 1 - 1/e - 0.3 of the best cover, with probability 0.99" in got.warnings[0]
    exact = ask(pool, alpha=5.0, beta=2.0)
    assert got.diagnostics["coverage"] == pytest.approx(exact.diagnostics["coverage"], abs=0.1)
    all_needed = ask(build.clustered_pool(20, 5, 4, seed=1), sketch="guaranteed")
    assert all_needed.diagnostics["sketch_columns"] is None


@pytest.mark.parametrize("sketch", ["always", "guaranteed"])
def test_rows_of_the_pool_do_not_matter(build, pool, sketch):
    other = build.permute(pool, np.random.default_rng(1))
    one, two = ask(pool, sketch=sketch), ask(other, sketch=sketch)
    assert pool.image_ids[one.order].tolist() == other.image_ids[two.order].tolist()
    assert one.reasons == two.reasons


def test_no_guarantee_is_claimed_for_covers_by_images(pool):
    with pytest.raises(SelectionError, match="expected auto, never or always for taudis_cover"):
        taudis_cover(
            pool,
            budget=4,
            labelled=Labelled(10.0),
            params=SelectionParams(sketch="guaranteed"),
            seed=0,
        )

"""The bounds decide as the whole product does, and are chosen only where they are cheaper."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taudis.selection.fast import blocks, prefix
from taudis.selection.fast.prefix import Prefix, find_prefix, shares
from taudis.selection.similarity import similarity_rows
from taudis.selection.unit_vectors import to_unit_length


@given(
    st.integers(0, 99), st.sampled_from((1, 3, 8, 20)), st.sampled_from((0.3, 0.9, 0.97, 0.995)),
    st.sampled_from((0.0, 0.04, 1.0)),
)  # fmt: skip
def test_every_pair_is_decided_as_by_the_whole_product(shared, seed, count, sigma, dense):
    rows, columns = shared.decaying(40, 24, seed=seed), shared.decaying(70, 24, seed=seed)
    columns[:5] = rows[:5]  # duplicates
    rows[7] = columns[9] = 0  # what centring may leave
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(24, 24)))
    basis = Prefix(turn[:, :count].astype(np.float32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefix, "_DENSE", dense)  # the bound of the lower side, both ways
        patch.setattr(blocks, "TOO_MANY", 1.0)
        left = shared.undecided(basis, rows, columns, sigma)
    assert left.any() or count == 20
    assert np.array_equal(
        similarity_rows(rows, columns, sigma, shortcut=basis),
        similarity_rows(rows, columns, sigma),
    )


def test_the_upper_and_the_lower_bound_hold(shared):
    rows, columns = shared.decaying(50, 32, seed=1), shared.decaying(60, 32, seed=2)
    basis = Prefix(np.eye(32, 5, dtype=np.float32))
    one, other = basis.bounds(rows), basis.bounds(columns)
    cosines = rows.astype(np.float64) @ columns.astype(np.float64).T
    middle = one.prefix[:, :-1].astype(np.float64) @ other.prefix[:, :-1].T
    slack = np.outer(one.rest, other.rest)
    assert (cosines <= middle + slack + 1e-6).all()
    assert (cosines >= middle - slack - 1e-6).all()


@pytest.mark.parametrize("sigma", [0.8, 0.93, 0.98])
def test_similarity_rows_are_the_same_with_and_without(shared, sigma):
    pool = shared.decaying(4096 + 300, 128, seed=3)
    own = np.random.default_rng(0).permutation(len(pool))[:700]
    pool[300:400] = pool[200:300]
    sigma = shared.near(pool, own, sigma)
    found = find_prefix(pool[own], pool[:1000], sigma)
    assert found is not None and found.basis.shape[1] < 128
    assert np.array_equal(
        similarity_rows(pool[own], pool, sigma, own=own, shortcut=found),
        similarity_rows(pool[own], pool, sigma, own=own),
    )


def test_a_flat_or_narrow_spectrum_is_left_to_the_product(shared):
    rng = np.random.default_rng(0)
    flat = to_unit_length(rng.normal(size=(600, 128)).astype(np.float32))
    assert find_prefix(flat[:200], flat, 0.05) is None
    narrow = shared.decaying(300, 32, seed=0)
    assert find_prefix(narrow[:100], narrow, 0.9) is None
    assert find_prefix(flat[:0], flat, 0.5) is None


def test_the_share_of_the_undecided_falls_with_every_dimension(shared):
    pool = shared.decaying(500, 128, seed=5)
    turned = np.linalg.eigh((pool.T @ pool).astype(np.float64))[1][:, ::-1].astype(np.float32)
    undecided = [
        shares(
            *(Prefix(np.ascontiguousarray(turned[:, :d])).bounds(x) for x in (pool[:99], pool)),
            0.95,
        )[1]
        for d in (2, 8, 16, 32)
    ]
    assert undecided == sorted(undecided, reverse=True)
    assert undecided[-1] < 0.02


def test_a_block_that_is_mostly_undecided_is_multiplied_out(shared):
    rng = np.random.default_rng(4)
    flat = to_unit_length(rng.normal(size=(300, 64)).astype(np.float32))
    basis = Prefix(np.eye(64, 4, dtype=np.float32))
    bounds = basis.bounds(flat)
    assert shares(bounds, bounds, 0.1)[1] > 0.5
    assert shared.undecided(basis, flat, flat, 0.1).mean() < 1e-3

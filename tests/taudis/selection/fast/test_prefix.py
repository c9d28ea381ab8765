"""The bounds decide as the whole product does, and are chosen only where they are cheaper."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taudis.selection import similarity
from taudis.selection.fast import blocks, prefix
from taudis.selection.fast.blocks import Scratch
from taudis.selection.fast.prefix import Prefix, find_prefix, undecided_share
from taudis.selection.similarity import similarity_rows
from taudis.selection.units import to_unit_length


def decaying(rows, width, *, seed, fall=6.0):
    """Unit rows whose energy lies in few directions, as a network's embeddings have it."""
    rng = np.random.default_rng(seed)
    scale = np.exp(-np.arange(width) / fall) + 0.003
    scale[0] += 3
    turn, _ = np.linalg.qr(rng.normal(size=(width, width)))
    return to_unit_length(((np.abs(rng.normal(size=(rows, width))) * scale) @ turn).astype("f4"))


def near(pool, own, sigma):
    """A threshold near sigma that is the cosine of a pair, so that rounding decides some."""
    cosines = np.sort((pool[own] @ pool.T).ravel())
    return float(cosines[np.searchsorted(cosines, sigma)])


def clear(one, other, sigma):
    """Cosines in float64, and which of them no rounding can move across sigma."""
    cosines = one.astype(np.float64) @ other.astype(np.float64).T
    return cosines >= sigma, np.abs(cosines - sigma) > 2e-6


@given(
    st.integers(0, 99), st.sampled_from((1, 3, 8, 20)), st.sampled_from((0.3, 0.9, 0.97, 0.995)),
    st.sampled_from((0.0, 0.04, 1.0)),
)  # fmt: skip
def test_every_pair_is_decided_as_by_the_whole_product(seed, count, sigma, dense):
    rows, columns = decaying(40, 24, seed=seed), decaying(70, 24, seed=seed)
    columns[:5] = rows[:5]  # duplicates
    rows[7] = columns[9] = 0  # what centring may leave
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(24, 24)))
    basis = Prefix(turn[:, :count].astype(np.float32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefix, "_DENSE", dense)  # the bound of the lower side, both ways
        patch.setattr(blocks, "UNDECIDED", 1.0)
        got = basis.bounds(rows).edges(basis.bounds(columns), sigma, Scratch(40, 70))
    wanted, sure = clear(rows, columns, sigma)
    assert np.array_equal(got[sure], wanted[sure])


def test_the_upper_and_the_lower_bound_hold():
    rows, columns = decaying(50, 32, seed=1), decaying(60, 32, seed=2)
    basis = Prefix(np.eye(32, 5, dtype=np.float32))
    one, other = basis.bounds(rows), basis.bounds(columns)
    cosines = rows.astype(np.float64) @ columns.astype(np.float64).T
    middle = one.prefix[:, :-1].astype(np.float64) @ other.prefix[:, :-1].T
    slack = np.outer(one.rest, other.rest)
    assert (cosines <= middle + slack + 1e-6).all()
    assert (cosines >= middle - slack - 1e-6).all()


@pytest.mark.parametrize("sigma", [0.8, 0.93, 0.98])
def test_similarity_rows_are_the_same_with_and_without(monkeypatch, sigma):
    pool = decaying(4096 + 300, 128, seed=3)
    own = np.random.default_rng(0).permutation(len(pool))[:700]
    pool[300:400] = pool[200:300]
    sigma = near(pool, own, sigma)
    monkeypatch.setattr(similarity, "find_rounding", lambda *given_: None)
    plain = np.unpackbits(similarity_rows(pool[own], pool, sigma, own=own), axis=1)
    used = []
    monkeypatch.setattr(similarity, "LEAST_PAIRS", 0)
    real = similarity.find_prefix
    monkeypatch.setattr(
        similarity, "find_prefix", lambda *given_: used.append(real(*given_)) or used[-1]
    )
    quick = np.unpackbits(similarity_rows(pool[own], pool, sigma, own=own), axis=1)
    assert used[0] is not None and used[0].basis.shape[1] < 128
    assert np.array_equal(plain, quick)


def test_a_flat_or_narrow_spectrum_is_left_to_the_product():
    rng = np.random.default_rng(0)
    flat = to_unit_length(rng.normal(size=(600, 128)).astype(np.float32))
    assert find_prefix(flat[:200], flat, 0.05) is None
    narrow = decaying(300, 32, seed=0)
    assert find_prefix(narrow[:100], narrow, 0.9) is None
    assert find_prefix(flat[:0], flat, 0.5) is None


def test_the_share_of_the_undecided_falls_with_every_dimension():
    pool = decaying(500, 128, seed=5)
    turned = np.linalg.eigh((pool.T @ pool).astype(np.float64))[1][:, ::-1].astype(np.float32)
    shares = [
        undecided_share(
            *(Prefix(np.ascontiguousarray(turned[:, :d])).bounds(x) for x in (pool[:99], pool)),
            0.95,
        )
        for d in (2, 8, 16, 32)
    ]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < 0.02


def test_a_block_that_is_mostly_undecided_is_multiplied_out():
    rng = np.random.default_rng(4)
    flat = to_unit_length(rng.normal(size=(300, 64)).astype(np.float32))
    basis = Prefix(np.eye(64, 4, dtype=np.float32))
    bounds = basis.bounds(flat)
    assert undecided_share(bounds, bounds, 0.1) > 0.5
    wanted, sure = clear(flat, flat, 0.1)
    assert np.array_equal(bounds.edges(bounds, 0.1, Scratch(300, 300))[sure], wanted[sure])

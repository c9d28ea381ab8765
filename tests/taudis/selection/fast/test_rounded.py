"""Whole numbers decide as the whole product does, and are chosen only where they are cheaper."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taudis.selection.fast import blocks
from taudis.selection.fast.rounded import LEVELS, Rounding, find_rounding
from taudis.selection.similarity import similarity_rows
from taudis.selection.unit_vectors import to_unit_length


@given(
    st.integers(0, 99), st.sampled_from((0.2, 0.8, 0.86, 1.0)), st.sampled_from((0.5, 1.0, 3.0)),
    st.sampled_from((0.0, 1.0)),
)  # fmt: skip
def test_every_pair_is_decided_as_by_the_whole_product(shared, seed, sigma, room, too_many):
    """Also where large elements are cut off (room 0.5), and where steps are coarse."""
    rows, columns = shared.spread(40, 24, seed=seed), shared.spread(70, 24, seed=seed)
    columns[:5] = rows[:5]  # duplicates
    rows[7] = columns[9] = 0  # what centring may leave
    rounding = Rounding(room * float(np.abs(columns).max()) / LEVELS, shared.multiply)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "TOO_MANY", too_many)
        shared.undecided(rounding, rows, columns, sigma)
    assert np.array_equal(
        similarity_rows(rows, columns, sigma, shortcut=rounding),
        similarity_rows(rows, columns, sigma),
    )


def test_the_error_is_the_distance_to_the_whole_numbers(shared):
    rows = shared.spread(50, 32, seed=1)
    rounding = Rounding(0.4 * float(np.abs(rows).max()) / LEVELS, shared.multiply)
    bounds = rounding.bounds(rows)
    left = rows.astype(np.float64) - rounding.step * bounds.numbers
    assert np.allclose(bounds.error, np.linalg.norm(left, axis=1), atol=1e-6)
    assert np.abs(bounds.numbers).max() == LEVELS  # some were cut off


@pytest.mark.parametrize("sigma", [0.7, 0.8])
def test_similarity_rows_are_the_same_with_and_without(shared, sigma):
    pool = shared.spread(4096 + 300, 128, seed=3)
    own = np.random.default_rng(0).permutation(len(pool))[:700]
    sigma = shared.near(pool, own, sigma)
    found = find_rounding(pool[own], pool[:1000], sigma, shared.multiply)
    assert found is not None
    assert np.array_equal(
        similarity_rows(pool[own], pool, sigma, own=own, shortcut=found),
        similarity_rows(pool[own], pool, sigma, own=own),
    )


def test_where_most_cosines_are_near_sigma_it_is_left_to_the_product(shared):
    def find(rows, columns, sigma):
        return find_rounding(rows, columns, sigma, shared.multiply)

    pool = shared.spread(600, 128, seed=0)
    assert find(pool[:200], pool, 0.4) is not None  # between the clusters
    alike = to_unit_length(np.abs(np.random.default_rng(0).normal(size=(600, 128))).astype("f4"))
    assert find(alike[:200], alike, 0.64) is None
    assert find(pool[:0], pool, 0.4) is None
    assert find(0 * pool, 0 * pool, 0.4) is None
    assert find(pool[:, :64], pool[:, :64], 0.4) is None  # too narrow to pay
    assert find(pool[:, :0], pool[:, :0], 0.4) is None

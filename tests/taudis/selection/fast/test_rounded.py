"""Whole numbers decide as the whole product does, where the processor multiplies them fast."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from taudis.selection import similarity
from taudis.selection.fast import blocks, rounded
from taudis.selection.fast.blocks import Scratch
from taudis.selection.fast.rounded import LEVELS, Rounding, find_rounding, whole_number_product
from taudis.selection.similarity import similarity_rows
from taudis.selection.units import to_unit_length


def exactly(rows, columns, out):
    """The product of whole numbers on any processor."""
    out[:] = rows.astype(np.int32) @ columns.T.astype(np.int32)


def spread(rows, width, *, seed):
    """Unit rows in as many directions as there are, some of them near each other."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(9, width))
    found = centres[rng.integers(9, size=rows)] + 0.4 * rng.normal(size=(rows, width))
    return to_unit_length(found.astype(np.float32))


@given(
    st.integers(0, 99), st.sampled_from((0.2, 0.8, 0.86, 1.0)), st.sampled_from((0.5, 1.0, 3.0)),
    st.sampled_from((0.0, 1.0)),
)  # fmt: skip
def test_every_pair_is_decided_as_by_the_whole_product(seed, sigma, room, undecided):
    """Also where large elements are cut off (room 0.5), and where steps are coarse."""
    rows, columns = spread(40, 24, seed=seed), spread(70, 24, seed=seed)
    columns[:5] = rows[:5]  # duplicates
    rows[7] = columns[9] = 0  # what centring may leave
    rounding = Rounding(room * float(np.abs(columns).max()) / LEVELS, exactly)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "UNDECIDED", undecided)
        got = rounding.bounds(rows).edges(rounding.bounds(columns), sigma, Scratch(40, 70))
    cosines = rows.astype(np.float64) @ columns.astype(np.float64).T
    sure = np.abs(cosines - sigma) > 2e-6
    assert np.array_equal(got[sure], (cosines >= sigma)[sure])


def test_the_error_is_the_distance_to_the_whole_numbers():
    rows = spread(50, 32, seed=1)
    rounding = Rounding(0.4 * float(np.abs(rows).max()) / LEVELS, exactly)
    bounds = rounding.bounds(rows)
    left = rows.astype(np.float64) - rounding.step * bounds.numbers
    assert np.allclose(bounds.error, np.linalg.norm(left, axis=1), atol=1e-6)
    assert np.abs(bounds.numbers).max() == LEVELS  # some were cut off


@pytest.mark.parametrize("sigma", [0.7, 0.8])
def test_similarity_rows_are_the_same_with_and_without(monkeypatch, sigma):
    pool = spread(4096 + 300, 128, seed=3)
    own = np.random.default_rng(0).permutation(len(pool))[:700]
    cosines = np.sort((pool[own] @ pool.T).ravel())
    sigma = float(cosines[np.searchsorted(cosines, sigma)])  # so that rounding decides some
    plain = np.unpackbits(similarity_rows(pool[own], pool, sigma, own=own), axis=1)
    used = []

    def found(*given_):
        used.append(find_rounding(*given_))
        return used[-1]

    monkeypatch.setattr(similarity, "LEAST_PAIRS", 0)
    monkeypatch.setattr(similarity, "find_prefix", lambda *given_: None)
    monkeypatch.setattr(similarity, "find_rounding", found)
    monkeypatch.setattr(rounded, "whole_number_product", lambda: exactly)
    monkeypatch.setattr(rounded, "_time_over_plain", lambda *given_: 0.25)
    quick = np.unpackbits(similarity_rows(pool[own], pool, sigma, own=own), axis=1)
    assert used[0] is not None
    assert np.array_equal(plain, quick)


def test_where_most_cosines_are_near_sigma_it_is_left_to_the_product(monkeypatch):
    monkeypatch.setattr(rounded, "whole_number_product", lambda: exactly)
    monkeypatch.setattr(rounded, "_time_over_plain", lambda *given_: 0.25)
    pool = spread(600, 128, seed=0)
    assert find_rounding(pool[:200], pool, 0.4) is not None  # between the clusters
    alike = to_unit_length(np.abs(np.random.default_rng(0).normal(size=(600, 128))).astype("f4"))
    assert find_rounding(alike[:200], alike, 0.64) is None
    assert find_rounding(pool[:0], pool, 0.4) is None
    assert find_rounding(0 * pool, 0 * pool, 0.4) is None
    assert find_rounding(pool[:, :64], pool[:, :64], 0.4) is None  # too narrow to pay
    assert find_rounding(pool[:, :0], pool[:, :0], 0.4) is None
    monkeypatch.setattr(rounded, "_time_over_plain", lambda *given_: 30.0)
    assert find_rounding(pool[:200], pool, 0.4) is None  # as where PyTorch has no fast product


def test_the_processors_product_is_exact_at_its_largest():
    product = whole_number_product()
    if product is None:
        pytest.skip("this processor, or this PyTorch, does not multiply whole numbers fast")
    rng = np.random.default_rng(0)
    rows, columns = (
        rng.choice(np.array([-LEVELS, -1, 0, LEVELS], np.int8), (n, 256)) for n in (70, 130)
    )
    got, wanted = np.empty((70, 130), np.int32), np.empty((70, 130), np.int32)
    product(rows, columns, got)
    exactly(rows, columns, wanted)
    assert np.array_equal(got, wanted)


def test_without_pytorch_or_with_one_that_overflows_there_is_none(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_vnni": True})
    monkeypatch.setattr(torch, "_int_mm", lambda one, other, out: out.fill_(0))
    assert whole_number_product() is None
    monkeypatch.setattr(
        torch, "_int_mm", lambda one, other, out: out.copy_(one.int() @ other.int())
    )
    assert whole_number_product() is not None
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    assert whole_number_product() is None
    monkeypatch.delitem(sys.modules, "torch")
    assert whole_number_product() is None

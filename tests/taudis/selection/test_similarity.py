from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taudis.errors import DataError, SelectionError
from taudis.selection.cover import row_sizes
from taudis.selection.graph import edge_density
from taudis.selection.sigma import CEILING, sample_similarities
from taudis.selection.similarity import similarity_rows

vectors = st.lists(st.tuples(*[st.integers(-1, 1)] * 3), min_size=1, max_size=80)


def matrix(rows):
    return np.array(rows, np.float32).reshape(len(rows), -1)


@given(vectors, st.sampled_from((0.55, 0.65, 0.75, 0.9)), st.data())
def test_edges_equal_exact_arithmetic(build, bits_to_sets, pool, sigma, data):
    own = data.draw(st.lists(st.sampled_from(range(len(pool))), unique=True))
    scale = data.draw(st.sampled_from((1e-20, 1.0, 1e20)))  # lengths do not matter
    rows = similarity_rows(
        matrix(pool)[own] * np.float32(scale), matrix(pool), sigma, own=np.array(own, np.int64)
    )
    wanted = [
        {j for j in range(len(pool)) if build.similar(pool[i], pool[j], sigma)} | {i} for i in own
    ]
    assert bits_to_sets(rows, len(pool)) == wanted
    assert rows.shape == (len(own), -(-len(pool) // 64) * 8)
    assert edge_density(row_sizes(rows), len(pool)) == pytest.approx(
        sum(map(len, wanted)) / max(1, len(own) * len(pool))
    )


def test_blocks_equal_the_whole_matrix(bits_to_sets):
    rng = np.random.default_rng(1)
    pool = rng.normal(size=(4096 + 77, 8)).astype(np.float32)
    own = rng.permutation(len(pool))[:700]
    got = np.unpackbits(similarity_rows(pool[own], pool, 0.5, own=own), axis=1)[:, : len(pool)]
    units = pool.astype(np.float64) / np.linalg.norm(pool, axis=1, keepdims=True)
    cosines = units[own] @ units.T
    clear = np.abs(cosines - 0.5) > 1e-6  # rounding may decide the others
    assert np.array_equal(got[clear], (cosines >= 0.5)[clear])
    assert clear.mean() > 0.9999


def test_zero_vectors_are_similar_to_themselves_alone(bits_to_sets):
    pool = matrix([(0, 0, 0), (0, 0, 0), (1, 0, 0)])
    rows = similarity_rows(pool, pool, 0.5, own=np.arange(3))
    assert bits_to_sets(rows, 3) == [{0}, {1}, {2}]
    assert not similarity_rows(pool[:2], pool, 0.5).any()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_duplicates_are_similar_up_to_the_ceiling(dtype):
    rng = np.random.default_rng(3)
    one = rng.normal(size=(1, 256))
    pool = np.repeat(one, 50, axis=0).astype(dtype) * rng.integers(1, 4, (50, 1)).astype(dtype)
    if dtype is np.float16:
        pool = np.repeat(one, 50, axis=0).astype(dtype)
    assert edge_density(row_sizes(similarity_rows(pool, pool, CEILING)), 50) == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_are_refused(bad):
    pool = matrix([(1, 0, 0), (bad, 0, 0)])
    for call in (
        lambda: similarity_rows(pool[:1], pool, 0.5),
        lambda: similarity_rows(pool[1:], pool[:1], 0.5),
    ):
        with pytest.raises(DataError, match="NaN or infinity"):
            call()


def test_what_does_not_fit_is_refused():
    pool = matrix([(1, 0, 0), (0, 1, 0)])
    with pytest.raises(DataError, match="one embedding width, got 2 and 3"):
        similarity_rows(pool[:, :2], pool, 0.5)
    with pytest.raises(DataError, match="float matrix"):
        similarity_rows(pool.astype(np.int64), pool, 0.5)
    with pytest.raises(DataError, match="own"):
        similarity_rows(pool, pool, 0.5, own=np.array([0, 2]))
    for sigma in (0.0, -0.5, 1.5, float("nan")):
        with pytest.raises(SelectionError, match="sigma"):
            similarity_rows(pool, pool, sigma)


def test_empty_inputs():
    none = np.zeros((0, 3), np.float32)
    pool = matrix([(1, 0, 0)])
    assert similarity_rows(none, pool, 0.5).shape == (0, 8)
    assert similarity_rows(none, none, 0.5).shape == (0, 0)
    assert edge_density(row_sizes(similarity_rows(none, none, 0.5)), 0) == 0
    assert len(sample_similarities(none, pool, own=np.zeros(0, np.int64), seed=0)) == 0

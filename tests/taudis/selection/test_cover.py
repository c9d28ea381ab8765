from __future__ import annotations

import contextlib
import io
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from taudis.errors import DataError, SelectionError
from taudis.selection import largest_gain
from taudis.selection.cover import LAST_LAYER, greedy_cover

families = st.integers(1, 24).flatmap(
    lambda n: st.lists(st.sets(st.integers(0, n - 1)), max_size=12)
)
remainders = st.sampled_from(("layers", "uncertainty", "none"))


def rows_of(sets, columns=24):
    bits = np.zeros((len(sets), columns), np.uint8)
    for row, members in enumerate(sets):
        bits[row, list(members)] = 1
    return np.packbits(bits, axis=1)


@given(families, st.integers(0, 15), remainders)
def test_equals_naive_greedy(build, sets, k, remainder):
    cover = greedy_cover(rows_of(sets), k, remainder=remainder)
    picks, gains, layers = build.greedy_by_sets(sets, k, remainder)
    assert cover.picks.tolist() == picks
    assert cover.gains.tolist() == gains
    assert cover.layers.tolist() == layers


@pytest.mark.parametrize("batch", [(16, 400_000), (128, 400)])  # rows, bytes
@pytest.mark.parametrize("share", [0.01, 0.1, 0.6])
def test_more_rows_than_a_batch_and_several_words_equal_naive_greedy(
    build, share, batch, monkeypatch
):
    """Batches of up to 16 or 12 rows, words of 64 columns; some rows are there more than once."""
    for name, value in zip(("_BATCH", "_BATCH_BYTES"), batch, strict=True):
        monkeypatch.setattr(largest_gain, name, value)
    rng = np.random.default_rng(7)
    bits = rng.random((130, 200)) < share * rng.uniform(0, 2, (130, 1))
    bits[90:] = bits[rng.integers(0, 90, 40)]
    sets = [set(np.flatnonzero(row).tolist()) for row in bits]
    shuffled = rng.permutation(len(sets))
    cover = greedy_cover(
        rows_of([sets[row] for row in shuffled], 200), 110, priority=shuffled, remainder="layers"
    )
    picks, gains, layers = build.greedy_by_sets(sets, 110, "layers")
    assert shuffled[cover.picks].tolist() == picks
    assert cover.gains.tolist() == gains
    assert cover.layers.tolist() == layers
    assert layers[-1] > 0


@given(families, st.integers(0, 15), remainders)
def test_the_figures_describe_the_picks(sets, k, remainder):
    cover = greedy_cover(rows_of(sets), k, remainder=remainder)
    reach = set().union(*sets)
    first = cover.picks[cover.layers == 0].tolist()
    assert cover.coverable == len(reach)
    assert cover.covered == len(set().union(*[sets[row] for row in first]))
    assert cover.curve.tolist() == [
        len(set().union(*[sets[row] for row in first[: i + 1]])) for i in range(len(first))
    ]
    complete = bool(first) and cover.covered == len(reach)
    assert cover.saturation_pick == (len(first) if complete else None)
    halving = 0.5**cover.layers if remainder == "layers" else np.ones(len(cover.picks))
    assert cover.weights.tolist() == halving.tolist()
    assert len(set(cover.picks.tolist())) == len(cover.picks) <= k


@given(families, st.integers(0, 15), remainders, st.randoms(use_true_random=False))
def test_priority_makes_the_order_of_the_rows_irrelevant(sets, k, remainder, random):
    shuffled = list(range(len(sets)))
    random.shuffle(shuffled)
    plain = greedy_cover(rows_of(sets), k, remainder=remainder)
    other = greedy_cover(
        rows_of([sets[row] for row in shuffled]),
        k,
        priority=np.array(shuffled, np.int64),
        remainder=remainder,
    )
    assert [shuffled[row] for row in other.picks.tolist()] == plain.picks.tolist()


def test_equal_gains_go_by_priority():
    rows = rows_of([{0, 1}, {2, 3}, {4, 5}])
    assert greedy_cover(rows, 3, priority=np.array([7, 1, 3])).picks.tolist() == [1, 2, 0]


def test_saturated_rows_stop_at_the_last_layer():
    rows = rows_of([set(range(24))] * 50)  # every pick is a layer of its own
    cover = greedy_cover(rows, 50)
    assert cover.layers.tolist() == list(range(LAST_LAYER + 1))
    assert cover.weights[-1] == 2.0**-LAST_LAYER
    assert cover.saturation_pick == 1
    assert len(greedy_cover(rows, 50, remainder="uncertainty").picks) == 50
    assert len(greedy_cover(rows, 50, remainder="none").picks) == 1


@pytest.mark.slow
def test_coverage_equals_submodlib():
    with warnings.catch_warnings():  # its docstrings hold invalid escapes
        warnings.simplefilter("ignore")
        from submodlib import SetCoverFunction
    rng = np.random.default_rng(11)  # large sets, so that gains hardly tie and the path is one
    bits = rng.random((120, 30_000)) < rng.uniform(0.005, 0.05, (120, 1))
    cover = greedy_cover(np.packbits(bits, axis=1), 30, remainder="none")
    members = [set(np.flatnonzero(row).tolist()) for row in bits]
    oracle = SetCoverFunction(n=120, cover_set=members, num_concepts=30_000)
    found = oracle.maximize(budget=30, optimizer="NaiveGreedy", show_progress=False)
    assert cover.picks.tolist() == [row for row, _ in found]
    assert cover.gains.tolist() == [int(gain) for _, gain in found]
    picked = set(cover.picks.tolist())
    assert (
        cover.covered == oracle.evaluate(picked) == len(set().union(*[members[i] for i in picked]))
    )


@pytest.mark.slow
def test_coverage_equals_apricots_naive_optimizer():
    """Its lazy and two-stage optimizers return wrong picks (docs/decisions/0003)."""
    # numba, which apricot imports, sets the threads of all that uses OpenMP in this process, until
    # the limits that stood before are put back
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from apricot import MaxCoverageSelection
    rng = np.random.default_rng(12)
    bits = rng.random((90, 8_000)) < rng.uniform(0.005, 0.05, (90, 1))
    cover = greedy_cover(np.packbits(bits, axis=1), 25, remainder="none")
    oracle = MaxCoverageSelection(25, threshold=1.0, optimizer="naive")
    with contextlib.redirect_stdout(io.StringIO()):
        oracle.fit(bits.astype(np.float32))
    assert cover.picks.tolist() == oracle.ranking.tolist()
    assert cover.covered == bits[oracle.ranking].any(0).sum()


@given(
    st.lists(st.sampled_from([frozenset(range(n)) for n in (3, 5, 8)]), max_size=40),
    st.integers(1, 40),
)
def test_layers_of_many_equal_rows_equal_naive_greedy(build, few, k):
    """Few different rows, each many times: what the remainder's layers take as twins."""
    sets = [set(each) | {20 + row % 3} for row, each in enumerate(few)]
    cover = greedy_cover(rows_of(sets), k)
    picks, gains, layers = build.greedy_by_sets(sets, k, "layers")
    assert cover.picks.tolist() == picks
    assert cover.gains.tolist() == gains
    assert cover.layers.tolist() == layers


def test_what_does_not_fit_is_refused():
    rows = rows_of([{0}, {1}])
    with pytest.raises(SelectionError, match="k: expected"):
        greedy_cover(rows, -1)
    with pytest.raises(SelectionError, match=r"layers, uncertainty, none, got 'rest'"):
        greedy_cover(rows, 1, remainder="rest")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="priority"):
        greedy_cover(rows, 1, priority=np.array([1, 1]))
    with pytest.raises(DataError, match="uint8"):
        greedy_cover(rows.astype(np.int64), 1)


def test_no_rows():
    cover = greedy_cover(np.zeros((0, 8), np.uint8), 3)
    assert len(cover.picks) == len(cover.gains) == cover.coverable == cover.covered == 0
    assert cover.saturation_pick is None

"""Greedy cover by gain for its cost, against counting all candidates at every step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taudis.errors import DataError
from taudis.selection.cover import greedy_cover

COLUMNS = 12
COSTS = (0.25, 0.5, 1.0, 1.5, 4.0)


def rows_of(sets):
    bits = np.zeros((len(sets), 64), np.uint8)
    for row, each in enumerate(sets):
        bits[row, list(each)] = 1
    return np.packbits(bits, axis=1)


def by_ratio(sets, costs, k):
    """(picks, gains) of one cover: every candidate counted in every step, the first wins a tie."""
    picks, gains, covered = [], [], set()
    while len(picks) < k:
        ratios = [len(each - covered) / cost for each, cost in zip(sets, costs, strict=True)]
        best = int(np.argmax(ratios))
        if not ratios or ratios[best] == 0:
            break
        picks.append(best)
        gains.append(len(sets[best] - covered))
        covered |= sets[best]
    return picks, gains


@settings(max_examples=300)
@given(data=st.data())
def test_equals_counting_all(data):
    some = st.sets(st.integers(0, COLUMNS - 1), max_size=6)
    sets = data.draw(st.lists(some, min_size=1, max_size=9))
    costs = [data.draw(st.sampled_from(COSTS)) for _ in sets]
    k = data.draw(st.integers(0, len(sets)))
    got = greedy_cover(rows_of(sets), k, remainder="none", costs=np.array(costs))
    assert (got.picks.tolist(), got.gains.tolist()) == by_ratio(sets, costs, k)


def test_layers_go_by_the_ratio_too():
    sets = [{0, 1}, {0, 1}, {0}, {1}]
    got = greedy_cover(rows_of(sets), 4, costs=np.array([1.0, 8.0, 0.25, 1.0]))
    # 1/0.25, then {0, 1} for 1 and {1} for 1 gain one each: the first wins. Then the other two.
    assert got.picks.tolist() == [2, 0, 3, 1]
    assert got.layers.tolist() == [0, 0, 1, 1]
    assert got.gains.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("costs", [[1.0], [1.0, 0.0], [1.0, np.inf], [1.0, np.nan], [1.0, -1.0]])
def test_costs_that_are_none_are_refused(costs):
    with pytest.raises(DataError, match="costs: expected 2 finite numbers above 0"):
        greedy_cover(rows_of([{0}, {1}]), 1, costs=np.array(costs))

"""T_F: which detections take part in a selection."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from taudis.selection.least_score import without_low_scores
from taudis.selection.params import Labelled, SelectionParams
from taudis.selection.strategies import STRATEGIES, query


def test_low_scores_are_left_out_with_everything_that_belongs_to_them(build):
    pool = build.mixed_pool(12, seed=3)
    found, kept = without_low_scores(pool, 0.5)
    rows = np.flatnonzero(pool.instances.scores >= 0.5)
    assert 0 < len(rows) < len(pool.instances) and len(found.instances) == len(rows)
    assert kept.tolist() == rows.tolist()
    assert found.image_ids.tolist() == pool.image_ids.tolist()
    assert np.array_equal(found.mask_areas, pool.mask_areas[rows])
    assert np.array_equal(found.uncertainty.se, pool.uncertainty.se[rows])
    assert np.array_equal(found.instances.embeddings, pool.instances.embeddings[rows])
    assert without_low_scores(pool, 0.0)[0] is pool


def test_a_score_at_the_threshold_takes_part(build):
    pool = build.mixed_pool(4, seed=0)
    scores = np.full(len(pool.instances), 0.5, np.float32)
    even = replace(pool, instances=replace(pool.instances, scores=scores))
    assert len(without_low_scores(even, 0.5)[1]) == len(scores)
    assert len(without_low_scores(even, 0.51)[1]) == 0


def ask(name, pool, least):
    params = SelectionParams(least_score=least)
    return query(name, pool, budget=3, labelled=Labelled(2.0), params=params, seed=1)


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_orders_as_if_the_others_had_not_been_detected(name, build):
    pool = build.mixed_pool(20, seed=6)
    part, rows = without_low_scores(pool, 0.6)
    got, alone = ask(name, pool, 0.6), ask(name, part, 0.0)
    assert got.order.tolist() == alone.order.tolist()
    assert got.candidates.tolist() == rows[alone.candidates].tolist()
    assert got.chosen.tolist() == rows[alone.chosen].tolist()
    assert (pool.instances.scores[got.candidates] >= 0.6).all()
    if STRATEGIES[name].detections:
        assert got.diagnostics["detections_below"] == len(pool.instances) - len(rows) > 0
        assert "no detections of a score from 0.6 on; seeded random place" in got.reasons
    else:
        assert got.reasons == alone.reasons

"""The pool as a strategy of a grid sees it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from taudis.simulation.choosing import without_low_scores


def test_low_scores_are_left_out_with_everything_that_belongs_to_them(build):
    pool = build.mixed_pool(12, seed=3)
    found = without_low_scores(pool, 0.5)
    rows = np.flatnonzero(pool.instances.scores >= 0.5)
    assert 0 < len(rows) < len(pool.instances) and len(found.instances) == len(rows)
    assert found.image_ids.tolist() == pool.image_ids.tolist()
    assert np.array_equal(found.mask_areas, pool.mask_areas[rows])
    assert np.array_equal(found.uncertainty.se, pool.uncertainty.se[rows])
    assert np.array_equal(found.instances.embeddings, pool.instances.embeddings[rows])
    assert without_low_scores(pool, 0.0) is pool


def test_a_score_at_the_threshold_takes_part(build):
    pool = build.mixed_pool(4, seed=0)
    scores = np.full(len(pool.instances), 0.5, np.float32)
    even = replace(pool, instances=replace(pool.instances, scores=scores))
    assert len(without_low_scores(even, 0.5).instances) == len(scores)
    assert len(without_low_scores(even, 0.51).instances) == 0

"""Sigma is raised to a quantile of sampled cosines, and never lowered."""

from __future__ import annotations

import numpy as np
import pytest

from taudis.selection import sigma as sigma_module
from taudis.selection.cover import row_sizes
from taudis.selection.graph import edge_density
from taudis.selection.sigma import (
    CEILING,
    effective_sigma,
    quantile_sigma,
    sample_similarities,
)
from taudis.selection.similarity import similarity_rows


def test_effective_sigma_leaves_the_density_and_never_lowers():
    rng = np.random.default_rng(2)
    crowded = (rng.normal(size=(900, 16)) * 0.1 + 1).astype(np.float32)  # every pair above 0.8
    own = np.arange(100)
    sampled = sample_similarities(crowded[own], crowded, own=own, seed=0)
    assert len(sampled) == 100 * 899
    sigma = effective_sigma(0.8, sampled, 0.02)
    assert sigma > 0.8
    rows = similarity_rows(crowded[own], crowded, sigma, own=own)
    density = edge_density(row_sizes(rows), 900)
    assert density == pytest.approx(0.02, abs=0.002)
    spread = rng.normal(size=(900, 16)).astype(np.float32)
    assert (
        effective_sigma(0.95, sample_similarities(spread[own], spread, own=own, seed=0), 0.02)
        == 0.95
    )


def test_quantile_ends():
    values = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    assert quantile_sigma(values, 1.0) == -1
    assert quantile_sigma(values[:0], 0.5) == -1
    assert quantile_sigma(values, 0.5) == pytest.approx(0.25)
    assert quantile_sigma(values, 0.0) == pytest.approx(0.35)
    assert quantile_sigma(np.ones(9, np.float32), 0.1) == CEILING
    tied = np.array([0.9] * 99 + [0.95], np.float32)  # the middle of the next gap, not on the tie
    assert quantile_sigma(tied, 0.5) == pytest.approx(0.925)


def test_samples_do_not_hold_an_instance_with_itself(monkeypatch):
    monkeypatch.setattr(sigma_module, "SAMPLE_ROWS", 5)
    monkeypatch.setattr(sigma_module, "SAMPLE_COLUMNS", 11)
    pool = np.eye(20, dtype=np.float32)
    sampled = sample_similarities(pool, pool, own=np.arange(20), seed=4)
    assert not sampled.any()
    assert 50 <= len(sampled) <= 55

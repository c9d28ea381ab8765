"""The pool that the tests of the command line rank."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from taudis.data.pool_reader import save_pool
from taudis.types import Uncertainty


@pytest.fixture(scope="session")
def pool(build):
    """30 images of 5 instances in 12 clusters, ids from 0, distinct image embeddings."""
    made = build.clustered_pool(30, 5, 12, seed=1)
    rng = np.random.default_rng(0)
    se = made.uncertainty.se.astype(np.float32)
    return replace(
        made,
        image_embeddings=rng.normal(size=(30, 6)).astype(np.float32),
        uncertainty=Uncertainty(1 - se, se, se),
    )


@pytest.fixture
def file(tmp_path, pool):
    path = tmp_path / "pool.safetensors"
    save_pool(path, pool, label_names=("cell",), model="a model")
    return path

"""The scored pool of a round, as the selection reads it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from backend.worker import score, select
from backend.worker.context import write_json
from taudis.data.pool_reader import save_pool
from taudis.errors import DataError
from taudis.types import Instances, Pool, Uncertainty


def pool_of(first: int) -> Pool:
    one = np.ones(1, np.float32)
    instances = Instances(
        np.zeros(1, np.int64), np.array([[0, 0, 4, 4]], np.float32), one / 2, np.ones(1, np.int64),
        np.full((1, 2), 0.5, np.float32), np.ones((1, 3), np.float32),
    )  # fmt: skip
    return Pool(
        np.array([first, first + 1]), np.full((2, 2), 8), instances, Uncertainty(one, one, one),
        one, np.ones((2, 3), np.float32),
    )  # fmt: skip


@pytest.fixture
def context(tmp_path):
    write_json(tmp_path / "unreadable.json", {"7": "cannot be read"})
    settings = SimpleNamespace(strategy="taudis")
    return SimpleNamespace(round_dir=lambda _: tmp_path, settings=settings)


def read(context):
    return select._pool_of(context, SimpleNamespace(kind="train"))


def test_the_pool_of_a_round_comes_with_its_unreadable_images(context, tmp_path):
    save_pool(tmp_path / score.POOL_FILE, pool_of(5))
    pool, unreadable, strategy = read(context)
    assert pool.image_ids.tolist() == [5, 6] and len(pool.instances) == 1
    assert unreadable == {7: "cannot be read"} and strategy == "taudis"


def test_a_missing_pool_is_named_as_it_is_called_now(context):
    with pytest.raises(DataError, match=r"pool\.safetensors"):
        read(context)

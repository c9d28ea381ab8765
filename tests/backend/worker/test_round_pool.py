"""The scored pool of a round, also of one that an earlier version left unfinished."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from backend.worker import score, select
from backend.worker.context import write_json
from taudis.data.pool_format import INSTANCES, MEASURES, POOL
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
def desk(tmp_path):
    write_json(tmp_path / "set_aside.json", {"7": "cannot be read"})
    settings = SimpleNamespace(strategy="taudis")
    return SimpleNamespace(round_dir=lambda _: tmp_path, settings=settings)


def read(desk):
    return select._pool_of(desk, SimpleNamespace(kind="train"))


def write_old(folder, pool):
    arrays = {name: getattr(pool, name) for name in POOL}
    arrays |= {name: getattr(pool.instances, name) for name in INSTANCES}
    arrays |= {name: getattr(pool.uncertainty, name) for name in MEASURES}
    np.savez(folder / "pool.npz", allow_pickle=False, **arrays)


def test_the_pool_of_an_open_round_is_read_in_the_old_format_too(desk, tmp_path):
    write_old(tmp_path, pool_of(1))
    pool, aside, strategy = read(desk)
    assert pool.image_ids.tolist() == [1, 2] and len(pool.instances) == 1
    assert aside == {7: "cannot be read"} and strategy == "taudis"


def test_a_pool_scored_again_comes_before_the_old_one(desk, tmp_path):
    write_old(tmp_path, pool_of(1))
    save_pool(tmp_path / score.POOL_FILE, pool_of(5))
    assert read(desk)[0].image_ids.tolist() == [5, 6]


def test_a_missing_pool_is_named_as_it_is_called_now(desk):
    with pytest.raises(DataError, match=r"pool\.safetensors"):
        read(desk)

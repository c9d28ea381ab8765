"""The scored pool of a round, as the selection reads it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from backend.worker import score, select
from backend.worker.context import write_json
from taudis.data.pool_reader import save_pool
from taudis.errors import DataError
from taudis.types import Instances, Pool, Selection, Uncertainty


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
    write_json(tmp_path / "rest.json", [9, 3, 8])
    settings = SimpleNamespace(strategy="taudis")
    return SimpleNamespace(round_dir=lambda _: tmp_path, settings=settings)


def read(context):
    return select._pool_of(context, SimpleNamespace(kind="train"))


def test_the_pool_of_a_round_comes_with_its_unreadable_images(context, tmp_path):
    save_pool(tmp_path / score.POOL_FILE, pool_of(5))
    pool, unreadable, rest, strategy = read(context)
    assert pool.image_ids.tolist() == [5, 6] and len(pool.instances) == 1
    assert unreadable == {7: "cannot be read"} and strategy == "taudis" and rest == [9, 3, 8]


def test_a_round_of_an_earlier_release_has_no_rest(context, tmp_path):
    save_pool(tmp_path / score.POOL_FILE, pool_of(5))
    (tmp_path / "rest.json").unlink()
    assert read(context)[2] == []


def test_a_strategy_that_reads_nothing_of_the_images_ranks_the_rest_as_well(context, tmp_path):
    save_pool(tmp_path / score.POOL_FILE, pool_of(5))
    context.settings.strategy = "random"
    pool, unreadable, rest, strategy = read(context)
    assert pool.image_ids.tolist() == [5, 6, 9, 3, 8] and len(pool.instances) == 0
    assert list(unreadable) == [7] and rest == [] and strategy == "random"


def test_the_rest_is_placed_behind_the_selection_and_before_what_cannot_be_read():
    chosen = Selection("a test", np.array([1, 0]), np.zeros(2), ("best", "next"), 1)
    found = list(select.places(chosen, [5, 6], {7: "gone", 2: "lost"}, [9, 3, 8]))
    assert [each.task for each in found] == [6, 5, 9, 3, 8, 2, 7]
    assert [(each.rank, each.score) for each in found] == [(n, n / 7) for n in range(1, 8)]
    behind = "not scored yet: behind the scored images, in the previous order"
    assert [each.reason for each in found] == [
        "best", "next", behind, behind, behind, "unreadable image: lost", "unreadable image: gone",
    ]  # fmt: skip


def test_a_missing_pool_is_named_as_it_is_called_now(context):
    with pytest.raises(DataError, match=r"pool\.safetensors"):
        read(context)

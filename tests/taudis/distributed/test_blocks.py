"""Blocks cover the list once; a record makes one done; deaths find the image that causes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taudis.distributed.blocks import (
    BATCH,
    MOST_BLOCKS,
    MOST_DEATHS,
    PartsFolder,
    Record,
    Todo,
    block_size,
    blocks_of,
)
from taudis.errors import DataError


@given(st.integers(0, 3_000_000))
def test_blocks_are_few_and_hold_whole_batches(images):
    size = block_size(images)
    blocks = blocks_of(images, size)
    assert size % BATCH == 0 and 1 <= len(blocks) <= MOST_BLOCKS
    assert [block.start for block in blocks[1:]] == [block.stop for block in blocks[:-1]]
    assert (blocks[0].start, blocks[-1].stop) == (0, images)


def test_a_size_that_cuts_batches_is_refused():
    with pytest.raises(DataError, match="multiple of 4"):
        blocks_of(10, 6)


def test_a_block_is_done_once_its_record_is_there(tmp_path):
    folder, block = PartsFolder(tmp_path), blocks_of(8, 4)[1]
    folder.part(block).write_bytes(b"a part whose writer was killed before the record")
    folder.mark(block).write_text("7 -8")
    assert folder.record(block) is None and folder.marked(block) == [7, -8]
    folder.finish(block, Record(3, 5, {7: "torn"}, 0.5))
    assert folder.record(block) == Record(3, 5, {7: "torn"}, 0.5)
    assert folder.marked(block) == []


def test_parts_of_another_run_are_not_gone_on_with(tmp_path):
    folder = PartsFolder(tmp_path / "parts")
    folder.join({"checkpoint": "a", "block": 4})
    folder.join({"checkpoint": "a", "block": 4})
    with pytest.raises(DataError, match=r"\(checkpoint differ\)"):
        folder.join({"checkpoint": "b", "block": 4})
    other = PartsFolder(tmp_path)
    (tmp_path / "pool.safetensors").touch()
    with pytest.raises(DataError, match="empty folder"):
        other.join({})


def score(todo, deadly, ids=range(8)):
    """Score blocks by processes that die at `deadly` images; returns those that were left out."""
    without = {}
    while (block := todo.next()) is not None:
        rows = [n for n in ids[block.start : block.stop] if n not in block.without]
        batches = [rows[n : n + BATCH] for n in range(0, len(rows), BATCH)]
        if block.alone:
            batches = [[n] for n in rows]
        marked = next((batch for batch in batches if deadly.intersection(batch)), None)
        if marked is None:
            without[block.number] = set(block.without)
        else:
            todo.died(block, marked)
    return without


@given(st.sets(st.integers(0, 7), max_size=2))
def test_deaths_cost_the_images_that_cause_them_alone(deadly):
    todo = Todo(blocks_of(8, 4))
    found = score(todo, deadly)
    assert set().union(*found.values()) == deadly
    assert todo.redone <= 2 * len({n // 4 for n in deadly}) + 2 * len(deadly)


def test_three_deaths_of_nodes_cost_no_image():
    todo = Todo(blocks_of(4, 4))
    for _ in range(3):
        block = todo.next()
        todo.died(block, [2] if block.alone else [0, 1, 2, 3])
    assert todo.next().without == frozenset()


def test_a_block_whose_process_always_dies_ends_the_run():
    todo = Todo(blocks_of(4, 4))
    with pytest.raises(DataError, match=f"died {MOST_DEATHS} times"):
        while True:
            todo.died(todo.next(), [])

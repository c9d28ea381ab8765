"""Blocks cover the list once; a record makes one done; deaths find the image that causes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taudis.distributed.blocks import (
    BATCH,
    MOST_BLOCKS,
    MOST_DEATHS,
    MOST_LEFT_OUT,
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
    assert folder.marked(block) == []  # it says nothing of the next process
    folder.mark(block).write_text("7")
    folder.finish(block, Record(3, 5, {7: "torn"}, 0.5))
    assert folder.record(block) == Record(3, 5, {7: "torn"}, 0.5)
    assert folder.marked(block) == []


def test_a_mark_of_an_earlier_driver_blames_no_image(tmp_path):
    folder, block = PartsFolder(tmp_path), blocks_of(8, 4)[1]
    folder.mark(block).write_text("7 -8")
    assert folder.begin(block, str) is None and folder.marked(block) == []


def test_a_block_of_other_pictures_is_scored_again(tmp_path):
    folder, block = PartsFolder(tmp_path), blocks_of(8, 4)[1]
    folder.finish(block, Record(4, 5, {}, 0.5, "these"))
    assert folder.begin(block, lambda: "these") == Record(4, 5, {}, 0.5, "these")
    assert folder.begin(block, lambda: "others") is None
    assert folder.record(block) is None


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


def score(todo, deadly, ids=range(48)):
    """Score blocks by processes that die at `deadly` images; returns those that were left out."""
    without = {}
    while (block := todo.next()) is not None:
        rows = ids[block.start : block.stop]
        batches = []
        for start in range(0, len(rows), BATCH):
            some = [n for n in rows[start : start + BATCH] if n not in block.without]
            batches += [[n] for n in some] if block.alone.intersection(some) else [some]
        marked = next((batch for batch in batches if deadly.intersection(batch)), None)
        if marked is None:
            without[block.number] = set(block.without)
        else:
            scored = sum(n < marked[0] and n not in block.without for n in rows)
            todo.died(block, marked, scored)
    return without


@given(st.sets(st.integers(0, 47), max_size=8), st.sampled_from([4, 16, 48]))
def test_deaths_cost_the_images_that_cause_them_alone(deadly, size):
    todo = Todo(blocks_of(48, size))
    found = score(todo, deadly)
    assert set().union(*found.values()) == deadly
    assert todo.redone <= 2 * len({n // 4 for n in deadly}) + 2 * len(deadly)


def test_more_than_eight_deadly_images_are_found_among_many_good_ones():
    deadly = {*range(2, 200, 8)}
    assert score(Todo(blocks_of(200, 200)), deadly, range(200)) == {0: deadly}


def test_processes_that_die_at_every_image_end_the_run():
    todo = Todo(blocks_of(48, 48))
    with pytest.raises(DataError, match="at almost every image"):
        score(todo, {*range(48)})
    assert todo.redone <= 3 * BATCH * MOST_LEFT_OUT


def test_three_deaths_of_nodes_cost_no_image():
    todo = Todo(blocks_of(4, 4))
    for _ in range(3):
        block = todo.next()
        todo.died(block, [2] if block.alone else [0, 1, 2, 3])
    assert todo.next().without == frozenset()


def test_a_block_whose_process_always_dies_ends_the_run():
    todo = Todo(blocks_of(4, 4))
    with pytest.raises(DataError, match=f"died {MOST_DEATHS + 1} times"):
        while True:
            todo.died(todo.next(), [])

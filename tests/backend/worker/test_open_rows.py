"""Which rows of old versions stay because an editor may be open on them, and how many at most."""

import math

from hypothesis import given
from hypothesis import strategies as st

from backend.label_studio.queue import score_of
from backend.store.versions import Version
from backend.worker import open_rows
from backend.worker.open_rows import FIRST_RANKS, LOCK_SECONDS, MOST_ROWS, OPEN_SECONDS

NOW = 1_800_000_000.0


def old(version, age, tasks=10_000):
    """A version that lost its place `age` seconds ago."""
    return Version(1, version, 1, "", tasks, {}, NOW - age - 900, NOW - age)


def kept(*versions, held=None):
    held = {row.version: row.tasks for row in versions} if held is None else held
    return open_rows.kept_rows(versions, held, NOW)


def stays(found, version, rank, tasks=10_000):
    return score_of(rank, tasks) <= found.get(version, open_rows.NONE).score


def test_all_rows_stay_for_an_hour_and_the_first_ranks_for_as_long_as_label_studio_locks_a_task():
    found = kept(old("a", OPEN_SECONDS - 1), old("b", OPEN_SECONDS + 1), old("c", LOCK_SECONDS + 1))
    assert [rank for rank in (1, 300, 301, 10_000) if stays(found, "a", rank)] == [
        1,
        300,
        301,
        10_000,
    ]
    assert [rank for rank in (1, 300, 301, 10_000) if stays(found, "b", rank)] == [1, 300]
    assert not stays(found, "c", 1)
    assert found["a"].score == math.inf  # a task that was predicted on the spot is behind all


def test_what_is_left_of_a_version_is_not_looked_through_again():
    (found,) = kept(old("b", OPEN_SECONDS + 1), held={"b": FIRST_RANKS + 1}).values()
    assert not found.are_all_of(FIRST_RANKS + 1) and found.are_all_of(FIRST_RANKS)
    assert not open_rows.NONE.are_all_of(1)


def test_a_version_without_rows_takes_no_room():
    assert kept(old("a", 10), held={}) == {}


def test_of_a_very_large_project_the_first_ranks_stay_before_other_rows():
    versions = [old(f"v{n}", n * 60.0, MOST_ROWS) for n in range(100)]
    found = kept(*versions)
    assert set(found) == {row.version for row in versions}
    assert {each.score for each in found.values()} == {score_of(FIRST_RANKS, MOST_ROWS)}


def test_of_very_many_versions_the_newest_stay():
    versions = [old(f"v{n}", 7200.0 + n, 500) for n in range(1000)]
    assert set(kept(*versions)) == {f"v{n}" for n in range(MOST_ROWS // FIRST_RANKS)}


@given(
    st.lists(st.tuples(st.integers(0, 2 * int(LOCK_SECONDS)), st.integers(1, 150_000)), max_size=40)
)
def test_never_more_rows_stay_than_the_limit(cases):
    versions = [old(f"v{n}", age, tasks) for n, (age, tasks) in enumerate(cases)]
    found = kept(*versions)
    rows = [min(found[v.version].rows, v.tasks) for v in versions if v.version in found]
    assert sum(rows) <= MOST_ROWS
    ages = sorted(age for age, _ in cases)
    assert all(NOW - v.pruned <= ages[len(found) - 1] for v in versions if v.version in found)


def test_names_say_when_their_round_began():
    began = 0x65A1
    assert open_rows.made_before("taudis-0007-65a0-2", began)
    assert not open_rows.made_before("taudis-0007-65a1", began)
    assert open_rows.made_before("taudis-by-hand", began)


def test_an_order_that_serves_for_more_labels_keeps_more_first_ranks():
    assert open_rows.first_ranks(16) == FIRST_RANKS and open_rows.first_ranks(500) == 1000
    row = old("b", OPEN_SECONDS + 1)
    found = open_rows.kept_rows([row], {"b": row.tasks}, NOW, open_rows.first_ranks(500))
    assert stays(found, "b", 1000) and not stays(found, "b", 1001)

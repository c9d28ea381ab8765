"""The shared store: events, lease, rounds, versions, under threads, processes and damage."""

import contextlib
import dataclasses
import multiprocessing
import sqlite3
import threading
import time

import pytest
import sqlalchemy as sa

from backend.errors import LeaseLost, StoreError
from backend.store.database import Store
from backend.store.rounds import STEPS
from backend.store.state import ProjectChanges, ProjectState
from backend.store.transactions import SCHEMA_VERSION

THREADS = 8


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "data")
    yield store
    store.close()


def at_once(work, threads=THREADS):
    """Run `work(i)` in threads that start at one instant; their results or exceptions."""
    start, found = threading.Barrier(threads), [None] * threads

    def run(index):
        start.wait()
        try:
            found[index] = work(index)
        except Exception as error:  # noqa: BLE001
            found[index] = error

    pool = [threading.Thread(target=run, args=(i,)) for i in range(threads)]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    return found


# --- events ---------------------------------------------------------------------------------------


def test_events_coalesce_and_none_is_lost(store):
    at_once(lambda i: [store.record_event(1 + i % 2, "changed") for _ in range(20)])
    events = store.pending_events()
    assert [
        (b.project, b.pending, b.recorded) for b in sorted(events, key=lambda b: b.project)
    ] == [
        (1, 80, 80),
        (2, 80, 80),
    ]


def test_events_that_arrive_during_an_acknowledgement_stay_pending(store):
    store.record_event(1, "changed")
    event = store.pending_events()[0]
    store.record_event(1, "changed")
    store.acknowledge(event)
    assert [b.pending for b in store.pending_events()] == [1]
    store.acknowledge(store.pending_events()[0])
    store.acknowledge(event)  # an old reading changes nothing
    assert store.pending_events() == []
    assert store.event_counts(1) == {"changed": 2}


def test_the_longest_waiting_comes_first_and_kinds_are_apart(store):
    for project, kind in ((2, "train"), (1, "changed"), (2, "changed"), (2, "train")):
        store.record_event(project, kind)
        time.sleep(0.002)
    assert [(b.project, b.kind) for b in store.pending_events()] == [
        (2, "train"), (1, "changed"), (2, "changed"),
    ]  # fmt: skip


def _ring_many(folder, count):
    store = Store(folder)
    for _ in range(count):
        store.record_event(1, "changed")
    store.close()


def test_sixteen_threads_take_turns_and_none_is_refused(tmp_path):
    """Without turns SQLite's own waiting let threads starve: "database is locked"."""
    store = Store(tmp_path / "data", busy_ms=10_000)  # a slow disk is not what is tested
    found = at_once(lambda i: [store.record_event(i, "changed") for _ in range(50)], threads=16)
    assert [each for each in found if isinstance(each, Exception)] == []
    assert {event.recorded for event in store.pending_events()} == {50}
    store.close()


def test_the_wait_for_a_turn_and_for_the_file_have_one_limit(tmp_path, monkeypatch):
    """A thread that waited for its turn waits for another process's write only what is left."""
    store = Store(tmp_path / "data", busy_ms=400)
    left = []
    original = store._turn

    @contextlib.contextmanager
    def turn():
        with original() as milliseconds:
            left.append(milliseconds)
            yield milliseconds

    monkeypatch.setattr(store, "_turn", turn)
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    found = at_once(lambda i: store.record_event(i, "changed"), threads=2)
    other.execute("ROLLBACK")
    other.close()
    assert all(isinstance(each, sa.exc.OperationalError) for each in found)
    assert left[0] > 350 and all(each < 50 for each in left[1:])
    store.record_event(1, "changed")
    store.close()


def test_a_write_that_waits_too_long_for_another_is_an_error(tmp_path):
    store = Store(tmp_path / "data", busy_ms=50)
    with store.writing():
        (error,) = at_once(lambda _: store.record_event(1, "changed"), threads=1)
    assert isinstance(error, sa.exc.OperationalError) and "database is locked" in str(error)
    store.record_event(1, "changed")
    store.close()


@pytest.mark.slow
def test_events_of_several_processes(store):
    context = multiprocessing.get_context("spawn")
    pool = [context.Process(target=_ring_many, args=(store.data_dir, 50)) for _ in range(2)]
    for process in pool:
        process.start()
    _ring_many(store.data_dir, 50)
    for process in pool:
        process.join()
    assert store.event_counts(1) == {"changed": 150}


# --- projects -------------------------------------------------------------------------------------


def test_project_state_merges_under_threads(store):
    names = [each.name for each in dataclasses.fields(ProjectState) if each.type == "str"]
    assert len(names) >= THREADS
    at_once(lambda i: store.update_project(7, **{names[i]: f"value {i}"}))
    written = {names[i]: f"value {i}" for i in range(THREADS)}
    assert store.project(7).state == ProjectState(**written)
    store.update_project(7, origin="http://studio.example")
    store.update_project(7, armed={"webhook": 1})
    assert store.project(7).state.armed == {"webhook": 1}
    store.update_project(7, armed=None)
    assert store.project(7).origin == "http://studio.example"
    assert store.project(7).state.armed is None


def test_a_name_that_is_no_field_of_the_state_is_refused(store):
    with pytest.raises(TypeError, match=r"fields of ProjectState, got \['servng'\]"):
        store.update_project(7, servng="v1")
    assert store.project(7) is None


def test_keys_of_a_newer_build_are_not_read_and_stay_in_the_row(store):
    store.update_project(7, serving="v1")
    with store.writing() as db:
        db.execute(sa.text("""UPDATE projects SET state = json_set(state, '$.colour', 'blue')"""))
    assert store.project(7).state == ProjectState(serving="v1")
    store.update_project(7, serving="v2")
    with store.reading() as db:
        (row,) = db.execute(sa.text("SELECT json_extract(state, '$.colour') FROM projects"))
    assert row[0] == "blue"


def test_changes_and_state_have_the_same_fields():
    changes = set(ProjectChanges.__annotations__)
    assert changes == {each.name for each in dataclasses.fields(ProjectState)}


@pytest.mark.fault("F16", "lease")
def test_a_worker_that_lost_its_lease_cannot_say_what_serves(store, figures):
    old = store.acquire()
    new = store.acquire()  # the same process again: a new holder all the same
    with pytest.raises(LeaseLost):
        store.update_project(7, lease=old, serving="v1")
    store.update_project(7, lease=new, serving="v2")
    assert store.project(7).state == ProjectState(serving="v2")
    figures(writes_refused=1)


# --- rounds ---------------------------------------------------------------------------------------


def test_one_open_round_a_project_whoever_asks(store):
    lease = store.acquire()
    found = at_once(lambda i: store.open_round(lease, 7, "train", f"thread {i}", []))
    opened = [r for r in found if not isinstance(r, Exception)]
    assert len(opened) == 1
    assert all(isinstance(e, StoreError) for e in found if isinstance(e, Exception))
    store.open_round(lease, 8, "train", "another project", [])
    store.end_round(lease, opened[0].id, "served", "done")
    assert store.open_round(lease, 7, "refresh", "next", []).number == opened[0].number + 1


def test_a_refused_round_acknowledges_no_event(store):
    lease = store.acquire()
    store.open_round(lease, 7, "train", "first", [])
    store.record_event(7, "changed")
    with pytest.raises(StoreError):
        store.open_round(lease, 7, "train", "second", store.pending_events())
    assert [b.pending for b in store.pending_events()] == [1]


def test_steps_are_idempotent_and_in_order(store):
    lease = store.acquire()
    store.record_event(7, "train")
    round_ = store.open_round(lease, 7, "train", "Start Training", store.pending_events())
    assert store.pending_events() == []
    for step in STEPS["train"]:
        assert store.round(round_.id).next_step == step
        store.finish_step(lease, round_.id, step, {"n": 1})
        store.finish_step(lease, round_.id, step, {"n": 2})
    done = store.round(round_.id)
    assert done.next_step is None
    assert dict(done.steps["trained"]) == {"n": 2}
    store.report(lease, round_.id, {"step": "pruned"})
    assert store.open_rounds()[0].progress == {"step": "pruned"}
    ended = store.end_round(lease, round_.id, "served", "in words")
    assert (ended.outcome, ended.message, store.open_rounds()) == ("served", "in words", [])


def test_an_unknown_round_is_named(store):
    with pytest.raises(StoreError, match="no round 99"):
        store.round(99)


def test_versions(store):
    lease = store.acquire()
    for name in ("a", "b"):
        round_ = store.open_round(lease, 7, "first", "test", [])
        for _ in range(2):
            store.add_version(
                lease, 7, name, round_id=round_.id, model=name, tasks=3, metrics={"map50": 0.5}
            )
        store.end_round(lease, round_.id, "served", "")
    assert [v.version for v in store.versions(7)] == ["b", "a"]
    store.prune_version(lease, 7, "a")
    assert [v.version for v in store.versions(7)] == ["b"]
    assert [v.version for v in store.versions(7, pruned=True)] == ["b", "a"]
    assert store.versions(8) == []


# --- the file -------------------------------------------------------------------------------------


def test_what_was_written_is_there_when_opened_again(store):
    store.record_event(7, "changed")
    again = Store(store.data_dir)
    assert again.event_counts(7) == {"changed": 1}
    again.close()


@pytest.mark.parametrize(
    "damage", [b"not a database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 5000]
)
def test_a_damaged_file_is_refused_by_name(tmp_path, damage):
    (tmp_path / "store.sqlite3").write_bytes(damage)
    with pytest.raises(StoreError, match=r"store\.sqlite3.*damaged"):
        Store(tmp_path)
    assert (tmp_path / "store.sqlite3").read_bytes() == damage


@pytest.mark.fault("F22", "newer")
def test_a_newer_schema_is_refused(store):
    with store.writing() as db:
        newer = str(SCHEMA_VERSION + 1)
        db.exec_driver_sql("UPDATE about SET value = ? WHERE key = 'schema'", (newer,))
    with pytest.raises(StoreError, match="newer one"):
        Store(store.data_dir)


def test_a_schema_of_before_the_first_release_is_refused_and_left_alone(store):
    with store.writing() as db:
        db.exec_driver_sql("UPDATE about SET value = '1' WHERE key = 'schema'")
        db.exec_driver_sql("DROP TABLE events")
    with pytest.raises(StoreError, match="Move the file away"):
        Store(store.data_dir)
    with sqlite3.connect(store.path) as db:
        assert not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'events'").fetchall()
    db.close()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="writable"):
        Store(tmp_path / "file" / "data")


def test_check_writable_leaves_nothing(store):
    store.check_writable()
    with sqlite3.connect(store.path) as db:
        assert db.execute("SELECT key FROM about").fetchall() == [("schema",)]
    db.close()

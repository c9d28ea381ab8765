"""The lease: who holds it, who takes it over, and what one without it cannot write."""

import socket
import time

import psutil
import pytest

from backend.errors import LeaseLost
from backend.store.database import Store
from backend.store.lease import LEASE_SECONDS, LONG_AGO_SECONDS, may_live


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "data")
    yield store
    store.close()


def _others_lease(store, owner, until):
    with store.writing() as db:
        db.exec_driver_sql("DELETE FROM lease")
        db.exec_driver_sql("INSERT INTO lease VALUES ('worker', ?, 5, ?)", (owner, until))


def test_a_lease_held_elsewhere_is_respected_until_it_expires(store, monkeypatch):
    _others_lease(store, "other-machine/1/1.0", time.time() + LEASE_SECONDS - 0.1)
    assert store.acquire() is None
    assert store.worker_alive()
    monotonic = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + LEASE_SECONDS - 1)
    assert store.acquire() is None and store.worker_alive()
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + LEASE_SECONDS + 1)
    assert not store.worker_alive()
    assert store.acquire().token == 6


@pytest.mark.parametrize(("age", "alive"), [(10, True), (59, True), (61, False), (900, False)])
def test_a_lease_that_was_renewed_between_two_looks_is_as_old_as_the_clock_says(
    store, monkeypatch, age, alive
):
    """Nobody looked for a quarter of an hour; the worker renewed its lease until it died."""
    real, monotonic, passed = time.time, time.monotonic, 0.0
    monkeypatch.setattr(time, "time", lambda: real() + passed)
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + passed)
    _others_lease(store, "other-machine/1/1.0", time.time() + LEASE_SECONDS)
    assert store.worker_alive()
    passed = 915 - age
    _others_lease(store, "other-machine/1/1.0", time.time() + LEASE_SECONDS)
    passed = 915
    assert store.worker_alive() is alive
    passed += LEASE_SECONDS - age - 1 if alive else 1
    assert store.worker_alive() is alive
    passed += 2
    assert not store.worker_alive()


def test_a_lease_that_ended_hours_ago_is_free_at_once(store):
    """A container that was made anew has another name, so its old lease is another machine's."""
    _others_lease(store, "other-machine/1/1.0", time.time() - LONG_AGO_SECONDS - 60)
    assert store.acquire().token == 6


@pytest.mark.parametrize("hours", [-1, 1])
@pytest.mark.fault("F17", "forward", "back")
def test_a_lease_is_kept_and_given_up_whatever_the_clock_says(store, monkeypatch, hours):
    """Its holder on another machine renews it at first; then it dies."""
    real, monotonic, passed = time.time, time.monotonic, 0.0
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + passed)
    _others_lease(store, "other-machine/1/1.0", time.time() + LEASE_SECONDS)
    assert store.acquire() is None and store.worker_alive()
    monkeypatch.setattr(time, "time", lambda: real() + 3600 * hours)
    passed = LEASE_SECONDS / 2
    assert store.acquire() is None and store.worker_alive()
    _others_lease(store, "other-machine/1/1.0", time.time() + LEASE_SECONDS)  # its heartbeat
    passed = LEASE_SECONDS * 1.2
    assert store.acquire() is None and store.worker_alive()
    passed = LEASE_SECONDS * 2.5
    assert not store.worker_alive()
    assert store.acquire().token == 6


@pytest.mark.parametrize("hours", [-1, 1])
def test_the_owner_of_a_lease_is_known_after_a_jump_of_the_clock(store, monkeypatch, hours):
    """The kernel counts a process's birth from the machine's start, which moves with the clock."""
    lease = store.acquire()
    born, boot = psutil.Process.create_time, psutil.boot_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: born(self) + 3600 * hours)
    monkeypatch.setattr(psutil, "boot_time", lambda: boot() + 3600 * hours)
    assert may_live(lease.owner) and store.worker_alive()


def test_a_dead_owner_of_this_machine_is_taken_over_at_once(store):
    _others_lease(store, f"{socket.gethostname()}/1/-9.0", time.time() + 30)  # pid 1, another birth
    assert not store.worker_alive()
    assert store.acquire().token == 6
    assert store.worker_alive()


@pytest.mark.fault("F16", "lease")
def test_a_lost_lease_writes_nothing_more(store, figures):
    old = store.acquire()
    round_ = store.open_round(old, 7, "train", "test", [])
    new = store.acquire()
    assert new.token == old.token + 1
    for write in (
        lambda: store.renew(old),
        lambda: store.open_round(old, 8, "train", "test", []),
        lambda: store.finish_step(old, round_.id, "synced", {}),
        lambda: store.report(old, round_.id, {}),
        lambda: store.end_round(old, round_.id, "served", ""),
        lambda: store.add_version(old, 7, "v", round_id=round_.id, model="", tasks=1, metrics={}),
        lambda: store.prune_version(old, 7, "v"),
    ):
        with pytest.raises(LeaseLost):
            write()
    assert store.round(round_.id).steps == {}
    assert store.versions(7) == []
    store.release(old)  # not ours any more: nothing happens
    store.renew(new)
    assert store.worker_alive()
    store.release(new)
    assert not store.worker_alive()
    figures(writes_refused=7)

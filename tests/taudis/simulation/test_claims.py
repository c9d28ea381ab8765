"""Claims: one owner at a time, and none that is dead."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict, replace

import pytest

from taudis.simulation.claims import Claims, Lock, Owner


@pytest.fixture
def lock(tmp_path):
    return Lock(tmp_path / "lock")


def claims(tmp_path, lock, **options):
    return Claims(tmp_path / "claims", lock, **options)


def leave(tmp_path, owner, *, age=0.0):
    """A claim `work` of another owner, touched `age` seconds ago."""
    path = tmp_path / "claims" / "work"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(asdict(owner)))
    now = path.stat().st_mtime
    os.utime(path, (now, now - age))
    return path


def dead():
    """The owner of a process of this machine that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    owner = replace(Owner.this_process(), pid=process.pid)
    process.wait()
    return owner


def test_one_owner_until_it_is_given_back(tmp_path, lock):
    with claims(tmp_path, lock) as one:
        assert one.take("a/b@c") and not one.take("a/b@c") and one.take("other")
        one.release("a/b@c")
        assert one.take("a/b@c") and not one.is_lost("a/b@c")
    assert not list((tmp_path / "claims").iterdir())


def test_the_claim_of_a_dead_process_is_taken_over_at_once(tmp_path, lock):
    leave(tmp_path, dead())
    with claims(tmp_path, lock) as one:
        assert one.take("work")


def test_the_number_of_a_dead_process_may_belong_to_another(tmp_path, lock):
    leave(tmp_path, replace(Owner.this_process(), started=1.0))
    with claims(tmp_path, lock) as one:
        assert one.take("work")


def test_a_live_process_of_this_machine_keeps_its_claim_however_old(tmp_path, lock):
    leave(tmp_path, Owner.this_process(), age=9e6)
    with claims(tmp_path, lock, stale=1e7) as one:
        assert not one.take("work")


@pytest.mark.parametrize(("age", "taken"), [(0, False), (290, False), (310, True)])
def test_another_machine_keeps_its_claim_as_long_as_it_touches_it(tmp_path, lock, age, taken):
    leave(tmp_path, Owner("elsewhere", dead().pid, 1.0), age=age)
    with claims(tmp_path, lock) as one:
        assert one.take("work") == taken


def test_a_claim_without_a_name_is_of_a_killed_process(tmp_path, lock):
    leave(tmp_path, dead()).write_text('{"machine": "el')
    with claims(tmp_path, lock) as one:
        assert one.take("work")


def test_a_claim_that_was_taken_over_is_lost_and_not_given_back(tmp_path, lock):
    with claims(tmp_path, lock) as one:
        assert one.take("work")
        path = leave(tmp_path, Owner("elsewhere", 1, 1.0))
        assert one.is_lost("work")
        one.release("work")
        assert path.exists()


def test_held_claims_are_touched(tmp_path, lock):
    with claims(tmp_path, lock, beat=0.01) as one:
        one.take("work")
        path = tmp_path / "claims" / "work"
        os.utime(path, (0, 0))
        touched = threading.Event()
        for _ in range(2000):
            if path.stat().st_mtime > 0:
                touched.set()
                break
            threading.Event().wait(0.01)
        assert touched.is_set()


def test_of_many_who_take_over_at_once_exactly_one_has_it(tmp_path, lock):
    """Threads with locks of their own, as processes have: flock holds them apart."""
    for _ in range(10):
        leave(tmp_path, dead_owner := replace(Owner.this_process(), started=1.0))
        assert dead_owner.is_dead()
        barrier, taken = threading.Barrier(8), []

        def compete(barrier=barrier, taken=taken):
            own = claims(tmp_path, Lock(tmp_path / "lock"))
            barrier.wait()
            taken.append(own.take("work"))

        threads = [threading.Thread(target=compete) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(taken) == [False] * 7 + [True]
        (tmp_path / "claims" / "work").unlink()

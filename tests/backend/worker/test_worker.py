"""What the worker does with events, polls and troubles, project by project."""

import threading
import time
from contextlib import suppress

import pytest
from sqlalchemy.exc import OperationalError

from backend.errors import StudioUnreachable
from backend.worker import worker as worker_module
from backend.worker.round import Heartbeat
from backend.worker.worker import _Patience
from tests.backend.local_loop import PASSWORD, USER

HOUR = "3600"


def page(loop, path="/"):
    """A page of the backend."""
    return loop.app.test_client().get(path, auth=(USER, PASSWORD))


def asked(project):
    """How many requests Label Studio had so far."""
    return len(project.loop.studio.requests)


def test_nothing_is_asked_between_polls_unless_something_happens(make_loop):
    loop = make_loop(POLL_SECONDS=HOUR, TRAIN_AFTER="1")
    project = loop.project()
    loop.turn()  # the switch to the first order was an event, too
    before = asked(project)
    loop.turn()
    assert asked(project) == before
    project.client.create_annotation(project.tasks()[0]["id"], [])  # its webhook is an event
    before = asked(project)
    loop.schedule()
    assert asked(project) > before
    assert project.rounds[0].kind == "train"


@pytest.mark.fault("F4", "lost")
def test_labels_are_found_by_the_poll_when_the_webhook_got_lost(make_loop):
    loop = make_loop(TRAIN_AFTER="1")
    project = loop.project()
    for hook in project.hooks():
        project.client.delete_webhook(hook["id"])
    project.client.create_annotation(project.tasks()[0]["id"], [])
    loop.schedule()
    assert project.rounds[0].kind == "train"
    assert len(project.hooks()) == 1  # and the webhook is put back


def test_an_event_during_a_round_starts_one_round_after_it(make_loop):
    loop = make_loop(POLL_SECONDS=HOUR, TRAIN_AFTER="1")
    project = loop.project()
    tasks = project.tasks()
    project.client.create_annotation(tasks[0]["id"], [])
    loop.schedule()
    opened = project.rounds[0]
    assert opened.ended is None
    project.start_training()
    project.start_training()
    project.client.create_annotation(tasks[1]["id"], [])
    loop.schedule()  # the round is open: nothing is taken in
    assert len(project.rounds) == 2
    loop.turn()
    assert project.rounds[0].number == opened.number and project.rounds[0].ended
    loop.turn()
    assert project.rounds[0].number == opened.number + 1
    assert project.rounds[0].reason == "Start Training"
    loop.turn()
    assert len(project.rounds) == 3


@pytest.mark.slow
@pytest.mark.fault("F19", "fair")
def test_start_training_is_for_one_project_and_the_longest_waiting_goes_first(make_loop):
    loop = make_loop(POLL_SECONDS=HOUR)
    one, two = loop.project(title="One"), loop.project(title="Two")
    two.start_training()
    time.sleep(0.01)
    one.start_training()
    loop.schedule()
    opened = loop.store.open_rounds()
    assert sorted(row.project for row in opened) == [one.id, two.id]
    loop.worker.runner_turn(loop.lease)
    (left,) = loop.store.open_rounds()
    assert left.project == one.id
    loop.worker.runner_turn(loop.lease)
    assert [len(each.rounds) for each in (one, two)] == [2, 2]


@pytest.mark.slow
def test_a_project_that_is_deleted_is_left_alone(loop):
    project, other = loop.project(title="Deleted"), loop.project(title="Still there")
    loop.studio.api("DELETE", f"/api/projects/{project.id}/")
    loop.turn()
    loop.start_worker()  # without the pause that the first failure brought
    loop.turn()
    loop.studio.requests.clear()
    loop.start_worker()
    loop.turn()
    paths = [path for _, path in loop.studio.requests]
    asked_for = [path for path in paths if path.startswith(f"/api/projects/{project.id}/")]
    assert asked_for == [f"/api/projects/{project.id}/"]  # the poll's, whether it is there again
    assert [path for path in paths if path.startswith(f"/api/projects/{other.id}/")]
    assert other.version().startswith("taudis-")


def test_a_hidden_project_comes_back_at_a_poll(loop):
    project = loop.project()
    path = f"/api/projects/{project.id}/"
    loop.studio.fault("GET", path, status=404, times=99)
    loop.turn()
    loop.start_worker()
    loop.studio.requests.clear()
    loop.turn()
    assert loop.studio.asked("GET", path) == 1 and loop.store.project(project.id).state.gone
    loop.studio.faults.clear()
    loop.turn()
    assert not loop.store.project(project.id).state.gone
    loop.studio.requests.clear()
    loop.turn()
    assert loop.studio.asked("GET", path) > 0


@pytest.mark.slow
def test_trouble_is_told_and_ends_when_label_studio_answers_again(loop):
    project, other = loop.project(title="One"), loop.project(title="Two")
    loop.turn()
    for each in (project, other):
        path = f"/api/projects/{each.id}/"
        loop.studio.fault("GET", path, status=403, detail="no", times=1)
    loop.turn()
    assert page(loop).text.count("may not do this (403)") >= 2
    assert page(loop, "/ready").status_code == 503
    loop.studio.requests.clear()
    loop.turn()
    assert loop.studio.requests == []  # it pauses after a failure
    loop.start_worker()
    loop.studio.fault("GET", f"/api/projects/{project.id}/", status=403, detail="no", times=1)
    loop.turn()
    assert page(loop, "/ready").status_code == 200  # one project does not stop the other
    assert "may not do this (403)" in page(loop).text
    loop.start_worker()
    loop.turn()
    assert "may not do this (403)" not in page(loop).text


@pytest.mark.fault("F5", "recovers")
def test_a_round_that_label_studio_interrupts_goes_on_where_it_was(loop, figures):
    project = loop.project(connect=False)
    project.connect()
    path = f"/api/projects/{project.id}/import/predictions"
    loop.studio.fault("POST", path, status=500)
    loop.schedule()
    (round_,) = project.rounds
    assert round_.ended is None and round_.next_step == "published"
    synced = round_.steps["synced"]
    loop.start_worker()
    loop.turn()
    (round_,) = project.rounds
    assert round_.outcome == "served"
    assert round_.steps["synced"] == synced
    assert sorted(project.order()) == [task["id"] for task in project.tasks()]
    figures(partial=0)


def test_tasks_that_a_failed_round_has_read_still_get_a_place(loop):
    project = loop.project(4)
    project.import_pictures(1)
    loop.studio.records.now.jump(10)  # the watermark of the next round is well after the import
    project.client.create_annotation(project.tasks()[0]["id"], [])
    project.start_training()
    loop.turn()
    assert project.rounds[0].outcome == "failed"  # there is no labelled object
    loop.turn()
    assert (project.rounds[0].kind, project.rounds[0].outcome) == ("first", "served")
    assert sorted(project.order()) == [task["id"] for task in project.tasks()[1:]]


@pytest.mark.fault("F16", "lease")
def test_a_worker_without_the_lease_writes_nothing(loop):
    project = loop.project()
    project.start_training()
    loop.schedule()
    stolen = loop.store.acquire()
    with pytest.raises(worker_module.LeaseLost):
        loop.worker.runner_turn(loop.lease)
    assert project.rounds[0].ended is None
    assert set(project.rounds[0].steps) == set()
    loop.lease = stolen
    loop.turn()
    assert project.rounds[0].ended is not None


def test_a_lease_that_cannot_be_given_back_ends_no_worker(loop, monkeypatch, caplog):
    """A full disk: the lease is taken again by the same worker, or ends."""

    def refuses(*_):
        raise OperationalError("UPDATE lease", {}, Exception("database or disk is full"))

    with monkeypatch.context() as full:
        full.setattr(loop.store, "release", refuses)
        with Heartbeat(loop.store, loop.lease):
            pass
    assert "could not be given back" in caplog.text
    assert loop.store.acquire().token == loop.lease.token + 1
    with Heartbeat(loop.store, loop.store.acquire()):
        assert loop.store.worker_alive()
    assert not loop.store.worker_alive()


def test_threads_that_write_their_reasons_at_once_keep_each_others(loop, monkeypatch):
    project, worker = loop.project(), loop.worker
    reading, real = threading.Barrier(2), loop.store.project

    def slow(number):
        found = real(number)
        with suppress(threading.BrokenBarrierError):
            reading.wait(0.3)  # without a lock both have read before one writes
        return found

    def fails(who):
        with _Patience(worker, who, project.id):
            raise StudioUnreachable(f"{who} waits")

    monkeypatch.setattr(worker.store, "project", slow)
    threads = [threading.Thread(target=fails, args=(who,)) for who in ("scheduler", "first_runner")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reasons = real(project.id).state.waiting_reasons
    assert {who for who, text in reasons.items() if text} == {"scheduler", "first_runner"}


@pytest.mark.parametrize(("asked", "waits"), [(0, 5), (600, 600), (90_000, 3600)])
def test_a_project_waits_as_long_as_label_studio_asks_for_an_hour_at_most(loop, asked, waits):
    project, worker = loop.project(), loop.worker
    began = time.monotonic()
    with _Patience(worker, "scheduler", project.id):
        raise StudioUnreachable("It answered 429.", wait=asked)
    until = worker._pauses["scheduler", project.id].until
    assert began + waits <= until <= time.monotonic() + waits

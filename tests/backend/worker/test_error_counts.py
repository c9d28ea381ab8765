"""/metrics counts errors by kind: what a round, the worker and the web process could not do."""

import errno
import re

import pytest
import sqlalchemy as sa

from backend import errors
from backend.label_studio.left_out import of_task
from backend.store.error_counts import KINDS, kind_of
from backend.store.lease import Lease
from backend.worker import memory_kills, round
from backend.worker.common import record
from backend.worker.context import RoundContext

IMPORT = "/api/projects/{}/import/predictions"
AUTH = ("label-studio", "a password")


def counts(loop):
    """Kind -> count, as /metrics has it; kinds that never happened are left out."""
    text = loop.app.test_client().get("/metrics", auth=AUTH).text
    found = dict(re.findall(r'^taudis_errors_total\{kind="(\w+)"\} (\S+)', text, re.M))
    assert set(found) == {*KINDS, "request_refused", "request_failed"}
    assert text.count("# TYPE taudis_errors_total counter") == 1
    return {kind: int(float(value)) for kind, value in found.items() if float(value)}


@pytest.fixture
def project(loop):
    """A connected project before its first order."""
    made = loop.project(3, connect=False)
    made.connect()
    return made


def test_repeated_steps_and_failed_rounds_are_counted(project, monkeypatch):
    loop = project.loop
    assert counts(loop) == {}
    loop.studio.fault("POST", IMPORT.format(project.id), status=404, times=99)
    loop.turn()
    assert project.rounds[0].outcome == "failed"
    assert counts(loop) == {"step_repeated": 1, "round_failed": 1}

    def wrong(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(round, "STEP_FUNCTIONS", {**round.STEP_FUNCTIONS, "synced": wrong})
    loop.store.open_round(loop.lease, project.id, "refresh", "a test", [])
    loop.worker.runner_turn(loop.lease)
    assert counts(loop) == {"step_repeated": 1, "round_failed": 2, "unexpected": 1}


@pytest.mark.parametrize(("status", "kind"), [(401, "studio_refused"), (404, "studio_unanswered")])
def test_work_that_waits_for_label_studio_is_counted(project, status, kind):
    """404: a proxy answers, while Label Studio is down."""
    loop = project.loop
    loop.schedule()
    loop.studio.fault("GET", "/api/projects/.*", status=status, times=99)
    loop.store.open_round(loop.lease, project.id, "refresh", "a test", [])
    loop.worker.runner_turn(loop.lease)
    assert project.rounds[0].ended is None
    assert counts(loop) == {kind: 1}


def test_an_image_that_cannot_be_read_is_counted_once_a_round(loop):
    project = loop.project(6)
    project.give_model()
    lost = project.tasks()[5]["data"]["image"]
    with loop.studio.records.lock:
        del loop.studio.records.uploads[lost]
    for cached in (loop.data / "cache").rglob("*"):
        cached.unlink()
    project.label_some(2)
    before = counts(loop).get("image_unreadable", 0)
    for number in (1, 2):
        loop.store.open_round(loop.lease, project.id, "refresh", "a test", [])
        loop.worker.runner_turn(loop.lease)
        assert counts(loop)["image_unreadable"] == before + number


def test_a_step_that_runs_again_counts_no_image_twice(loop):
    project = loop.project(3)
    context = RoundContext(loop.settings(), loop.store, loop.lease, project.id)
    for images, expected in ((1, 1), (1, 1), (3, 3)):
        rows = [of_task(task, "no such file") for task in range(images)]
        record(context, project.rounds[0], "unlabelled", rows)
        assert counts(loop) == {"image_unreadable": expected}


def test_a_worker_that_the_system_killed_is_counted(project, monkeypatch):
    loop = project.loop
    opened = loop.store.open_round(loop.lease, project.id, "refresh", "a test", [])
    report = memory_kills.to_report(0, Lease("an earlier worker", loop.lease.token - 1))
    loop.store.report(loop.lease, opened.id, {**report, "step": "synced"})
    monkeypatch.setattr(memory_kills, "kills", lambda: report["oom_kills"] + 1)
    loop.worker.runner_turn(loop.lease)
    assert counts(loop)["worker_killed"] == 1


def test_requests_that_the_web_process_refuses_are_counted(project, monkeypatch):
    loop, client = project.loop, project.loop.app.test_client()
    client.post("/predict", json={"project": "x"}, auth=AUTH)
    client.get("/nothing", auth=AUTH)
    loop.store.release(loop.lease)
    assert client.get("/ready", auth=AUTH).status_code == 503  # an answer, not an error
    assert counts(loop) == {"request_refused": 2}
    monkeypatch.setattr("backend.web.app.versions_of", lambda *_: 1 // 0)
    client.get("/versions?project=1", auth=AUTH)
    assert counts(loop) == {"request_refused": 2, "request_failed": 1}


def test_a_store_that_takes_no_writes_hides_no_error(loop, monkeypatch, caplog):
    def busy():
        raise sa.exc.OperationalError("BEGIN", None, Exception("database is locked"))

    monkeypatch.setattr(loop.store, "writing", busy)
    loop.store.count_error("unexpected")
    assert "was not counted" in caplog.text and counts(loop) == {}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.StudioUnreachable("x"), "studio_unanswered"),
        (errors.StudioNotFound("x"), "studio_refused"),
        (errors.ImageGone("x"), "image_unreadable"),
        (errors.DiskRefused("x"), "store_refused"),
        (sa.exc.OperationalError("x", None, Exception()), "store_refused"),
        (OSError(errno.ENOSPC, "x"), "store_refused"),
        (errors.LabelConfigError("x"), "project_waits"),
        (KeyError("x"), "unexpected"),
    ],
)
def test_the_kind_is_that_of_the_cause(error, kind, tmp_path):
    assert kind_of(error, tmp_path) == kind

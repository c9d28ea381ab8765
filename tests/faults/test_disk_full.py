"""F14: a disk that is full from a point of a round on, and a directory that cannot be written."""

import contextlib
import errno
import os
import random
import re
import threading

import pytest

from backend.commands.serve import serve
from backend.errors import StoreError
from backend.settings import load_settings
from backend.store import disk as store_disk
from backend.store.database import Store
from backend.worker import sync
from taudis.detector.card import read_card
from taudis.errors import CheckpointError
from taudis.files import sha256_of
from tests.backend.local_loop import PASSWORD, USER, LocalLoop
from tests.faults.points import Points
from tests.faults.small_disk import SmallDisk

AUTH = (USER, PASSWORD)
FULL = re.compile("disk is full|No space left|File too large|disk I/O error")


@pytest.fixture
def disk(tmp_path):
    with SmallDisk(tmp_path / "data") as made:
        yield made


def turn(loop):
    """One turn of each of the worker's threads, which go on after any error."""
    worker = loop.worker
    for each in (worker.scheduler_turn, worker.first_turn, worker.runner_turn, worker.cleaner_turn):
        with contextlib.suppress(Exception):
            each(loop.lease)


def damaged(loop, project):
    """What is not whole of the state that people are served from."""
    found = []
    client, version = loop.app.test_client(), project.version()
    try:
        Store(loop.data).close()  # checks every row
    except StoreError as error:
        found.append(str(error))
    for folder in (loop.data / "models" / str(project.id)).glob("[!.]*"):
        try:
            read_card(folder)
        except CheckpointError as error:
            found.append(str(error))
    order, rows = project.stored_order(version), project.rows(version)
    if sorted(order) != sorted(rows) or order != project.order(version):
        found.append(f"the order of {version}")
    body = {"project": str(project.id), "tasks": [{"id": order[0]}]}
    answer = client.post("/predict", json=body, auth=AUTH)
    if answer.status_code != 200 or answer.json["model_version"] != version:
        found.append(f"/predict: {answer.status_code} {answer.data[:200]}")
    return found


def one_trial(loop, project, disk, points, number, log):
    """Fill the disk at a point of a training round; free it, and let the round end.

    Returns what was damaged, and whether the round was interrupted.
    """
    served = project.version()
    project.import_pictures(1)
    project.label_some(1)
    project.start_training()
    log.clear()
    with points.turn({number: disk.fill}):
        turn(loop)
    interrupted = bool(loop.store.open_rounds()) or project.rounds[0].reason != "Start Training"
    found = damaged(loop, project)
    if interrupted:
        assert project.version() in {served, *(row.version for row in loop.store.versions(1))}
        ready = loop.app.test_client().get("/ready", auth=AUTH)
        assert ready.status_code == 503 and FULL.search(ready.text), ready.text
        assert FULL.search(log.text), log.text[-2000:]
    disk.free()
    loop.worker._pauses.clear()
    with points.turn({}):
        turn(loop)
    round_ = project.rounds[0]
    assert round_.outcome in ("served", "kept") and not loop.store.open_rounds(), round_.message
    assert loop.app.test_client().get("/ready", auth=AUTH).status_code == 200
    open_ = {task["id"] for task in project.tasks() if not task["is_labeled"]}
    assert set(project.order()) == open_
    return found + damaged(loop, project), interrupted


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.fault("F14", "full", "recovers")
def test_a_full_disk_at_the_points_of_a_round(
    tmp_path, untrained_model, disk, monkeypatch, caplog, figures, full
):
    monkeypatch.setattr("backend.label_studio.repetition.FIRST_PAUSE", 0.01)
    dice, found, interrupted = random.Random(14), [], 0
    with LocalLoop(tmp_path / "data", untrained_model) as loop:
        project = loop.project(8)
        project.give_model()
        project.label_some(4)
        points = Points(monkeypatch)
        project.start_training()
        with points.turn({}):
            turn(loop)
        last = points.count
        assert project.rounds[0].outcome == "served", project.rounds[0].message
        numbers = range(1, last, 5) if full else [dice.randrange(5, last - 20)]
        for number in numbers:
            harm, stopped = one_trial(loop, project, disk, points, number, caplog)
            found += harm
            interrupted += stopped
    figures(full_disks=len(numbers), interrupted=interrupted, damaged=len(found), disk=disk.kind)
    assert not found
    assert interrupted


def contents(folder):
    """File -> SHA-256. SQLite's own files beside the store hold nothing once it is closed."""
    return {
        path.relative_to(folder): sha256_of(path)
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


@pytest.mark.fault("F14", "read_only", "recovers")
def test_a_read_only_directory_is_refused_and_left_as_it_is(
    tmp_path, untrained_model, disk, monkeypatch, figures
):
    data = tmp_path / "data"
    monkeypatch.setattr("backend.label_studio.repetition.FIRST_PAUSE", 0.01)
    with LocalLoop(data, untrained_model) as loop:
        project = loop.project(4)
        before = project.version()
    kept, stop = contents(data), threading.Event()
    stop.set()  # so that a server which starts all the same ends at once
    with disk.read_only():
        with pytest.raises(StoreError, match=r"Cannot open the store.*Check that the dir") as error:
            serve(load_settings(model_dir=data), stop)
        assert str(data) in str(error.value)
        assert contents(data) == kept
    damaged = sum(kept[path] != found for path, found in contents(data).items())
    figures(damaged=damaged, disk=disk.kind)
    store = Store(data)
    assert store.project(project.id).state.serving == before
    assert store.acquire() is not None
    store.close()


@pytest.mark.fault("F14", "recovers")
@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
def test_a_file_that_cannot_be_read_fails_the_round_and_a_broken_disk_makes_it_wait(
    loop, monkeypatch, number
):
    project, read = loop.project(6), sync.read_json
    project.label_some(3)
    before = project.version()

    def refuses(path):
        if path.name == "annotated.json":
            raise OSError(number, os.strerror(number), path)
        return read(path)

    monkeypatch.setattr(sync, "read_json", refuses)
    project.start_training()
    with monkeypatch.context() as broken:
        broken.setattr(store_disk, "write_bytes", lambda *_: refuses(loop.data / "annotated.json"))
        loop.turn()
    assert project.rounds[0].number == 2 and project.rounds[0].ended is None
    assert f"cannot be written: {os.strerror(number)}" in loop.store.project(1).state.waiting_reason
    loop.worker._pauses.clear()
    loop.turn()
    assert project.rounds[0].outcome == "failed"
    assert "Unexpected" in project.rounds[0].message and project.version() == before

"""`backup` and `restore`: everything comes back, and what is damaged does not."""

import sqlite3
import tarfile
import threading
from contextlib import closing
from pathlib import Path

import pytest

from backend.commands import backup as backups
from backend.commands.backup import backup, restore
from backend.errors import StoreError
from backend.store import predictions
from backend.store.database import Store
from backend.store.secrets import save_token
from taudis.detector.checkpoint import load_checkpoint
from tests.backend.store import prediction_cases

pytestmark = pytest.mark.slow


@pytest.fixture
def project(make_loop):
    """Six pictures, and a model whose order is served."""
    made = make_loop(VALIDATION_FRACTION="0.5").project(6)
    made.model = made.give_model()
    save_token(made.loop.data, made.id, "a secret token")
    return made


def content(folder):
    """The bytes of all files but the image cache and SQLite's journals."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "cache" not in path.parts and ".sqlite3" not in path.name
    }


def test_a_backup_of_a_running_backend_serves_again(project, tmp_path):
    loop, file = project.loop, tmp_path / "taudis.tar"
    assert "1 projects" in loop.cli("backup", str(file))
    assert file.stat().st_mode & 0o077 == 0
    later = project.give_model("taudis-0001-later")  # Label Studio goes on after the backup
    assert project.version() == later != project.model

    new = tmp_path / "restored"
    assert "unpin" in loop.cli("restore", str(file), MODEL_DIR=str(new))
    assert {path.stat().st_mode & 0o777 for path in (new / "secrets").iterdir()} == {0o600}
    kept = {name: data for name, data in content(loop.data).items() if later not in name}
    assert {name: data for name, data in content(new).items() if "rounds" not in name} == {
        name: data for name, data in kept.items() if "rounds" not in name
    }
    load_checkpoint(new / "models" / str(project.id) / project.model)
    store = Store(new)
    assert store.project(project.id).state.serving == project.model
    store.close()
    assert project.model in loop.cli("unpin", MODEL_DIR=str(new))
    assert project.version() == project.model  # in Label Studio, too


def test_a_store_that_is_written_to_is_copied_whole(tmp_path):
    folder, stop = tmp_path / "data", threading.Event()
    store = Store(folder)

    def write():
        other = Store(folder)
        number = 0
        while not stop.is_set():
            number += 1
            other.record_event(1 + number % 7, "labels")
        other.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            backup(folder, tmp_path / f"{number}.tar")
    finally:
        stop.set()
        writer.join()
    store.close()
    for number in range(5):
        restore(tmp_path / f"{number}.tar", tmp_path / f"restored-{number}")


def test_an_order_that_a_killed_worker_left_half_written_is_copied_as_it_was(tmp_path):
    data, new = tmp_path / "data", tmp_path / "new"
    Store(data).close()
    path = predictions.path_of(data, 7, "taudis-0001-a")
    places = prediction_cases.write(path, {task: [{"id": str(task)}] for task in range(1, 501)})
    prediction_cases.killed_while_it_writes(path, "order")
    assert path.with_name(f"{path.name}-journal").stat().st_size, "nothing was on disk yet"
    backup(data, tmp_path / "taudis.tar")
    restore(tmp_path / "taudis.tar", new)
    assert predictions.order(predictions.path_of(new, 7, "taudis-0001-a")) == places
    assert predictions.order(path) == places


def test_what_is_not_whole_is_refused_and_nothing_is_left(tmp_path):
    Store(tmp_path / "data").close()
    (tmp_path / "data" / "models").mkdir()
    (tmp_path / "data" / "models" / "weights").write_bytes(b"0123456789" * 1000)
    file = tmp_path / "taudis.tar"
    backup(tmp_path / "data", file)
    whole = file.read_bytes()
    place = whole.index(b"0123456789") + 77
    damaged = {
        "is not what was copied": whole[:place] + b"x" + whole[place + 1 :],
        "expected a backup": whole[: len(whole) // 2],
        "got file": b"",
    }
    for message, data in damaged.items():
        file.write_bytes(data)
        with pytest.raises(StoreError, match=message if data else "expected a backup"):
            restore(file, tmp_path / "new")
        assert not (tmp_path / "new").exists()


def test_an_archive_of_something_else_is_refused(tmp_path):
    (tmp_path / "note").write_text("hello")
    for name in ("note", "models/../../note"):
        with tarfile.open(tmp_path / "other.tar", "w") as archive:
            archive.add(tmp_path / "note", name)
        with pytest.raises(StoreError, match="expected files of a backup"):
            restore(tmp_path / "other.tar", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_nothing_is_overwritten_and_nothing_made_of_nothing(tmp_path):
    with pytest.raises(StoreError, match="MODEL_DIR"):
        backup(tmp_path, tmp_path / "taudis.tar")
    Store(tmp_path / "data").close()
    backup(tmp_path / "data", tmp_path / "taudis.tar")
    with pytest.raises(StoreError, match=r"new file.*overwrites none\. Give another name, or move"):
        backup(tmp_path / "data", tmp_path / "taudis.tar")
    with pytest.raises(StoreError, match="empty or missing"):
        restore(tmp_path / "taudis.tar", tmp_path / "data")


def test_files_that_are_pruned_meanwhile_make_it_begin_again(tmp_path, monkeypatch):
    Store(tmp_path / "data").close()
    model = tmp_path / "data" / "models" / "1" / "weights"
    model.parent.mkdir(parents=True)
    model.write_text("weights")
    listed, real = [], backups._files

    def pruned(folder):
        found = list(real(folder))
        listed.append(len(found))
        if len(listed) < backups.ATTEMPTS:
            found.append(folder / "models" / "1" / "gone")
        return found

    monkeypatch.setattr(backups, "_files", pruned)
    assert backup(tmp_path / "data", tmp_path / "taudis.tar").files == 2
    assert len(listed) == backups.ATTEMPTS
    assert not list(tmp_path.glob(".*"))


def test_a_file_that_is_pruned_as_it_is_opened_makes_it_begin_again(tmp_path, monkeypatch):
    Store(tmp_path / "data").close()
    order = tmp_path / "data" / "predictions" / "1" / "v.sqlite3"
    order.parent.mkdir(parents=True)
    with closing(sqlite3.connect(order)) as db:
        db.execute("CREATE TABLE regions (task INTEGER)")
    asked, real = [], Path.exists

    def exists(path, **options):
        there = real(path, **options)
        if path == order and not asked:
            asked.append(order.unlink())
        return there

    monkeypatch.setattr(Path, "exists", exists)
    assert backup(tmp_path / "data", tmp_path / "taudis.tar").files == 1
    assert asked

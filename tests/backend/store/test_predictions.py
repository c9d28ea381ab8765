"""Predictions files: a reader finds what was written, whole or not at all, and nowhere else."""

import json
import os
import sqlite3
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import StoreError
from backend.store import predictions
from backend.store.predictions import Place, Prediction
from backend.worker.context import version_name
from tests.backend.store import prediction_cases
from tests.backend.store.prediction_cases import given as given_with


def regions(count):
    return {10 * number: [{"id": str(number)}] for number in range(1, count + 1)}


def places(count):
    return [Place(10 * r, r, r / count, f"reason {r}") for r in range(1, count + 1)]


def file_of(folder, count):
    """A file of `count` tasks in their order."""
    path = predictions.path_of(folder, 7, "taudis-0001-a")
    prediction_cases.write(path, regions(count))
    predictions.set_order(path, places(count))
    return path


def test_round_trip_and_order(tmp_path):
    path = file_of(tmp_path, 5)
    assert predictions.set_order(path, reversed(places(5))) == 5
    assert predictions.order(path) == places(5)
    assert predictions.read(path, [30, 99, 10]) == {
        30: Prediction(0.6, given_with([{"id": "3"}], "reason 3")),
        10: Prediction(0.2, given_with([{"id": "1"}], "reason 1")),
    }
    assert predictions.ranks(path) == {10: 1, 20: 2, 30: 3, 40: 4, 50: 5}


META = st.fixed_dictionaries({}, optional={"taudis_part": st.integers(0, 3)})
REGION = st.fixed_dictionaries(
    {"id": st.text(), "value": st.lists(st.floats(allow_nan=False, allow_infinity=False))},
    optional={"meta": META},
)


@settings(deadline=None)
@given(st.lists(REGION, max_size=3), st.text())
def test_the_sentence_is_the_first_regions_meta_text_and_nothing_else_changes(found, reason):
    text = json.dumps(found).encode()
    longer = predictions.with_reason(text, reason)
    after = json.loads(longer)
    if found and reason:
        meta = after[0].pop("meta")
        assert meta.pop("text") == [f"Why this image: {reason}"]
        assert meta == found[0].pop("meta", {})
    assert after == found
    assert len(longer) <= len(text) + predictions.room_for(reason)


def test_a_blank_task_has_no_sentence_and_no_room_for_one(tmp_path):
    path = file_of(tmp_path, 3)
    predictions.set_blank(path, [20])
    with predictions.Stored.opened(path) as stored:
        for task, _, size in stored.sizes():
            assert len(stored.result(task)) <= size
            assert (stored.result(task) == b"[]") == (task == 20) == (size == 2)
            assert json.loads(stored.found(task)) == regions(3)[task]


def test_writing_again_replaces_and_a_failure_keeps_the_old(tmp_path):
    path = file_of(tmp_path, 2)
    file_of(tmp_path, 3)

    def broken():
        yield from places(2)
        raise RuntimeError("killed here")

    with pytest.raises(RuntimeError):
        predictions.set_order(path, broken())
    assert predictions.order(path) == places(3)


def test_one_at_a_time_and_regions_read_when_asked_for(tmp_path):
    path = predictions.path_of(tmp_path, 7, "v")
    with predictions.writing(path) as add:
        for task, found in regions(3).items():
            add(task, found)
            assert not path.exists()
    with predictions.Stored.opened(path) as stored:
        read = {task: json.loads(stored.result(task)) for task in (10, 20, 30, 40)}
        assert stored.sizes() == []  # no task has a place yet
    assert read == {**regions(3), 40: []}
    with pytest.raises(RuntimeError), predictions.writing(path) as add:
        add(10, [])
        raise RuntimeError("killed here")
    with predictions.Stored.opened(path) as stored:
        assert stored.result(10) == b'[{"id": "1"}]'
    assert [each.name for each in path.parent.iterdir()] == ["v.sqlite3"]


def test_tasks_without_regions_and_regions_without_a_place(tmp_path):
    """A task whose image cannot be read has a place alone; a deleted task has regions alone."""
    path = predictions.path_of(tmp_path, 7, "v")
    prediction_cases.write(path, {1: [{"id": "x"}], 2: [], 3: [{"id": "gone"}]})
    predictions.set_order(path, [Place(9, 1, 0.5, "no image"), Place(1, 2, 1.0, "")])
    assert predictions.read(path, [1, 2, 3, 9]) == {
        1: Prediction(1.0, [{"id": "x"}]),
        9: Prediction(0.5, []),
    }
    with predictions.Stored.opened(path) as stored:
        assert stored.sizes() == [(9, 0.5, 2), (1, 1.0, len('[{"id": "x"}]'))]


def test_all_attempts_of_a_round_share_one_file(tmp_path):
    class Round:
        number, started = 12345, 1790000000.9

    names = [version_name(Round, attempt) for attempt in range(1, 13)]
    assert len(set(names)) == 12
    assert {predictions.path_of(tmp_path, 7, name).stem for name in names} == {names[0]}
    assert predictions.first_attempt("v1-2") == "v1-2"  # no name of ours


# --- killed, and read meanwhile -------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("deed", ["order", "regions"])
def test_a_process_killed_while_it_writes_leaves_the_old_file(tmp_path, deed):
    path = file_of(tmp_path, 3)
    prediction_cases.killed_while_it_writes(path, deed)
    assert len(list(path.parent.iterdir())) > 1, "nothing was on disk yet: the test shows nothing"
    # Readers come first: /predict, and the step `publish`, which reads before it writes.
    assert predictions.order(path) == places(3)
    with predictions.Stored.opened(path) as stored:
        assert stored.found(10) == b'[{"id": "1"}]'
    assert predictions.set_order(path, places(3)) == 3
    assert predictions.order(path) == places(3)
    assert predictions.read(path, [10]) == {
        10: Prediction(1 / 3, given_with([{"id": "1"}], "reason 1"))
    }
    with predictions.writing(path) as add:
        add(10, [])
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_reader_finds_the_old_order_or_the_new_one(tmp_path):
    path = file_of(tmp_path, 50)
    backwards = [Place(10 * (51 - r), r, r / 50, "backwards") for r in range(1, 51)]
    orders = [[place.task for place in each] for each in (places(50), backwards)]
    stop, found = threading.Event(), []

    def look():
        while not stop.is_set():
            found.append([place.task for place in predictions.order(path)])

    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(20):
        predictions.set_order(path, backwards)
        predictions.set_order(path, places(50))
    stop.set()
    reader.join()
    assert found and all(each in orders for each in found)


# --- files that cannot be used --------------------------------------------------------------------


def test_a_file_that_is_gone_is_named(tmp_path):
    path = predictions.path_of(tmp_path, 7, "v")
    with pytest.raises(StoreError, match="pruned, or never published"):
        predictions.read(path, [1])
    with pytest.raises(StoreError, match="pruned, or never published"):
        predictions.set_order(path, [])
    assert not path.exists()


def test_a_file_of_another_form_is_named(tmp_path):
    """As the builds before this form wrote it: one table, no number of the form."""
    path = predictions.path_of(tmp_path, 7, "v")
    path.parent.mkdir(parents=True)
    with sqlite3.connect(path) as db:
        db.execute(
            "CREATE TABLE predictions (task INTEGER PRIMARY KEY, rank, score, reason, result)"
        )
    db.close()
    for deed in (predictions.order, predictions.ranks, lambda path: predictions.read(path, [1])):
        with pytest.raises(
            StoreError, match=r"v\.sqlite3: expected predictions in form 2, got form 0"
        ):
            deed(path)


@pytest.mark.parametrize("damage", ["text", "cut", "zeros"])
def test_a_damaged_file_is_named(tmp_path, damage):
    path = predictions.path_of(tmp_path, 7, "v")
    prediction_cases.write(path, {task: [{"id": "x" * 5000}] for task in range(1, 100)})
    data = path.read_bytes()
    half = len(data) // 2
    path.write_bytes({
        "text": b"no database at all" * 500,
        "cut": data[:half],
        "zeros": data[:4096] + bytes(len(data) - 4096),
    }[damage])  # fmt: skip
    with pytest.raises(StoreError, match=r"v\.sqlite3: the predictions cannot be read \("):
        predictions.read(path, range(1, 100))


def test_a_disk_that_takes_no_more_is_told(tmp_path, monkeypatch):
    path = file_of(tmp_path, 2)
    real = sqlite3.connect

    def small(*args, **kwargs):
        db = real(*args, **kwargs)
        db.execute("PRAGMA max_page_count = 20")
        return db

    monkeypatch.setattr(sqlite3, "connect", small)
    with (
        pytest.raises(StoreError, match=r"cannot be written \(database or disk is full\)"),
        predictions.writing(path) as add,
    ):
        for task in range(100):
            add(task, [{"id": os.urandom(20_000).hex()}])
    assert predictions.order(path) == places(2)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_json_does_not_have_are_refused_where_they_are_made(tmp_path, number):
    path = predictions.path_of(tmp_path, 7, "v")
    with (
        pytest.raises(StoreError, match="Task 3: expected finite numbers"),
        predictions.writing(path) as add,
    ):
        add(3, [{"score": number}])
    assert not path.exists()


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "version",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a\\b",
        "/etc/passwd",
        ".hidden",
        "a\x00",
        "a\n",
        "é",
        "x" * 101,
        "-x",
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path, version):
    with pytest.raises(StoreError, match="Not a model version"):
        predictions.path_of(tmp_path, 7, version)


@given(st.text(max_size=40))
def test_no_name_leads_outside(name):
    folder = Path("/data")
    try:
        path = predictions.path_of(folder, 7, name)
    except StoreError:
        return
    assert path.parent == folder / "predictions" / "7"


def test_a_data_directory_of_any_name(tmp_path):
    path = file_of(tmp_path / "a b?mode=rw#c%20&é", 2)
    assert predictions.order(path) == places(2)


values = st.lists(
    st.dictionaries(st.text(max_size=5), st.one_of(st.integers(), st.text(max_size=9)), max_size=4)
)


@settings(max_examples=10)
@given(st.lists(values, min_size=1, max_size=30))
def test_regions_survive_packing(tmp_path_factory, many):
    path = tmp_path_factory.mktemp("packing") / "v.sqlite3"
    prediction_cases.write(path, dict(enumerate(many)), reason="")
    found = predictions.read(path, range(len(many)))
    assert [found[task].result for task in range(len(many))] == many
    with predictions.Stored.opened(path) as stored:
        for task, value in enumerate(many):
            assert stored.result(task) == json.dumps(value).encode()

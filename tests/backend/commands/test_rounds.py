"""The table of rounds fits the terminal, and loses nothing in a narrow one."""

import os
import re
import subprocess
import sys

import pytest

from backend.store.database import Store

MESSAGE = (
    "The new model serves: mAP50 0.512 is not worse than 0.498. Labelled tasks left out: 4 (regions"
    " with a label that the labelling config does not have: 4). First: Task 5: Region r1: got [i]."
)


@pytest.fixture
def data(tmp_path):
    """A data directory with two trainings that ended and one that runs."""
    store = Store(tmp_path)
    lease = store.acquire()
    store.update_project(7, title="Seven")
    for number in (1, 2, 3):
        round_ = store.open_round(lease, 7, "train", "16 labelled tasks changed", [])
        store.finish_step(lease, round_.id, "synced", {"labelled": 16 * number})
        if number < 3:
            store.finish_step(lease, round_.id, "trained", {"left_out": {"tasks": 4}})
            store.finish_step(lease, round_.id, "evaluated", {"metrics": {"map50": 0.5123}})
            store.end_round(lease, round_.id, "served", MESSAGE)
        else:
            store.report(lease, round_.id, {"step": "trained", "done": 120, "total": 400})
    store.close()
    return tmp_path


def printed(data, columns):
    done = subprocess.run(
        [sys.executable, "-m", "backend", "rounds", "--project", "7"],
        env={**os.environ, "MODEL_DIR": str(data), "COLUMNS": str(columns)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.partition("Next labels")[0]


@pytest.mark.slow
@pytest.mark.parametrize(("columns", "lines"), [(80, 40), (160, 20)])
def test_every_word_of_a_round_stands_whole_in_lines_that_fit(data, columns, lines):
    table = printed(data, columns)
    rows = table.splitlines()
    assert max(map(len, rows)) <= columns and len(rows) <= lines
    # The last column holds reason and result, the first ones the facts.
    results = " ".join(cells[-2].strip() for row in rows if len(cells := re.split("[│┃]", row)) > 2)
    assert results.count(MESSAGE) == 2
    words = re.sub(r"[^\w.%:()]+", " ", table)
    for fact in ("32 (4 left out)", "0.512", "training 30 % done", "train", "served"):
        assert fact in words, fact


@pytest.mark.slow
def test_an_unknown_project_is_named_with_those_that_are_known(loop):
    for title in ("Leaves", "Stars"):
        loop.project(1, title=title)
    commands = ["rounds", "versions", "rollback", "unpin", "prune", "disconnect", "review"]
    export = "export", "taudis-0001", str(loop.data / "out")
    for command in (*([name] for name in commands), ["review", "--remove"], export):
        refused = loop.cli(*command, "--project", "9", well=False)
        assert "expected a project that was connected to this backend, got 9." in refused
        assert "1 'Leaves', 2 'Stars'" in refused and str(loop.data) in refused
    assert "Expected --project. Known in" in loop.cli("rounds", well=False)


@pytest.mark.slow
def test_labels_of_a_project_that_was_never_connected_are_exported(loop, tmp_path):
    loop.project(1, title="Leaves")
    other = loop.project(1, title="Stars", connect=False)
    other.label_some(1)
    assert "1 labelled images" in other.cli("export", "--coco", str(tmp_path / "out"))
    out = str(tmp_path / "none")
    refused = loop.cli("export", "--coco", out, "--project", "9", well=False)
    assert "--project: expected a project of Label Studio, got 9." in refused and "404" in refused
    assert "1 'Leaves'." in refused


def test_without_any_project_the_command_that_connects_one_is_named(loop):
    for arguments in (("rounds",), ("rounds", "--project", "9")):
        refused = loop.cli(*arguments, well=False)
        assert "No project was ever connected" in refused and "backend connect" in refused


@pytest.mark.slow
def test_a_project_without_rounds_says_what_starts_one(make_loop):
    loop = make_loop(TRAIN_AFTER="16", POLL_SECONDS="30")
    project = loop.project(1, connect=False)
    project.connect()
    said = project.cli("rounds")
    assert "no round has run yet" in said and "within about 30 s" in said and "16 labels" in said
    assert "No worker runs" not in said and "┃" not in said
    loop.store.release(loop.lease)
    assert "No worker runs now: start one" in project.cli("rounds")
    loop.start_worker()
    loop.store.update_project(project.id, disconnected=True)
    assert f"connect --project {project.id}` helps" in project.cli("rounds")


def test_train_is_recorded_as_start_training_is(loop):
    project = loop.project(2)
    assert "a training is asked for. `rounds` shows it." in project.cli("train")
    (event,) = [event for event in loop.store.pending_events() if event.kind == "train"]
    assert event.project == project.id
    loop.store.release(loop.lease)
    assert "No worker runs now" in project.cli("train")

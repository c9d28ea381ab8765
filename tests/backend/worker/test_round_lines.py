"""JSON log lines of a round: each has the round's id, in whatever thread it was written."""

import io
import json
import logging
import shutil
import threading

import pytest

from backend.errors import StudioUnreachable
from backend.logs import setup_logging


@pytest.fixture
def lines():
    """A function that reads the JSON lines so far, each with its thread's name."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    setup_logging("INFO", stream)
    threads = []

    def remember(_record):
        threads.append(threading.current_thread().name)
        return True

    root.handlers[0].addFilter(remember)
    yield lambda: list(zip(map(json.loads, stream.getvalue().splitlines()), threads, strict=True))
    root.handlers[:] = handlers
    root.setLevel(level)


def test_every_line_between_start_and_outcome_has_the_round(loop, lines):
    project = loop.project(9)
    project.give_model()
    project.label_some(5)
    # Each thread that reads an image ahead then logs that the cache cannot be written.
    shutil.rmtree(loop.data / "cache", ignore_errors=True)
    (loop.data / "cache").write_text("a file")
    before = len(lines())
    round_ = project.train()
    assert round_.outcome == "served"
    found = lines()[before:]
    words = [line["message"] for line, _ in found]
    first = next(row for row, text in enumerate(words) if "opens: " in text)
    last = next(row for row, text in enumerate(words) if f"{round_.number}: served." in text)
    for line, thread in found[first : last + 1]:
        assert line.get("round") == f"{project.id}/{round_.number}", (thread, line)
    readers = {thread.rpartition("_")[0] for line, thread in found if "image cache" in str(line)}
    # of the training, and of the scoring
    assert {"examples", "ThreadPoolExecutor-"} <= {name.rstrip("0123456789") for name in readers}
    assert not [line for line, _ in found[last + 1 :] if "round" in line]


def test_why_a_round_waits_has_the_round(loop, lines, monkeypatch):
    def unreachable(_context, _round):
        raise StudioUnreachable("Label Studio does not answer.")

    project = loop.project(1)
    made = loop.store.open_round(loop.lease, project.id, "refresh", "a test", [])
    monkeypatch.setattr("backend.worker.worker.run_round", unreachable)
    loop.worker.runner_turn(loop.lease)
    (line,) = [line for line, _ in lines() if "(round_runner) waits" in line["message"]]
    assert line["round"] == f"{project.id}/{made.number}"

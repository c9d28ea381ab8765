"""The file of rows: none lost, none doubled, half a line repaired."""

from __future__ import annotations

import json
import threading

import pytest

from taudis.errors import DataError
from taudis.simulation.claims import Lock
from taudis.simulation.jobs import Job
from taudis.simulation.row_log import RowLog


def row(seed, **more):
    return {"kind": "seed_set", "seed": seed, "strategy": None, "round": None, **more}


@pytest.fixture
def log(tmp_path):
    return RowLog(tmp_path / "rows.jsonl", Lock(tmp_path / "lock"))


def test_rows_are_read_as_written_and_once_each(log):
    assert log.read() == {}
    assert log.append(row(0, map50=0.1)) and log.append(row(1, map50=1 / 3))
    assert not log.append(row(0, map50=0.9)), "a job has one row"
    found = log.read()
    assert [found[Job("seed_set", seed)]["map50"] for seed in (0, 1)] == [0.1, 1 / 3]


@pytest.mark.parametrize("length", [1, 5, 30])
def test_half_a_row_is_left_out_and_removed_by_the_next(log, length):
    log.append(row(0))
    whole = log.path.read_bytes()
    with log.path.open("ab") as file:
        file.write(json.dumps(row(1)).encode()[:length])
    assert set(log.read()) == {Job("seed_set", 0)}
    assert log.append(row(2))
    assert log.path.read_bytes() == whole + json.dumps(row(2)).encode() + b"\n"


def test_a_row_that_lacks_its_end_alone_is_kept(log):
    log.path.write_text(json.dumps(row(0)))
    assert log.read() == {}
    assert not log.append(row(0, map50=1.0))
    assert log.path.read_text() == json.dumps(row(0)) + "\n"


def test_a_damaged_line_is_named(log):
    log.path.write_text(json.dumps(row(0)) + "\n{oops\n")
    with pytest.raises(DataError, match=r"rows.jsonl, line 2: expected a row"):
        log.read()


def test_numbers_that_are_none_are_refused(log):
    with pytest.raises(ValueError, match="not JSON compliant"):
        log.append(row(0, map50=float("nan")))
    assert log.read() == {}


def test_many_writers_at_once(tmp_path, log):
    def write(first):
        own = RowLog(log.path, Lock(tmp_path / "lock"))
        for seed in range(first, first + 12):
            own.append(row(seed % 20, padding="x" * 5000))

    threads = [threading.Thread(target=write, args=(first,)) for first in range(0, 20, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(log.path.read_text().splitlines()) == len(log.read()) == 20

"""The benchmark of uploads reads the backend's requests from its log without an error."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import psutil
import pytest

from backend.label_studio.client import Studio
from backend.logs import setup_logging
from benchmarks import uploads_record
from benchmarks.uploads_record import (
    Journal,
    Memory,
    parse_request,
    recorded,
    requests_of_log,
    summary,
    table,
    waits,
)

BODY = json.dumps({"id": 7, "title": "x" * 200}).encode()


@pytest.fixture
def address():
    """A server that answers every request with BODY."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY)

        do_GET = do_PATCH = answer  # noqa: N815

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_requests_are_recorded_with_their_bytes(address):
    with recorded() as made:
        Studio(address, "t").project(12)
        Studio(address, "t").patch_project(12, sampling="Uncertainty sampling")
    assert [(r.what, r.status, r.received) for r in made] == [
        ("Reading project N", 200, len(BODY)),
        ("Changing sampling of project N", 200, len(BODY)),
    ]
    assert made[0].sent == 0
    assert made[1].sent == len(json.dumps({"sampling": "Uncertainty sampling"}))
    assert not logging.getLogger("backend.label_studio.repetition").handlers


def test_requests_are_read_back_from_a_backends_log(address, tmp_path):
    stream = io.StringIO()
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        setup_logging("DEBUG", stream)
        Studio(address, "t").project(12)
    finally:
        root.handlers[:], root.level = before, level
    log = tmp_path / "backend.log"
    log.write_text("no JSON\n" + stream.getvalue() + '{"message": "something else"}\n')
    (request,) = requests_of_log(log)
    assert (request.what, request.received) == ("Reading project N", len(BODY))


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("Listing the tasks of project 3 (250 a page): 200 in 0.312 s, 0 bytes sent, 9 received",
         "Listing the tasks of project N"),
        ("Deleting version taudis-0001-6b of project 3: 204 in 0.1 s, 0 bytes sent, 0 received",
         "Deleting version V of project N"),
        ("Reading project 3; again in 0.3 s", None),
    ],
)  # fmt: skip
def test_requests_of_one_kind_have_one_name(line, what):
    found = parse_request(line)
    assert (found.what if found else None) == what


def test_a_summary_adds_up():
    lines = [f"Reading project 1: {status} in {s} s, 1000000 bytes sent, 2000000 received"
             for status, s in ((200, 1.0), (500, 2.0), (200, 4.0))]  # fmt: skip
    lines.append("Asking 1: 200 in 9.0 s, 0 bytes sent, 0 received")
    rows = summary([found for line in lines if (found := parse_request(line))])
    assert [row["what"] for row in rows] == ["Asking N", "Reading project N"]
    assert rows[1] == {
        "what": "Reading project N", "requests": 3, "seconds": 7.0, "median_s": 2.0, "max_s": 4.0,
        "mb_sent": 3.0, "mb_received": 6.0, "failed": 1,
    }  # fmt: skip
    assert table([{"a": 1, "b": "x"}]) == "| a | b |\n|---|---|\n| 1 | x |"


def test_waits_are_quantiles():
    assert waits([float(i) for i in range(1, 11)]) == {
        "median": 5.5, "p90": 10.0, "max": 10.0, "count": 10,
    }  # fmt: skip
    assert waits([]) == {"count": 0}


def test_rows_are_on_disk_at_once(tmp_path):
    journal = Journal(tmp_path / "rows.jsonl", lambda text: None)
    journal.add("one", {"s": 1})
    journal.add("two", [2])
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [(row["name"], row["row"]) for row in rows] == [("one", {"s": 1}), ("two", [2])]


def test_memory_counts_children_and_keeps_the_peak(monkeypatch):
    monkeypatch.setattr(uploads_record, "MEMORY_SECONDS", 0.02)
    code = "import time; block = bytearray(60_000_000); time.sleep(0.5); del block; time.sleep(60)"
    inner = f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {code!r}])"
    with psutil.Popen([sys.executable, "-S", "-c", inner]) as process:
        memory = Memory(lambda: {"tree": psutil.Process(process.pid)})
        try:
            limit, peak = time.monotonic() + 20, 0.0
            while peak < 60 and time.monotonic() < limit:
                time.sleep(0.1)  # the process holds its memory for half a second
                peak = max(peak, memory.reset().get("tree", 0.0))
            assert 60 < peak < 150
        finally:
            memory.close()
            for member in [*process.children(recursive=True), process]:
                member.kill()

"""F11: malformed requests to every route of a real web process."""

import socket
import threading
import time
from collections import Counter
from itertools import islice

import pytest

from tests.fuzz.malformed import Request, as_bytes, broken_http, credentials
from tests.fuzz.served import attack, sent_raw, served, well_answered

LIMIT = 40_000  # bytes of a body; 32 MB by default
WARM_UP = 400
FLAT_MB = 24.0
PLANTED = "planted-by-the-fuzz-test"


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.fault("F11")
def test_malformed_requests_to_a_served_web_process(tmp_path, figures, full):
    number = 100_000 if full else 1_600
    with served(tmp_path, max_request_bytes=LIMIT) as server:
        before_files = server.outside()
        assert before_files == {"home", "tmp", "cwd"}  # as it was made: nothing is in them
        attack(server, WARM_UP, planted=PLANTED, limit=LIMIT, seed=1)
        before = server.rss_mb()
        found = attack(server, number, planted=PLANTED, limit=LIMIT, seed=2)
        after, outside = server.rss_mb(), server.outside() - before_files
        assert well_answered(server) == 200
    planted = [path for path in tmp_path.rglob("*") if PLANTED in path.name]
    figures(
        requests=sum(found.statuses.values()) + len(found.hangs), server_errors=len(found.errors),
        hangs=len(found.hangs), files_outside=len(outside) + len(planted),
        rss_before_mb=round(before, 1), rss_after_mb=round(after, 1),
        slowest_s=round(found.slowest_s, 2),
    )  # fmt: skip
    print(dict(sorted(found.statuses.items())))
    assert not found.errors, found.errors[:3]
    assert not found.hangs, found.hangs[:3]
    assert not outside and not planted
    assert after - before < FLAT_MB
    assert "Traceback" not in (tmp_path / "log").read_text()
    # The requests reach the views: they are not all refused at the door.
    assert {200, 400, 401, 404, 405, 413, 415} <= set(found.statuses)


@pytest.mark.slow
@pytest.mark.fault("F11", "answers")
def test_bytes_that_are_almost_http(tmp_path, figures, full):
    number, statuses, errors = 20_000 if full else 800, Counter(), []
    with served(tmp_path, max_request_bytes=LIMIT) as server:
        for data in islice(broken_http(seed=3), number):
            status = sent_raw(server, data)
            statuses[status] += 1
            errors += [data] if status >= 500 else []
        assert well_answered(server) == 200
        # Gunicorn's own line quotes this header, which has no colon.
        secret = credentials().encode()
        assert sent_raw(server, b"GET / HTTP/1.1\r\nAuthorization " + secret + b"\r\n\r\n") == 400
    log = (tmp_path / "log").read_bytes()
    assert b"Invalid HTTP Header" in log and secret.split()[1] not in log
    figures(requests=number, server_errors=len(errors))
    print(dict(sorted(statuses.items())))
    assert not errors, errors[:3]
    assert {0, 200, 400, 401} <= set(statuses)


@pytest.mark.slow
@pytest.mark.fault("F11", "answers")
def test_callers_that_stop_in_mid_request_do_not_hold_the_threads(tmp_path, figures):
    """More callers than threads; each sends a part of a request and waits."""
    headers = {"Authorization": credentials(), "Content-Type": "application/json"}
    whole = as_bytes(Request("POST", "/webhook", headers, b"{}" * 50))
    parts = [whole[:30], whole[:-40]]
    with served(tmp_path, "tests.fuzz.quick_worker.QuickWorker", threads=2) as server:
        held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(6)]
        for index, each in enumerate(held):
            each.sendall(parts[index % 2])
        started = time.monotonic()
        assert well_answered(server) == 200
        seconds = time.monotonic() - started
        for each in held:
            each.settimeout(20)
            assert each.recv(1000)[:12] in (b"", b"HTTP/1.1 400")
            each.close()
        assert threading.active_count() < 50
    figures(hangs=0, slowest_s=round(seconds, 2))
    assert "Traceback" not in (tmp_path / "log").read_text()

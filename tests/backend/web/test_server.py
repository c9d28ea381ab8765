"""The time limits of a connection to the web process."""

import socket
import time

import pytest

from backend.web import server
from backend.web.server import TimedSocket


@pytest.fixture
def pair():
    """A caller's socket and ours."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        caller = socket.create_connection(listening.getsockname())
        accepted, _ = listening.accept()
    with caller, TimedSocket(fileno=accepted.detach()) as ours:
        yield caller, ours


def test_bytes_that_drip_in_end_at_the_deadline_of_the_request(pair):
    caller, ours = pair
    ours.start(0.2)
    began = time.monotonic()
    with pytest.raises(ConnectionResetError, match="in time"):
        while time.monotonic() < began + 5:
            caller.send(b"x")
            ours.recv(1)
    with pytest.raises(ConnectionResetError):
        ours.recv(1)
    ours.start(5)  # the next request has a time limit of its own
    caller.send(b"y")
    assert ours.recv(1) in (b"x", b"y")


def test_an_answer_that_nobody_takes_ends_at_its_limit(pair, monkeypatch):
    monkeypatch.setattr(server, "SEND_SECONDS", 0.2)
    with pytest.raises(ConnectionResetError):
        pair[1].sendall(b"x" * 100_000_000)


def test_the_poller_never_waits(pair):
    _, ours = pair
    ours.setblocking(False)
    with pytest.raises(BlockingIOError):
        ours.recv(1)

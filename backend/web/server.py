"""Gunicorn's threaded worker with time limits for reading a request and sending its answer.

Gunicorn waits for ever for the rest of a request that has begun, and each such request holds a
thread. A few callers that vanish in mid-request or attack the server would thus stop it. Here a
request must arrive within READ_SECONDS, and the caller must take each piece of the answer within
SEND_SECONDS. Otherwise the connection is closed.
"""

from __future__ import annotations

import errno
import socket
import time
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

READ_SECONDS = 20.0
"""For head and body together. At 13 Mbit/s, 32 MB (MAX_REQUEST_BYTES) arrive in this time."""
SEND_SECONDS = 100.0
"""For one piece of an answer. Label Studio waits this long for /predict."""


class TimedSocket(socket.socket):
    """A socket whose reads end at a deadline. `start` sets the deadline of each request."""

    deadline = float("inf")

    def start(self, seconds: float) -> None:
        """Set the deadline of all further reads to `seconds` from now."""
        self.deadline = time.monotonic() + seconds

    def recv(self, *arguments: Any) -> bytes:
        """Received bytes. After the deadline raises ConnectionResetError, known to gunicorn."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise _late()
        before = self.gettimeout()
        if before != 0:  # 0: a non-blocking read of gunicorn's poller
            self.settimeout(left if left < float("inf") else None)
        try:
            return super().recv(*arguments)
        except TimeoutError:
            raise _late() from None

    def sendall(self, *arguments: Any) -> None:
        """Send all bytes. Raises ConnectionResetError if the caller takes none in SEND_SECONDS."""
        self.settimeout(SEND_SECONDS)
        try:
            super().sendall(*arguments)
        except TimeoutError:
            raise _late() from None


class TimedWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """Gunicorn's `gthread` worker with TimedSocket."""

    def enqueue_req(self, conn: TConn) -> None:
        """Give a connection with a request to a thread."""
        if not isinstance(conn.sock, TimedSocket):
            conn.sock = TimedSocket(fileno=conn.sock.detach())
        super().enqueue_req(conn)

    def handle(self, conn: TConn) -> object:
        """Read and answer a request, in a thread."""
        conn.sock.start(READ_SECONDS)
        return super().handle(conn)


def _late() -> OSError:
    return ConnectionResetError(errno.ECONNRESET, "the request did not come in time")

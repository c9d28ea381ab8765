"""Gunicorn's threaded worker with a time limit on the reading of a request.

Gunicorn waits without end for the rest of a request that has begun to come. Each such request holds
a thread, so that a few callers that vanished in mid-request, or mean to stop the server, would stop
it for ever. Here a request must come within READ_SECONDS, and its answer must be taken within
SEND_SECONDS; otherwise the connection is closed.
"""

from __future__ import annotations

import errno
import socket
import time
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

READ_SECONDS = 20.0
"""For head and body together. 32 MB (MAX_REQUEST_BYTES) come in this time at 13 Mbit/s."""
SEND_SECONDS = 100.0
"""For one piece of an answer. Label Studio waits as long for /predict."""


class TimedSocket(socket.socket):
    """A socket whose reads end at a deadline. `start` sets it, for each request anew."""

    deadline = float("inf")

    def start(self, seconds: float) -> None:
        """Let all reads from now on end within so many seconds."""
        self.deadline = time.monotonic() + seconds

    def recv(self, *arguments: Any) -> bytes:
        """Bytes that came. Raises ConnectionResetError, which gunicorn takes calmly, when late."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise _late()
        before = self.gettimeout()
        if before != 0:  # 0: the poller's, which never waits
            self.settimeout(left if left < float("inf") else None)
        try:
            return super().recv(*arguments)
        except TimeoutError:
            raise _late() from None

    def sendall(self, *arguments: Any) -> None:
        """Send everything. Raises ConnectionResetError if it is not taken within SEND_SECONDS."""
        self.settimeout(SEND_SECONDS)
        try:
            super().sendall(*arguments)
        except TimeoutError:
            raise _late() from None


class TimedWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """Gunicorn's `gthread` on timed sockets."""

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

"""One HTTP request to IP addresses that were checked before, with a hard deadline.

`http.client` uses our socket, because other clients would resolve the host name again. A timer
closes the socket at the deadline, however slowly the bytes arrive.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import SplitResult

import requests
from certifi import where as certificates

from backend.errors import ImageError
from backend.label_studio.addresses import Address, origin_of


class PassingError(Exception):
    """A failure that may be temporary. `outage`: the server did not answer at all."""

    def __init__(self, why: str, *, outage: bool = True) -> None:
        super().__init__(why)
        self.outage = outage


class Connection:
    """One request to a host's checked IP addresses. A timer closes it at the deadline."""

    def __init__(self, where: SplitResult, addresses: Sequence[Address], deadline: float) -> None:
        self.where, self.addresses, self.deadline = where, addresses, deadline
        self.socket: socket.socket | None = None
        self.response: http.client.HTTPResponse | None = None
        self.expired = self.answered = False

    def __enter__(self) -> Connection:
        self.watchdog = threading.Timer(self._left(), self._expire)
        self.watchdog.daemon = True
        self.watchdog.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.watchdog.cancel()
        if self.response is not None:
            self.response.close()  # it holds the socket open, as long as an error's traceback lives
        if self.socket is not None:
            self.socket.close()
        outage = not self.answered
        if self.expired and not isinstance(error, ImageError):
            raise PassingError("it took too long (IMAGE_TIMEOUT)", outage=outage) from None
        if isinstance(error, ssl.SSLError):
            raise ImageError(f"TLS with {self.where.hostname} failed: {error.reason}.") from None
        if isinstance(error, (OSError, http.client.HTTPException, ValueError)):
            why = f"{type(error).__name__}: {error!s:.100}"
            raise PassingError(why, outage=outage) from None

    def _left(self) -> float:
        return max(self.deadline - time.monotonic(), 0.001)

    def _expire(self) -> None:
        self.expired = True
        if self.socket is not None:
            try:  # not the SSL socket's shutdown, which would wait for the reading thread
                socket.socket.shutdown(self.socket, socket.SHUT_RDWR)
            except OSError:
                self.socket.close()

    def _connect(self, port: int) -> socket.socket:
        """Connect to the first address that accepts. A name's IPv6 address often does not.

        Each address gets an equal part of the remaining time.
        """
        *others, last = self.addresses
        for tried, address in enumerate(others):
            seconds = self._left() / (len(self.addresses) - tried)
            with suppress(OSError):
                return socket.create_connection((str(address), port), seconds)
        return socket.create_connection((str(last), port), self._left())

    def request(self, path: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        """Send a GET request and read the head of the answer."""
        scheme, host, port = origin_of(self.where)
        self.socket = self._connect(port)
        self.socket.settimeout(self._left())
        if scheme == "https":
            secure = _tls_context(self.where.geturl()).wrap_socket(
                self.socket, server_hostname=host, do_handshake_on_connect=False
            )
            self.socket = secure  # set first, so that the timer can also end the handshake
            secure.do_handshake()
        client = http.client.HTTPConnection(host, port)
        client.sock = self.socket
        client.request("GET", path, headers={"Host": _host_header(self.where), **headers})
        self.response = client.getresponse()
        self.answered = True
        return self.response


def _host_header(where: SplitResult) -> str:
    """The Host header as browsers send it, because signatures of cloud addresses cover it."""
    scheme, host, port = origin_of(where)
    name = f"[{host}]" if ":" in host else host.encode("idna").decode()
    return name if port == (443 if scheme == "https" else 80) else f"{name}:{port}"


def _tls_context(url: str) -> ssl.SSLContext:
    """A context with the certificates that `requests` trusts, including REQUESTS_CA_BUNDLE."""
    settings = requests.Session().merge_environment_settings(url, {}, False, None, None)
    verify = settings["verify"]
    bundle = verify if isinstance(verify, str) else certificates()
    folder = Path(bundle).is_dir()
    return ssl.create_default_context(
        cafile=None if folder else bundle, capath=bundle if folder else None
    )

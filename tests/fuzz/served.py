"""A real served web process in a folder of its own, and clients that send bytes to it."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import psutil

from backend.commands.serve import environment_of, web_command
from backend.settings import Settings, load_settings
from backend.store.database import Store
from backend.web import forms
from backend.worker.round import Heartbeat
from tests.backend.web.web_cases import publish
from tests.fuzz.malformed import (
    PASSWORD,
    PROJECT,
    STUDIO,
    USER,
    Malformed,
    Request,
    as_bytes,
    credentials,
)

HANG_SECONDS = 20.0
"""Longer than any answer takes here: no request of the test needs a model or a network."""


@dataclass
class Served:
    """Gunicorn as `serve` starts it, and the folder around its data directory."""

    folder: Path
    port: int
    process: psutil.Process
    token: str  # of the forms of project 7

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def rss_mb(self) -> float:
        """Resident memory of the web process and its children, MB."""
        family = [self.process, *self.process.children(recursive=True)]
        return sum(each.memory_info().rss for each in family) / 1e6

    def outside(self) -> set[str]:
        """Files in the folder that are not in the data directory, but for the log."""
        found = (path.relative_to(self.folder) for path in self.folder.rglob("*"))
        return {str(path) for path in found if path.parts[0] not in ("data", "log")}


@contextlib.contextmanager
def served(folder: Path, worker: str = "", **given: object) -> Iterator[Served]:
    """Serve a project with a published version; home, temporary files and cwd are in `folder`.

    `worker`: a class of gunicorn workers instead of ours. A lease is held, so that /ready is 200.
    """
    settings = _settings(folder, given)
    store = Store(settings.model_dir)
    store.update_project(PROJECT, label_config="<View/>", armed={"webhook": 1})
    publish(settings, store, PROJECT)
    command = web_command(settings)
    if worker:
        command[command.index("--worker-class") + 1] = worker
    environment = {
        **{name: os.environ[name] for name in ("PATH",)}, **environment_of(settings),
        "HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp"), "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    with (folder / "log").open("wb") as log:
        popen = subprocess.Popen(
            command, cwd=folder / "cwd", env=environment, stdout=log, stderr=log
        )
    try:
        _wait_until_up(popen, settings.port, folder / "log")
        with Heartbeat(store, store.acquire()):
            token = forms.token(settings, PROJECT)
            yield Served(folder, settings.port, psutil.Process(popen.pid), token)
    finally:
        store.close()
        popen.terminate()
        try:
            popen.wait(20)
        except subprocess.TimeoutExpired:
            popen.kill()
            popen.wait(20)


def _settings(folder: Path, given: dict[str, object]) -> Settings:
    for name in ("data", "home", "tmp", "cwd"):
        (folder / name).mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    defaults = {
        "threads": 4, "basic_auth_user": USER, "basic_auth_pass": PASSWORD,
        "label_studio_url": STUDIO, "log_level": "WARNING",
    }  # fmt: skip
    return load_settings(model_dir=folder / "data", port=port, **{**defaults, **given})


def _wait_until_up(popen: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and popen.poll() is None:
        with contextlib.suppress(OSError), Client(port) as client:
            if client.send(Request("GET", "/health")) == 200:
                return
        time.sleep(0.1)
    raise AssertionError(log.read_text()[-2000:])


class Client:
    """Sends requests over a connection that is kept as long as the server keeps it."""

    def __init__(self, port: int) -> None:
        self.port, self.socket = port, None
        self.body = b""  # of the last answer

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
        self.socket = None

    def send(self, request: Request) -> int:
        """The status of the answer; 0 if the server closed the connection instead.

        Raises TimeoutError after HANG_SECONDS.
        """
        try:
            return self._sent(as_bytes(request), request.method)
        except TimeoutError:
            self.close()
            raise
        except OSError:
            self.close()
            return 0

    def _sent(self, data: bytes, method: str) -> int:
        for attempt in (1, 2):  # a kept connection may have been closed meanwhile
            fresh = self.socket is None
            if self.socket is None:
                self.socket = socket.create_connection(("127.0.0.1", self.port), HANG_SECONDS)
                self.socket.settimeout(HANG_SECONDS)
            try:
                self.socket.sendall(data)
                head, rest = self._head()
            except (ConnectionError, BrokenPipeError):
                head, rest = self._left(), b""
            if head or fresh or attempt == 2:
                break
            self.close()
        if not head:
            self.close()
            return 0
        return self._finish(head, rest, method)

    def _left(self) -> bytes:
        """What the server had answered before it refused the rest of a request."""
        with contextlib.suppress(OSError):
            return self.socket.recv(65536) if self.socket else b""
        return b""

    def _head(self) -> tuple[bytes, bytes]:
        data = b""
        while b"\r\n\r\n" not in data:
            part = self.socket.recv(65536)
            if not part:
                return data, b""
            data += part
        head, _, rest = data.partition(b"\r\n\r\n")
        return head, rest

    def _finish(self, head: bytes, rest: bytes, method: str) -> int:
        lines = head.split(b"\r\n")
        status = int(lines[0].split(b" ")[1])
        headers = dict(line.lower().split(b": ", 1) for line in lines[1:] if b": " in line)
        length = headers.get(b"content-length")
        if length is None or headers.get(b"connection") == b"close":
            self.close()
            return status
        self.body = rest
        missing = 0 if method == "HEAD" else int(length) - len(rest)
        while missing > 0:
            part = self.socket.recv(min(missing, 65536))
            if not part:
                break
            missing -= len(part)
            self.body += part
        if missing:
            self.close()
        return status


@dataclass
class Outcome:
    """What the answers to many requests were."""

    statuses: Counter[int] = field(default_factory=Counter)
    errors: list[tuple[int, Request]] = field(default_factory=list)  # 500 and above
    hangs: list[Request] = field(default_factory=list)
    slowest_s: float = 0.0


def attack(server: Served, number: int, *, planted: str, limit: int, seed: int = 0) -> Outcome:
    """Send `number` malformed requests from four clients at a time."""
    outcome, lock = Outcome(), threading.Lock()

    def work(part: int) -> None:
        requests = Malformed(4 * seed + part, planted=planted, limit=limit, token=server.token)
        with Client(server.port) as client:
            for request in islice(requests, number // 4):
                started = time.monotonic()
                try:
                    status = client.send(request)
                except TimeoutError:
                    outcome.hangs.append(request)
                    continue
                with lock:
                    outcome.statuses[status] += 1
                    outcome.slowest_s = max(outcome.slowest_s, time.monotonic() - started)
                if status >= 500:
                    outcome.errors.append((status, request))

    threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcome


def well_answered(server: Served) -> int:
    """The status of a valid /predict."""
    with Client(server.port) as client:
        headers = {"Authorization": credentials(), "Content-Type": "application/json"}
        body = b'{"project": 7, "tasks": [{"id": 1}]}'
        return client.send(Request("POST", "/predict", headers, body))


def sent_raw(server: Served, data: bytes) -> int:
    """The status of the answer to bytes after which the caller says nothing more; 0 for none.

    Raises TimeoutError after HANG_SECONDS.
    """
    with socket.create_connection(("127.0.0.1", server.port), HANG_SECONDS) as raw:
        raw.settimeout(HANG_SECONDS)
        answer = b""
        try:
            raw.sendall(data)
            raw.shutdown(socket.SHUT_WR)
            while part := raw.recv(65536):
                answer += part
        except (ConnectionError, BrokenPipeError):
            pass
    found = re.findall(rb"^HTTP/1\.[01] ([2-5]\d\d) ", answer, re.M)
    return int(found[-1]) if found else 0

"""One command that serves: gunicorn for the web process, and the worker, both kept running.

    supervisor ─┬─ gunicorn (web) ── gthread workers ── predictor, when needed
                └─ python -m backend worker

A child that dies is started again, at once the first time and then more slowly. The children end
with the supervisor, also when it is killed with SIGKILL: the kernel tells them (Linux).
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import AliasChoices, SecretStr

from backend.errors import SettingsError
from backend.settings import Settings, check_bind
from backend.store.database import Store

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 30.0  # seconds before a dead child is started again
STEADY_SECONDS = 20.0  # a child that lived this long starts again without a longer pause
GRACE_SECONDS = 8.0  # from SIGTERM to SIGKILL
REQUEST_SECONDS = 120  # Label Studio itself gives up after 100
KEEP_ALIVE_SECONDS = 620
"""How long an idle connection is kept: longer than any caller's pause. A caller that reuses one
which closes at that moment gets no answer. Prometheus pauses for a minute, nginx and AWS keep idle
connections for 60 s, Go's client for 90 s, Google Cloud's load balancer for 600 s."""
CONNECTIONS = 500
"""Connections of a web process, idle ones included; an idle one takes no thread. Where they come
near, answers say `Connection: close`. Below the usual limit of 1,024 open files."""
_PR_SET_PDEATHSIG = 1


@dataclass
class Child:
    """A process that is to run all the time."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    pause: float = FIRST_PAUSE
    started: float = 0.0
    next_start: float = 0.0
    starts: int = field(default=0)

    def keep_running(self, now: float) -> None:
        """Start the child if it is due; note when it died."""
        if self.process is not None:
            code = self.process.poll()
            if code is None:
                return
            self.process = None
            steady = now - self.started >= STEADY_SECONDS
            self.pause = FIRST_PAUSE if steady else min(self.pause * 2, LONGEST_PAUSE)
            self.next_start = now + self.pause
            logger.warning(
                "%s ended with %s; it starts again in %.1f s", self.name, code, self.pause
            )
        elif now >= self.next_start:
            self.start(now)

    def start(self, now: float) -> None:
        """Start the process in a session of its own, so that Ctrl-C reaches the supervisor only."""
        self.process = subprocess.Popen(
            self.command,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_end_with(os.getpid()),
        )
        self.started, self.starts = now, self.starts + 1
        logger.info("%s runs as process %s", self.name, self.process.pid)

    def stop(self, deadline: float) -> None:
        """Wait for a child that was told to end; what is left of its session is killed."""
        if self.process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(max(0.0, deadline - time.monotonic()))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def serve(settings: Settings, stop: threading.Event | None = None) -> None:
    """Serve until SIGTERM, SIGINT, or `stop`.

    Raises:
        SettingsError: a public address without credentials, or a port that is taken.
        StoreError: the data directory cannot be used.
    """
    check_bind(settings)
    _check_port(settings)
    Store(settings.model_dir).close()
    over = threading.Event() if stop is None else stop
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: over.set())
    logger.info("Serving on %s", address(settings))
    supervise(children(settings), over)


def supervise(wanted: list[Child], over: threading.Event) -> None:
    """Keep the children running until `over` is set, then end them."""
    try:
        while not over.is_set():
            for child in wanted:
                child.keep_running(time.monotonic())
            over.wait(0.1)
    finally:
        for child in wanted:
            if child.process is not None and child.process.poll() is None:
                child.process.terminate()
        deadline = time.monotonic() + GRACE_SECONDS
        for child in wanted:
            child.stop(deadline)


def children(settings: Settings) -> list[Child]:
    """The web process and the worker, with the settings in their environment."""
    environment = {**os.environ, **environment_of(settings)}
    paths = (str(ROOT), os.environ.get("PYTHONPATH", ""))
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    return [
        Child("web", web_command(settings), environment),
        Child("worker", [sys.executable, "-m", "backend", "worker"], environment),
    ]


def web_command(
    settings: Settings, *, keep_alive: int = KEEP_ALIVE_SECONDS, connections: int = CONNECTIONS
) -> list[str]:
    """Gunicorn with threads. No --preload: torch and open databases do not survive a fork."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    memory = ["--worker-tmp-dir", "/dev/shm"] if Path("/dev/shm").is_dir() else []  # noqa: S108
    return [
        *(sys.executable, "-m", "gunicorn", "_wsgi:app"),
        *("--bind", f"{host}:{settings.port}"),
        *("--worker-class", "gthread"),
        *("--workers", str(settings.workers)),
        *("--threads", str(settings.threads)),
        *("--timeout", str(REQUEST_SECONDS)),
        *("--keep-alive", str(keep_alive)),
        *("--worker-connections", str(connections)),
        *("--graceful-timeout", "5"),
        *("--log-level", "warning"),
        *("--pythonpath", str(ROOT)),
        *memory,
    ]


def environment_of(settings: Settings) -> dict[str, str]:
    """The settings that were given, as the environment variables that give them again."""
    found = {"MODEL_DIR": str(settings.model_dir.resolve())}
    for name in settings.model_fields_set - {"model_dir"}:
        value = getattr(settings, name)
        if value is None:
            continue
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        found[_variable(name)] = ",".join(value) if isinstance(value, tuple) else str(value)
    return found


def address(settings: Settings) -> str:
    """Where a browser on this machine finds the status page."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.port}"


def _variable(name: str) -> str:
    """The first environment variable that sets a setting."""
    alias = Settings.model_fields[name].validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else name.upper()


def _check_port(settings: Settings) -> None:
    """Refuse a port that is taken, instead of failing again and again in the web process."""
    try:
        where = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(where[0], where[1]) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where[4])
    except OSError as error:
        raise SettingsError(
            f"Cannot listen on {address(settings)}: {error.strerror or error}. Stop what uses that"
            " port, or set HOST and PORT."
        ) from error


def _end_with(parent: int) -> Callable[[], None] | None:
    """What makes a child end when the supervisor does, however that happens. Linux only."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up here: the child between fork and exec must not

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died in between
            os._exit(0)

    return tie

"""`python -m backend serve`: starts the web process and the worker, and keeps both running.

    supervisor ─┬─ gunicorn (web) ── gthread workers ── predictor, when needed
                └─ python -m backend worker

A child that dies is started again, with increasing pauses. The children end when the supervisor
ends. On Linux this holds even after SIGKILL, because the kernel signals them.
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
LONG_RUN_SECONDS = 20.0  # a child that ran this long starts again after the first pause
GRACE_SECONDS = 8.0  # from SIGTERM to SIGKILL
REQUEST_SECONDS = 120  # time limit of a request; Label Studio gives up after 100
KEEP_ALIVE_SECONDS = 620
"""Idle connections stay open for this time, which is longer than any caller keeps them.

A caller that sends a request while the server closes the connection gets no response. Prometheus
pauses for a minute. nginx and AWS keep idle connections for 60 s, Go's client for 90 s, Google
Cloud's load balancer for 600 s.
"""
CONNECTIONS = 500
"""Open connections of a web process, idle ones included. An idle connection takes no thread.

Near this number responses say `Connection: close`. It is below the usual limit of 1,024 open files.
"""
_PR_SET_PDEATHSIG = 1


@dataclass
class Child:
    """A process that the supervisor keeps running."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    pause: float = FIRST_PAUSE
    started: float = 0.0
    next_start: float = 0.0
    starts: int = field(default=0)

    def keep_running(self, now: float) -> None:
        """Start the child when it is due; if it has ended, set the time of its next start."""
        if self.process is not None:
            code = self.process.poll()
            if code is None:
                return
            # Gunicorn's workers outlive their killed master for seconds and hold the port.
            _kill_session(self.process.pid)
            self.process = None
            ran_long = now - self.started >= LONG_RUN_SECONDS
            self.pause = FIRST_PAUSE if ran_long else min(self.pause * 2, LONGEST_PAUSE)
            self.next_start = now + self.pause
            logger.warning(
                "%s ended with %s; it starts again in %.1f s", self.name, code, self.pause
            )
        elif now >= self.next_start:
            self.start(now)

    def start(self, now: float) -> None:
        """Start the process in a new session, so that Ctrl-C reaches only the supervisor."""
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
        """Wait until the terminated child ends; then kill the rest of its session."""
        if self.process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(max(0.0, deadline - time.monotonic()))
        _kill_session(self.process.pid)
        self.process.wait()


def _kill_session(leader: int) -> None:
    """Kill every process of a child's session. leader: the process id of the child."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def serve(settings: Settings, stop: threading.Event | None = None) -> None:
    """Serve until SIGTERM, SIGINT, or until `stop` is set.

    Raises:
        SettingsError: a public address without credentials, or a port in use.
        StoreError: the data directory cannot be used.
    """
    check(settings)
    over = threading.Event() if stop is None else stop
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: over.set())
    logger.info("Serving on %s", address(settings))
    supervise(children(settings), over)


def check(settings: Settings) -> None:
    """Check the requirements of the web process before its start. Raises as `serve` does."""
    check_bind(settings)
    _check_port(settings)
    Store(settings.model_dir).close()


def supervise(wanted: list[Child], over: threading.Event) -> None:
    """Keep the children running until `over` is set, then terminate them."""
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
    environment = child_environment(settings)
    return [
        Child("web", web_command(settings), environment),
        Child("worker", [sys.executable, "-m", "backend", "worker"], environment),
    ]


def child_environment(settings: Settings) -> dict[str, str]:
    """The environment of the web process and the worker: this process's, with the settings."""
    environment = {**os.environ, **environment_of(settings)}
    paths = (str(ROOT), os.environ.get("PYTHONPATH", ""))
    return environment | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def web_command(
    settings: Settings, *, keep_alive: int = KEEP_ALIVE_SECONDS, connections: int = CONNECTIONS
) -> list[str]:
    """Gunicorn with threads. No --preload: torch and open databases do not survive a fork."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    memory = ["--worker-tmp-dir", "/dev/shm"] if Path("/dev/shm").is_dir() else []  # noqa: S108
    several = ["--config", "python:backend.web.gunicorn_hooks"] if settings.workers > 1 else []
    return [
        *(sys.executable, "-m", "gunicorn", "backend.web.wsgi:app"),
        *("--bind", f"{host}:{settings.port}"),
        *("--worker-class", "backend.web.server.TimedWorker"),
        *("--workers", str(settings.workers)),
        *("--threads", str(settings.threads)),
        *("--timeout", str(REQUEST_SECONDS)),
        *("--keep-alive", str(keep_alive)),
        *("--worker-connections", str(connections)),
        *("--graceful-timeout", "5"),
        *("--log-level", "warning"),
        # Gunicorn's control socket is in the home folder, which a container does not have.
        "--no-control-socket",
        *("--pythonpath", str(ROOT)),
        *memory,
        *several,
    ]


def environment_of(settings: Settings) -> dict[str, str]:
    """The given settings as environment variables, for the child processes."""
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
    """The address of the status page for a browser on this machine."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.port}"


def _variable(name: str) -> str:
    """The first environment variable that sets a setting."""
    alias = Settings.model_fields[name].validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else name.upper()


def _check_port(settings: Settings) -> None:
    """Raise SettingsError for a port in use; otherwise the web process would fail repeatedly."""
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
    """A function for the child: the kernel sends it SIGTERM when its parent dies. Linux only."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(
        None
    ).prctl  # loaded before the fork: loading a library after it can deadlock

    def end_with_parent() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # the parent died before prctl
            os._exit(0)

    return end_with_parent

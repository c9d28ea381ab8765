"""The backend's two processes, started as the README says (`python -m backend serve`)."""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path

import requests

from backend.settings_table import setting_names
from demo.errors import DemoError
from demo.options import ROOT
from demo.waiting import wait_for

BACKEND_USER = "label-studio"
"""User name that Label Studio gives to the backend."""


class Backend:
    """A running backend with a separate data directory.

    Args:
        data: data directory, made if missing.
        port: loopback port to listen on.
        environment: its settings, as environment variables.
    """

    def __init__(self, data: Path, port: int, environment: dict[str, str]) -> None:
        self.data, self.port = data, port
        self.url = f"http://127.0.0.1:{port}"
        self.password = secrets.token_urlsafe(12)
        self.log = data / "backend.log"
        # Settings in the caller's shell belong to another backend.
        foreign = setting_names()
        self._environment = {
            **{name: value for name, value in os.environ.items() if name not in foreign},
            "MODEL_DIR": str(data),
            "PORT": str(port),
            "BASIC_AUTH_USER": BACKEND_USER,
            "BASIC_AUTH_PASS": self.password,
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, within: float = 120) -> None:
        """Start the processes and wait until /health answers.

        Raises:
            DemoError: the backend ended or did not answer in time, with the end of its log.
        """
        self.data.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "backend", "serve"],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        atexit.register(self.stop)
        wait_for(self._healthy, within, f"the backend at {self.url}/health")

    def stop(self) -> None:
        """End the whole process group."""
        process, self._process = self._process, None
        if process is None:
            return
        for end, patience in ((signal.SIGTERM, 15), (signal.SIGKILL, 5)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, end)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=patience)
        atexit.unregister(self.stop)

    @property
    def running(self) -> bool:
        """Whether the process is running."""
        return self._process is not None and self._process.poll() is None

    def _healthy(self) -> bool:
        """Whether /health answers. Raises DemoError if the process has ended."""
        if not self.running:
            raise DemoError(f"The backend ended:\n{self.log.read_text()[-2000:]}")
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{self.url}/health", timeout=2).ok
        return False

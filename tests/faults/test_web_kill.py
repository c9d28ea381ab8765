"""F2: the web process is killed under load; what it had answered is stored, and it comes back."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import requests

from backend.commands.serve import LONG_RUN_SECONDS
from backend.store.database import Store

ROOT = Path(__file__).resolve().parents[2]
PROJECT, CLIENTS = 7, 8
BACK_SECONDS = {True: 5.0, False: 60.0}  # beside other tests, a start takes longer
VICTIMS = ("master", "worker", "all")
"""Who gets SIGKILL: gunicorn's master, the process that answers, or all of them at once."""


class Served:
    """`python -m backend serve` on a data directory with one project, and clients that call it."""

    def __init__(self, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.store = Store(folder / "data")
        self.store.update_project(PROJECT)
        environment = {
            **os.environ, "MODEL_DIR": str(folder / "data"), "PORT": str(self.port),
            "POLL_SECONDS": "3600", "OMP_NUM_THREADS": "1", "LOG_LEVEL": "WARNING",
        }  # fmt: skip
        self.log = (folder / "log").open("wb")
        command = [sys.executable, "-m", "backend", "serve"]
        self.popen = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=self.log, stderr=self.log
        )
        self.answered = {}  # status -> how many webhooks
        self._lock, self._over = threading.Lock(), threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(CLIENTS)]

    def __enter__(self):
        self.wait_until_up(120)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.end_load()
        self.popen.terminate()
        self.popen.wait(30)
        self.log.close()
        self.store.close()

    def _send(self):
        """Send webhooks one after the other, each on a connection of its own as Label Studio."""
        body = {"action": "ANNOTATION_CREATED"}
        while not self._over.is_set():
            with contextlib.suppress(requests.RequestException):
                answer = requests.post(
                    f"{self.url}/webhook?project={PROJECT}", json=body, timeout=10
                )
                with self._lock:
                    self.answered[answer.status_code] = self.answered.get(answer.status_code, 0) + 1

    def end_load(self):
        self._over.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def wait_until_up(self, within):
        """Wait until it answers on a new connection; the seconds that it took."""
        began = time.monotonic()
        while time.monotonic() - began < within:
            with contextlib.suppress(requests.RequestException):
                if requests.get(f"{self.url}/health", timeout=1).ok:
                    return time.monotonic() - began
            time.sleep(0.02)  # between two looks, up to the deadline
        raise AssertionError(f"not up within {within} s: {self.log.name}")

    def kill(self, victim):
        """SIGKILL; the pids that are gone."""
        supervisor = psutil.Process(self.popen.pid)
        master = next(c for c in supervisor.children() if "gunicorn" in " ".join(c.cmdline()))
        workers = master.children()
        chosen = {"master": [master], "worker": workers, "all": [master, *workers]}[victim]
        for process in chosen:
            process.send_signal(signal.SIGKILL)
        psutil.wait_procs(chosen[:1], timeout=10)
        return {process.pid for process in chosen}


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.fault("F2")
def test_answered_webhooks_outlive_a_killed_web_process(tmp_path, figures, full):
    back = []
    with Served(tmp_path) as served:
        for number in range(12 if full else 1):
            if number:  # a process that dies soon after its start comes back after longer pauses
                time.sleep(LONG_RUN_SECONDS + 1)
            time.sleep(1)  # of load, so that requests are under way when it dies
            served.kill(VICTIMS[number % len(VICTIMS)])
            back.append(served.wait_until_up(60))
        time.sleep(1)  # of load for the process that came back
        served.end_load()
        answered, late = (served.answered.get(status, 0) for status in (200, 202))
        recorded = served.store.event_counts(PROJECT)["changed"]
    lost = max(answered - recorded, 0)
    # 202 says that nothing was recorded in time, and that the worker's next poll finds the change.
    figures(kills=len(back), webhooks=answered, late=late, lost=lost, back_s=round(max(back), 2))
    assert answered > 0 and lost == 0, served.answered
    assert max(back) <= BACK_SECONDS[full]
    assert set(served.answered) <= {200, 202}

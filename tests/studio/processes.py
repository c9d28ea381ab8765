"""Real processes of the backend for the studio tests: started, and killed on demand."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KILLED_WORKER = Path(__file__).with_name("killed_worker.py")
PATIENCE = 240.0  # seconds


def wait_for(check, what, within=PATIENCE, pause=0.1):
    """Wait for a true value of `check`, and return it."""
    limit = time.monotonic() + within
    while not (found := check()):
        assert time.monotonic() < limit, f"waited {within} s in vain for {what}"
        time.sleep(pause)
    return found


class Process:
    """A process of the backend; its output goes to a log file."""

    def __init__(self, command, environment, log):
        self.log = log
        with log.open("ab") as out:
            self.popen = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    @property
    def running(self):
        return self.popen.poll() is None

    def end(self, number=signal.SIGKILL):
        """Send a signal to the process group and wait; SIGKILL after 15 s."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, number)
        try:
            self.popen.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(self.popen.pid, signal.SIGKILL)
            self.popen.wait(15)


class Workers:
    """Starts one worker at a time; each can be killed at a given step (see killed_worker.py)."""

    def __init__(self, environment, log):
        self.log = log
        with log.open("ab") as out:
            self.popen = subprocess.Popen(
                [sys.executable, str(KILLED_WORKER)],
                cwd=ROOT,
                env={**environment, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=out,
                text=True,
                start_new_session=True,
            )
        self.pid = 0

    def start(self, step="-", moment="-"):
        """Start a worker. With a step and a moment, it gets SIGKILL there."""
        self.popen.stdin.write(f"{step} {moment}\n")
        self.popen.stdin.flush()
        self.pid = int(self._line())

    def killed(self):
        """Wait until the worker has ended; it must have ended by SIGKILL."""
        code = int(self._line())
        self.pid = 0
        assert code == -signal.SIGKILL, self.log.read_text()[-3000:]

    def kill(self):
        """Kill the worker by SIGKILL, now."""
        os.kill(self.pid, signal.SIGKILL)
        self.killed()

    def stop(self):
        """End the worker by SIGTERM."""
        if self.pid:
            os.kill(self.pid, signal.SIGTERM)
            self.pid = int(self._line()) * 0

    def close(self):
        """End the worker and the process that starts them."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
        self.popen.stdin.close()
        self.popen.stdout.close()
        self.popen.wait(30)

    def _line(self):
        ready, _, _ = select.select([self.popen.stdout], [], [], PATIENCE)
        assert ready, self.log.read_text()[-3000:]
        return self.popen.stdout.readline()

"""Claims let several processes share the work of a run.

A claim is a file with the name of the work. It names the process that made it, its owner. The owner
touches it every BEAT seconds. Another process takes over a claim at once if the owner was a process
of this machine and has ended. If the owner is on another machine, it takes over after STALE seconds
without a touch. A container with its own process ids counts as another machine.

Claims only save work. A row is never written twice, whatever happens to a claim, because the row
log refuses a row that it already has.

All changes of claims happen under a lock (flock). To take over a claim, a process removes it and
makes another; without the lock it could remove a claim that a third process has just made. So the
folder must be on a file system with flock. NFS has it since Linux 2.6.12.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from urllib.parse import quote, unquote

import psutil

from taudis.errors import DataError

BEAT = 20.0
"""Seconds between two touches of a claim."""
STALE = 300.0
"""Seconds without a touch after which a claim of another machine is taken over."""

CLOCK_STEP = 5.0
"""Seconds up to which two start times of a process are the same; an adjusted clock moves them."""


class Lock:
    """The lock of a folder; one thread of one process holds it at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._thread = threading.Lock()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock in a `with` block. The system releases it when the process dies."""
        with self._thread, self.path.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError as error:
                raise DataError(
                    f"{self.path}: expected a file system with locks: {error}. Put the folder on"
                    " another one."
                ) from error
            yield

    def now(self) -> float:
        """The time of the file system's clock, the same for all machines. Needs the lock held."""
        os.utime(self.path)
        return self.path.stat().st_mtime


@dataclass(frozen=True)
class Owner:
    """The process that made a claim."""

    machine: str
    pid: int
    started: float  # start time by the machine's clock; a later process may have the same pid

    @classmethod
    def this_process(cls) -> Owner:
        """The owner of this process's claims."""
        return cls(_machine(), os.getpid(), _started(os.getpid()) or 0.0)

    def is_dead(self) -> bool:
        """Whether it was a process of this machine that has ended."""
        if self.machine != _machine():
            return False
        started = _started(self.pid)
        return started is None or abs(started - self.started) > CLOCK_STEP


def _machine() -> str:
    """A text that differs between machines, and between containers with their own process ids."""
    parts = [socket.gethostname()]
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        try:
            parts.append(_text(path))
        except OSError:  # not Linux
            parts.append("")
    return "/".join(parts)


def _text(path: str) -> str:
    """The content of a file below /proc, or the target of a link."""
    found = Path(path)
    return str(found.readlink()) if found.is_symlink() else found.read_text("ascii").strip()


def _started(pid: int) -> float | None:
    """The start time of a process of this machine; None if it has ended."""
    try:
        process = psutil.Process(pid)
        ended = process.status() == psutil.STATUS_ZOMBIE
        return None if ended else process.create_time()
    except psutil.NoSuchProcess:
        return None


def _owner_of(path: Path) -> Owner | None:
    try:
        return Owner(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def claimed_by(folder: Path, owner: Owner) -> list[str]:
    """The names of the claims of a process, which may have died since."""
    return [unquote(path.name) for path in folder.iterdir() if _owner_of(path) == owner]


class Claims:
    """The claims of a run. As a context manager, it touches the claims of this process."""

    def __init__(
        self, folder: Path, lock: Lock, *, beat: float = BEAT, stale: float = STALE
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.lock, self.beat, self.stale = folder, lock, beat, stale
        self.owner = Owner.this_process()
        self._held: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._touch_all, name="claims", daemon=True)

    def __enter__(self) -> Claims:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        for name in list(self._held):
            self.release(name)

    def take(self, name: str) -> bool:
        """Claim the work called `name`; False if another process has it. Raises OSError."""
        path = self._path(name)
        with self.lock.held():
            if path.exists():
                if not self._is_free(path):
                    return False
                path.unlink()
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(asdict(self.owner), file)
            self._held.add(name)
        return True

    def release(self, name: str) -> None:
        """Give up a claim; nothing happens if another process took it over."""
        with self.lock.held():
            self._held.discard(name)
            if _owner_of(self._path(name)) == self.owner:
                self._path(name).unlink()

    def is_lost(self, name: str) -> bool:
        """Whether another process took over the claim, because this one seemed dead."""
        return _owner_of(self._path(name)) != self.owner

    def _path(self, name: str) -> Path:
        return self.folder / quote(name, safe="@=+")

    def _is_free(self, path: Path) -> bool:
        """Whether a claim may be taken over. Needs the lock held."""
        owner = _owner_of(path)
        if owner is None:  # the owner died while it wrote the file, which it does under the lock
            return True
        return owner.is_dead() or self.lock.now() - path.stat().st_mtime > self.stale

    def _touch_all(self) -> None:
        """Touch the claims of this process until the context manager exits."""
        while not self._stop.wait(self.beat):
            for name in list(self._held):
                try:
                    os.utime(self._path(name))
                except OSError:  # the claim is gone, or the disk is unavailable for a moment
                    continue

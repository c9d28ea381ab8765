"""Claims: which process works on what, so that several processes share a run.

A claim is a file with the name of the work, made with O_EXCL. It holds who made it. The owner
touches it every BEAT seconds. A claim is taken over at once if its owner is a dead process of this
machine, and after STALE seconds without a touch if the owner is on another machine (a container
with process ids of its own counts as one).

Claims only prevent that work is done twice. A row is written once, whatever happens to a claim: the
row log refuses a row that it has.

All changes are made under one lock (flock), since to take over is to remove a claim and make
another: without it a process could remove the claim that a second one has just taken over. So the
folder must be on a file system with flock; NFS has it since Linux 2.6.12.
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
"""Start times that are nearer to each other are the same: an adjusted clock moves them a little."""


class Lock:
    """The lock of a folder; one process, and in it one thread, holds it at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._thread = threading.Lock()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock in a block. The system lets go of it when the process dies."""
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
        """The time by the clock of the file system, which all machines share. Hold the lock."""
        os.utime(self.path)
        return self.path.stat().st_mtime


@dataclass(frozen=True)
class Owner:
    """The process that made a claim."""

    machine: str
    pid: int
    started: float  # by the machine's clock: a later process may have the same number

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
    """What tells machines apart, and containers, whose process ids say nothing to each other."""
    parts = [socket.gethostname()]
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        try:
            parts.append(_text(path))
        except OSError:  # not Linux
            parts.append("")
    return "/".join(parts)


def _text(path: str) -> str:
    """What a file of the system says, or where it points to."""
    found = Path(path)
    return str(found.readlink()) if found.is_symlink() else found.read_text("ascii").strip()


def _started(pid: int) -> float | None:
    """When a process of this machine started; None for one that has ended."""
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
    """The names of the work that a process has claimed, or had when it died."""
    return [unquote(path.name) for path in folder.iterdir() if _owner_of(path) == owner]


class Claims:
    """The claims of a run, as this process sees them; a context manager that touches its own."""

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
        """Give a claim back; nothing happens if another process took it over."""
        with self.lock.held():
            self._held.discard(name)
            if _owner_of(self._path(name)) == self.owner:
                self._path(name).unlink()

    def is_lost(self, name: str) -> bool:
        """Whether another process took the claim over, since this one seemed dead."""
        return _owner_of(self._path(name)) != self.owner

    def _path(self, name: str) -> Path:
        return self.folder / quote(name, safe="@=+")

    def _is_free(self, path: Path) -> bool:
        """Whether a claim may be taken over. Hold the lock."""
        owner = _owner_of(path)
        if owner is None:  # killed before it had written its name: a maker holds the lock, too
            return True
        return owner.is_dead() or self.lock.now() - path.stat().st_mtime > self.stale

    def _touch_all(self) -> None:
        """Touch the claims of this process until it is closed."""
        while not self._stop.wait(self.beat):
            for name in list(self._held):
                try:
                    os.utime(self._path(name))
                except OSError:  # taken over and given back, or the disk is away for a moment
                    continue

"""A cache of image files on disk, of bounded size. It evicts the least recently used file first."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from pathlib import Path

from taudis import files

logger = logging.getLogger(__name__)


class FileCache:
    """Bytes by key in one folder. Thread-safe, and several processes may share the folder.

    A file's mtime is the time of `put`, its atime the time of the last use.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._total: int | None = None  # None: not counted yet

    def _path(self, key: str) -> Path:
        return self.folder / hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()

    def get(self, key: str, since: float = 0.0) -> bytes | None:
        """The bytes of a key; None if there are none, or from before `since` (epoch seconds)."""
        path = self._path(key)
        try:
            put = path.stat().st_mtime_ns
            if put < since * 1e9:
                return None
            data = path.read_bytes()
            os.utime(path, ns=(time.time_ns(), put))
        except OSError:
            return None
        return data

    def put(self, key: str, data: bytes) -> None:
        """Store bytes. If the disk is full or not writable, logs a warning and raises nothing."""
        if len(data) > self.max_bytes:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Not durable: a file damaged by a power cut does not decode, and is fetched again.
            files.write_bytes(self._path(key), data, private=True, durable=False)
            self._make_room(len(data))
        except OSError as error:
            logger.warning("The image cache cannot be written: %s", error.strerror)

    def remove(self, key: str) -> None:
        """Delete the bytes of a key."""
        try:
            self._path(key).unlink(missing_ok=True)
        except OSError as error:
            logger.warning("A broken cached image cannot be removed: %s", error.strerror)

    def _make_room(self, added: int) -> None:
        with self._lock:
            if self._total is not None:
                self._total += added
            if self._total is None or self._total > self.max_bytes:
                self._total = self._evict()

    def _evict(self) -> int:
        """Delete the least recently used files until a tenth is free. Returns the bytes left."""
        files = []
        for entry in os.scandir(self.folder):
            try:
                status = entry.stat()
            except FileNotFoundError:  # another process deleted it
                continue
            files.append((status.st_atime_ns, status.st_size, Path(entry.path)))
        total = sum(size for _, size, _ in files)
        if total <= self.max_bytes:
            return total
        for _, size, path in sorted(files):
            if total <= self.max_bytes * 0.9:
                break
            path.unlink(missing_ok=True)
            total -= size
        return total

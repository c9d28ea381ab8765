"""Distinguishes a disk that takes no writes (full, read-only, over a quota) from other errors.

After such an error a round stays open and continues once there is space. If only a single file
cannot be read or written, the round fails.
"""

from __future__ import annotations

import errno
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backend.errors import DiskRefused, StoreError
from taudis.files import write_bytes

_OF_WRITES = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}
_OF_READS_TOO = {errno.EACCES, errno.EPERM, errno.EIO}
"""These codes also come from reading a file, so they alone do not prove a fault of the disk."""
_OF_SQLITE = {
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN,
}  # fmt: skip
_OF_RUST = re.compile(r"\(os error (\d+)\)")
"""The text in safetensors' errors, which are no OSError, if a file cannot be written."""


@contextmanager
def refusals(data_dir: Path) -> Iterator[None]:
    """Raise DiskRefused if the block fails because the disk takes no writes."""
    try:
        yield
    except Exception as error:
        words = refusal(error, data_dir)
        if not words:
            raise
        raise DiskRefused(
            f"The data directory {data_dir} cannot be written: {words}. Free disk space, or check"
            " the directory's rights; the work then resumes automatically."
        ) from error


def refusal(error: BaseException, data_dir: Path) -> str:
    """Why the disk takes no writes, in the system's words; '' if that is not the cause.

    If the error may come from a read, a trial write to the data directory decides.
    """
    if isinstance(error, StoreError) and error.__cause__ is not None:
        error = error.__cause__
    error = getattr(error, "orig", None) or error
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", 0)  # the driver's own errors have no code
        return str(error) if code & 0xFF in _OF_SQLITE else ""  # the low byte is the kind
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (found := _OF_RUST.search(str(error))):
        number = int(found[1])
    if number in _OF_WRITES or (number in _OF_READS_TOO and not _takes_writes(data_dir)):
        return os.strerror(number)
    return ""


def _takes_writes(folder: Path) -> bool:
    """Whether a small trial file can be written to a folder. Removes the file."""
    try:
        path = folder / f".trial-{os.getpid()}"
        write_bytes(path, b"trial")  # with fsync, because some disks report failures only then
        path.unlink()
    except OSError:
        return False
    return True

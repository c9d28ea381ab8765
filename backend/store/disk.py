"""Tells a disk that takes no write now (full, read-only, over a quota) from every other error.

A round that meets such an error stays open. It goes on when there is space again. A file that
cannot be read, or one file that cannot be written, is another error: the round fails.
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
"""These say nothing of the disk by themselves: a file that is read meets them as well."""
_OF_SQLITE = {
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN,
}  # fmt: skip
_OF_RUST = re.compile(r"\(os error (\d+)\)")
"""How safetensors, which raises no OSError, says that a file cannot be written."""


@contextmanager
def refusals(data_dir: Path) -> Iterator[None]:
    """Raise DiskRefused where a block fails because the disk takes no write."""
    try:
        yield
    except Exception as error:
        words = refusal(error, data_dir)
        if not words:
            raise
        raise DiskRefused(
            f"The data directory {data_dir} cannot be written: {words}. Free disk space, or check"
            " the directory's rights; the work goes on by itself."
        ) from error


def refusal(error: BaseException, data_dir: Path) -> str:
    """Why the disk takes no write, in the system's words; '' if that is not the cause.

    Where the error may come from a read, a trial file in the data directory decides.
    """
    if isinstance(error, StoreError) and error.__cause__ is not None:
        error = error.__cause__
    error = getattr(error, "orig", None) or error
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", 0)  # of the driver's own errors there is none
        return str(error) if code & 0xFF in _OF_SQLITE else ""  # the low byte is the kind
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (found := _OF_RUST.search(str(error))):
        number = int(found[1])
    if number in _OF_WRITES or (number in _OF_READS_TOO and not _takes_writes(data_dir)):
        return os.strerror(number)
    return ""


def _takes_writes(folder: Path) -> bool:
    """Whether a file of a few bytes can be written in a folder; it is removed again."""
    try:
        path = folder / f".trial-{os.getpid()}"
        write_bytes(path, b"trial")  # synced: some disks say only then that they failed
        path.unlink()
    except OSError:
        return False
    return True

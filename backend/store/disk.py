"""Tells a disk that takes no write now (full, read-only, over a quota) from every other error.

Such an error is nobody's fault but the disk's: a round that meets it stays open, and goes on when
there is space again.
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

_NUMBERS = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO,
}  # fmt: skip
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
        words = refusal(error)
        if not words:
            raise
        raise DiskRefused(
            f"The data directory {data_dir} cannot be written: {words}. Free disk space, or check"
            " the directory's rights; the work goes on by itself."
        ) from error


def refusal(error: BaseException) -> str:
    """Why the disk takes no write, in the system's words; '' if that is not the cause."""
    if isinstance(error, StoreError) and error.__cause__ is not None:
        error = error.__cause__
    error = getattr(error, "orig", None) or error
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", 0)  # of the driver's own errors there is none
        return str(error) if code & 0xFF in _OF_SQLITE else ""  # the low byte is the kind
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (found := _OF_RUST.search(str(error))):
        number = int(found[1])
    return os.strerror(number) if number in _NUMBERS else ""

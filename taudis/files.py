"""Atomic writes: a reader finds the old file or the new one, never a part, whatever happens.

Every file that must not be found half-written goes through this module. The content is written to
a draft beside its place, flushed to the disk and renamed; then the folder is flushed, too, so that
a power cut does not undo the rename.

A sealed folder also holds `SHA256SUMS` over its files, in the format of `sha256sum`, so that a
reader detects a changed bit.
"""

from __future__ import annotations

import ctypes
import glob
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from taudis.errors import CheckpointError

SUMS = "SHA256SUMS"
_GUARD: ContextVar[Callable[[], None] | None] = ContextVar("guard", default=None)
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


@contextmanager
def guarded(check: Callable[[], None]) -> Iterator[None]:
    """Call `check` right before each file of this thread takes its name, or is removed, in a block.

    What it raises stops the write, and the old file stays. So a process that lost its right to
    write in the middle of its work writes nothing more.
    """
    before = _GUARD.set(check)
    try:
        yield
    finally:
        _GUARD.reset(before)


def check_guard() -> None:
    """Raise what the guard of this thread raises, if there is one; see `guarded`."""
    check = _GUARD.get()
    if check is not None:
        check()


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, 64 hexadecimal digits. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Flush a file's or a folder's content to the disk. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def move_into_place(draft: Path, path: Path) -> None:
    """Give a finished draft file its name, in place of what was there; both are on the disk then.

    Raises OSError.
    """
    sync(draft)
    check_guard()
    draft.replace(path)
    sync(path.parent)


@contextmanager
def draft_file(path: Path, *, private: bool = False, durable: bool = True) -> Iterator[Path]:
    """An empty file beside `path`, with its suffix, that takes its name when the block ends.

        with draft_file(path) as draft:
            figure.savefig(draft)

    An error in the block removes the draft; what was at `path` stays. A killed process leaves the
    draft (see `remove_drafts`).

    private: readable and writable by the owner alone, from the first byte on. durable: flushed to
    the disk; without it a power cut can leave a damaged file, which only a cache can afford.
    Raises OSError.
    """
    draft = _draft_of(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    os.close(os.open(draft, flags, 0o600 if private else 0o666))
    try:
        yield draft
        if durable:
            move_into_place(draft, path)
        else:
            draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, data: bytes, *, private: bool = False, durable: bool = True) -> None:
    """Write a file from bytes; see `draft_file`. Raises OSError."""
    with draft_file(path, private=private, durable=durable) as draft:
        draft.write_bytes(data)


def write_text(path: Path, text: str, *, private: bool = False) -> None:
    """Write a file of UTF-8 text, line ends as they are; see `draft_file`. Raises OSError."""
    write_bytes(path, text.encode("utf-8"), private=private)


def write_json(path: Path, value: Any, *, private: bool = False) -> None:
    """Write a value as JSON, piece by piece; see `draft_file`.

    Raises OSError, and TypeError or ValueError for a value that JSON cannot hold.
    """
    with draft_file(path, private=private) as draft, draft.open("w", encoding="utf-8") as file:
        json.dump(value, file)


def append_bytes(path: Path, data: bytes) -> None:
    """Add bytes to the end of a file in one write, flushed to the disk; makes a missing file.

    A killed process can leave a part of them. Raises OSError, also for a part of them.
    """
    with path.open("ab", buffering=0) as file:
        if file.write(data) != len(data):
            raise OSError(f"{path}: the disk did not take all of {len(data)} bytes.")
        os.fsync(file.fileno())


@contextmanager
def scratch_folder(folder: Path, prefix: str) -> Iterator[Path]:
    """A new folder in `folder`, removed when the block ends. A killed process leaves it.

    Raises OSError.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=prefix) as name:
        yield Path(name)


@contextmanager
def draft_folder(folder: Path, *, replace: bool = False, mode: int = 0o700) -> Iterator[Path]:
    """An empty folder beside `folder` that takes its name when the block ends.

    An error in the block removes the draft. A killed process leaves it (see `remove_drafts`).

    replace: take the place of a folder that holds something, too. A crash at any instant leaves
    the old folder or the new one at that name. (Where two names cannot be swapped, such as on NFS,
    two renames do it, and a crash between them leaves none; never a mixture.) mode: the permissions
    of the folder, less the process's umask. Raises OSError, also for a folder that holds something
    where `replace` is not given.
    """
    draft = _draft_of(folder)
    draft.mkdir(mode)
    try:
        yield draft
        for path in draft.iterdir():
            sync(path)
        sync(draft)
        check_guard()
        if replace and folder.exists():
            _swap(draft, folder)
        else:
            draft.rename(folder)
        sync(folder.parent)
    finally:
        if draft.exists():  # after a swap, its name belongs to the old folder
            shutil.rmtree(draft, ignore_errors=True)


def _draft_of(path: Path) -> Path:
    """A new name beside `path`: hidden, with the suffix that tells libraries the format."""
    return path.with_name(f".{path.name}.draft-{secrets.token_hex(8)}{path.suffix}")


def remove_drafts(path: Path) -> None:
    """Remove the drafts of `path` that killed writers left. For the only writer of that name."""
    check_guard()
    for left in path.parent.glob(f".{glob.escape(path.name)}.draft-*"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _swap(draft: Path, folder: Path) -> None:
    """Give a draft the name of a folder, and the folder the name of the draft."""
    if not exchange(draft, folder):
        old = _draft_of(folder)
        folder.rename(old)
        draft.rename(folder)
        old.rename(draft)


def _sums(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir() if path.name != SUMS)
    return "".join(f"{sha256_of(folder / name)}  {name}\n" for name in names)


def exchange(one: Path, other: Path) -> bool:
    """Swap the names of two folders in one step; False where system or file system cannot.

    Python has no call for it: rename replaces a folder only if that is empty.
    """
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):  # not Linux
        return False
    paths = os.fsencode(one), os.fsencode(other)
    done = renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], ctypes.c_uint(_RENAME_EXCHANGE))
    return int(done) == 0


def write_sealed(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill an empty folder, seal it, and put it at `folder`; see `draft_folder`.

    For one writer of a name at a time: drafts that killed writers left are removed. Raises OSError,
    and what `write` raises.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with draft_folder(folder, replace=True) as draft:
        write(draft)
        (draft / SUMS).write_text(_sums(draft), encoding="utf-8")
    remove_drafts(folder)


def verify_sealed(folder: Path, names: tuple[str, ...]) -> None:
    """Check that `folder` holds exactly `names`, each with the bytes that were sealed.

    Raises CheckpointError that names the file: missing, cut, or changed by as little as one bit.
    """
    while True:
        before = _identity(folder)
        try:
            return _verify(folder, names)
        except CheckpointError:
            if _identity(folder) == before:
                raise
        # It was replaced while we read, half of the old and half of the new: look again.


def _identity(folder: Path) -> tuple[int, int] | None:
    """Which folder has this name, and since when; None for none."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_ino, found.st_ctime_ns


def _verify(folder: Path, names: tuple[str, ...]) -> None:
    """One look by `verify_sealed`."""
    for name in (SUMS, *names):
        if not (folder / name).is_file():
            raise CheckpointError(
                f"{folder / name}: expected a checkpoint file, found none. Restore the folder from"
                " a backup or train again."
            )
    try:
        lines = (folder / SUMS).read_text(encoding="ascii").splitlines(keepends=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / SUMS}: cannot be read: {error}.") from error
    expected = [f"  {name}\n" for name in sorted(names)]
    if [line[64:] for line in lines] != expected:
        raise CheckpointError(
            f"{folder / SUMS}: expected one line for each of {sorted(names)}; it is damaged."
        )
    for line in lines:
        path = folder / line[66:-1]
        try:
            found = sha256_of(path)
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read: {error}.") from error
        if found != line[:64]:
            raise CheckpointError(
                f"{path}: expected SHA-256 {line[:64]} (from {SUMS}), found {found}. The file is"
                " damaged: restore it from a backup or train again."
            )

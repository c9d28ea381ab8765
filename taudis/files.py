"""Atomic writes: a reader finds the old file or the new file, never a part of it.

Every file that must not be found half-written is written by this module. The content is written to
a draft beside the file, flushed to the disk and renamed. Then the folder is flushed, so that a
power failure does not undo the rename.

A sealed folder also has `SHA256SUMS` of its files, in the format of `sha256sum`, so that a reader
detects any changed bit.
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
    """In a `with` block, call `check` before this thread renames a draft or removes drafts.

    If `check` raises an error, the write stops and the old file stays. So a process that has lost
    its right to write during its work writes nothing more.
    """
    before = _GUARD.set(check)
    try:
        yield
    finally:
        _GUARD.reset(before)


def check_guard() -> None:
    """Call the check of `guarded`, if this thread has one."""
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
    """Rename a finished draft to `path`, and replace an existing file. Both steps are flushed.

    Raises OSError.
    """
    sync(draft)
    check_guard()
    draft.replace(path)
    sync(path.parent)


@contextmanager
def draft_file(path: Path, *, private: bool = False, durable: bool = True) -> Iterator[Path]:
    """An empty file beside `path`, with its suffix, that is renamed to `path` after the block.

        with draft_file(path) as draft:
            figure.savefig(draft)

    An error in the block removes the draft and keeps the file at `path`. A killed process leaves
    the draft (see `remove_drafts`).

    private: only the owner can read and write the file. durable: flush to the disk; without it a
    power failure can leave a damaged file, which is acceptable only for a cache. Raises OSError.
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
    """Write a file of UTF-8 text, with unchanged line ends; see `draft_file`. Raises OSError."""
    write_bytes(path, text.encode("utf-8"), private=private)


def write_json(path: Path, value: Any, *, private: bool = False) -> None:
    """Write a value as JSON, piece by piece; see `draft_file`.

    Raises OSError, and TypeError or ValueError for values that JSON does not have.
    """
    with draft_file(path, private=private) as draft, draft.open("w", encoding="utf-8") as file:
        json.dump(value, file)


def append_bytes(path: Path, data: bytes) -> None:
    """Append bytes to a file in a single write, and flush it; a missing file is created.

    A killed process can leave a part of the bytes. Raises OSError, also if only a part is written.
    """
    with path.open("ab", buffering=0) as file:
        if file.write(data) != len(data):
            raise OSError(f"{path}: the disk did not take all of {len(data)} bytes.")
        os.fsync(file.fileno())


@contextmanager
def scratch_folder(folder: Path, prefix: str) -> Iterator[Path]:
    """A new folder in `folder` that is removed after the block. A killed process leaves it.

    Raises OSError.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=prefix) as name:
        yield Path(name)


@contextmanager
def draft_folder(folder: Path, *, replace: bool = False, mode: int = 0o700) -> Iterator[Path]:
    """An empty folder beside `folder` that is renamed to `folder` after the block.

    An error in the block removes the draft. A killed process leaves it (see `remove_drafts`).

    replace: whether to replace an existing folder that is not empty. A crash at any time leaves the
    old folder or the new one. (On file systems that cannot swap two names, such as NFS, two renames
    are used, and a crash between them leaves no folder, but never a mixture.) mode: the permissions
    of the folder, less the process's umask. Raises OSError, also for an existing folder that is not
    empty without `replace`.
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
        if draft.exists():  # after a swap, this is the old folder
            shutil.rmtree(draft, ignore_errors=True)


def _draft_of(path: Path) -> Path:
    """A new path beside `path`: hidden, with the suffix by which libraries detect the format."""
    return path.with_name(f".{path.name}.draft-{secrets.token_hex(8)}{path.suffix}")


def remove_drafts(path: Path) -> None:
    """Remove drafts of `path` that killed writers left. `path` must have no other writer now."""
    check_guard()
    for left in path.parent.glob(f".{glob.escape(path.name)}.draft-*"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _swap(draft: Path, folder: Path) -> None:
    """Swap the names of a draft and a folder."""
    if not exchange(draft, folder):
        old = _draft_of(folder)
        folder.rename(old)
        draft.rename(folder)
        old.rename(draft)


def _sums(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir() if path.name != SUMS)
    return "".join(f"{sha256_of(folder / name)}  {name}\n" for name in names)


def exchange(one: Path, other: Path) -> bool:
    """Swap the names of two folders atomically; False if the system does not support it.

    Python has no function for it, and rename replaces only an empty folder.
    """
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):  # not Linux
        return False
    paths = os.fsencode(one), os.fsencode(other)
    done = renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], ctypes.c_uint(_RENAME_EXCHANGE))
    return int(done) == 0


def write_sealed(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill an empty folder, seal it, and rename it to `folder`; see `draft_folder`.

    `folder` must have no other writer, because drafts of killed writers are removed. Raises
    OSError, and the errors of `write`.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with draft_folder(folder, replace=True) as draft:
        write(draft)
        (draft / SUMS).write_text(_sums(draft), encoding="utf-8")
    remove_drafts(folder)


def verify_sealed(folder: Path, names: tuple[str, ...]) -> None:
    """Check that the sealed files of `folder` are exactly `names`, and that none has changed.

    Raises CheckpointError with the name of a missing, truncated or changed file.
    """
    while True:
        before = _identity(folder)
        try:
            return _verify(folder, names)
        except CheckpointError:
            if _identity(folder) == before:
                raise
        # The folder was replaced while it was read. Check the new one.


def _identity(folder: Path) -> tuple[int, int] | None:
    """A value that changes when another folder gets this name; None if there is no folder."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_ino, found.st_ctime_ns


def _verify(folder: Path, names: tuple[str, ...]) -> None:
    """A single check by `verify_sealed`."""
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

"""Files that are there wholly or not at all, and that say so when a bit has changed.

A sealed folder holds some files and a `SHA256SUMS` over them in the format of `sha256sum`. It is
written beside its place, flushed to the disk and moved there in one rename.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from taudis.errors import CheckpointError

SUMS = "SHA256SUMS"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


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
    """Let `write` fill an empty folder, seal it, and put it at `folder` in one step.

    What was at `folder` before is replaced: a crash at any instant leaves the old folder or the new
    one at that name. (Where two names cannot be swapped, such as on NFS, two renames do it, and a
    crash between them leaves none; never a mixture.) Raises OSError, and what `write` raises.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        write(draft)
        (draft / SUMS).write_text(_sums(draft), encoding="utf-8")
        for path in draft.iterdir():
            sync(path)
        sync(draft)
        if not (folder.exists() and exchange(draft, folder)):
            if folder.exists():
                folder.rename(Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent)))
            draft.rename(folder)
        sync(folder.parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    for left in folder.parent.glob(
        f".{folder.name}.*"
    ):  # the old one, and drafts of killed writers
        shutil.rmtree(left, ignore_errors=True)


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

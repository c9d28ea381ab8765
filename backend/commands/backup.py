"""Copies the data directory to one file while the backend runs, and restores it.

The file is a tar archive with the store, `models/`, `rounds/`, `predictions/`, `secrets/`, and a
list of all files with their sizes and SHA-256. The image cache is left out, because it fills again.
SQLite files are copied by SQLite's online backup, so the copies are consistent while others write.
All other files of the data directory are written atomically and never changed (`taudis.files`).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from backend.errors import StoreError
from backend.store.database import Store
from taudis.detector.card import code_version
from taudis.files import draft_file, draft_folder, scratch_folder, sha256_of

STORE = "store.sqlite3"
FOLDERS = ("models", "rounds", "predictions", "secrets")
LIST = "backup.json"
FORMAT = 1
ATTEMPTS = 3
"""Number of attempts: a copy is repeated if an old version is deleted during it."""
DRAFT = ".draft-"
"""Part of the names of unfinished files."""


@dataclass(frozen=True)
class Copied:
    """Figures about the content of an archive."""

    files: int
    size: int  # bytes
    made: float  # seconds since 1970
    projects: int

    def in_words(self) -> str:
        """The figures in words."""
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.made))
        return (
            f"{self.files} files, {self.size / 1e6:.1f} MB, {self.projects} projects, as of {made}"
        )


def backup(data_dir: Path, target: Path) -> Copied:
    """Write the archive, readable only by its owner, because it has access tokens.

    Raises:
        StoreError: there is no store, the target exists, or files were deleted during each of
            ATTEMPTS copies.
        OSError: a file cannot be read or written.
    """
    if not (data_dir / STORE).is_file():
        raise StoreError(
            f"{data_dir}: expected a data directory with {STORE}, found none. Set MODEL_DIR to the"
            " backend's."
        )
    if target.exists():
        raise StoreError(
            f"{target}: expected a new file, but it exists, and a backup overwrites none. Give"
            " another name, or move that file away first."
        )
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with draft_file(target, private=True) as draft:
                return _write(data_dir, draft)
        except FileNotFoundError as error:
            if attempt == ATTEMPTS:
                raise StoreError(
                    f"{error.filename}: went away while it was copied, {ATTEMPTS} times. Try again"
                    " when no round is at its end."
                ) from error
    raise AssertionError("unreachable")


def restore(source: Path, data_dir: Path) -> Copied:
    """Make a data directory from an archive, checked and atomically.

    Raises:
        StoreError: the directory is not empty, or the archive is truncated, changed or of another
            format.
        OSError: a file cannot be read or written.
    """
    if data_dir.exists() and any(data_dir.iterdir()):
        raise StoreError(
            f"{data_dir}: expected an empty or missing data directory. Stop the backend and move"
            " the directory away, or set MODEL_DIR to another one."
        )
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    try:
        with draft_folder(data_dir, replace=True) as draft:
            with tarfile.open(source, "r:") as archive:
                _extract(archive, draft, source)
            found = _checked(draft, source)
            Store(draft).close()  # refuses a store of a newer build
            (draft / LIST).unlink()
    except (tarfile.TarError, EOFError) as error:
        raise StoreError(f"{source}: expected a backup, got {error}. {_ELSE}") from error
    return found


_ELSE = "The file is damaged or something else: take another backup."


def _write(data_dir: Path, draft: Path) -> Copied:
    """Write the archive to a draft. Raises FileNotFoundError if a file is deleted meanwhile."""
    files: dict[str, dict[str, object]] = {}
    with (
        scratch_folder(draft.parent, ".backup-") as scratch,
        tarfile.open(draft, "w", format=tarfile.PAX_FORMAT) as archive,
    ):
        copy = scratch / "copy.sqlite3"
        # The store first: files that it names exist then, because rows are deleted before files.
        for path in (data_dir / STORE, *_files(data_dir)):
            name = path.relative_to(data_dir).as_posix()
            source = path
            if path.suffix == ".sqlite3":
                _copy_database(path, copy, roll_back=path != data_dir / STORE)
                source = copy
            files[name] = _add(archive, source, name)
            if path == data_dir / STORE:
                projects = _projects(copy)
        found = Copied(len(files), sum(int(str(f["bytes"])) for f in files.values()), time.time(),
                       projects)  # fmt: skip
        about = {
            "format": FORMAT, "code_version": code_version(), "made": found.made,
            "projects": projects, "files": files,
        }  # fmt: skip
        text = json.dumps(about).encode()
        archive.addfile(_entry(LIST, len(text)), io.BytesIO(text))
    return found


def _files(data_dir: Path) -> Iterator[Path]:
    """The files of the folders, without drafts and SQLite's own journals."""
    for folder in FOLDERS:
        for path in sorted((data_dir / folder).rglob("*")):
            drafted = any(DRAFT in part for part in path.relative_to(data_dir).parts)
            journal = path.name.endswith((".sqlite3-wal", ".sqlite3-shm", ".sqlite3-journal"))
            if path.is_file() and not drafted and not journal:
                yield path


def _add(archive: tarfile.TarFile, path: Path, name: str) -> dict[str, object]:
    """Add a file and return its list entry. Opened once, as another file may get the name."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.tell()
        file.seek(0)
        archive.addfile(_entry(name, size), file)
    return {"sha256": digest, "bytes": size}


def _entry(name: str, size: int) -> tarfile.TarInfo:
    """The header of a file, without user names of this machine."""
    header = tarfile.TarInfo(name)
    header.size, header.mode, header.mtime = size, 0o600, int(time.time())
    return header


def _copy_database(path: Path, copy: Path, *, roll_back: bool) -> None:
    """Make a consistent copy of a SQLite file that others may write to now.

    `roll_back`: open the file for writing, with query_only. A worker killed during a write leaves a
    journal beside a predictions file, which only a writable connection can roll back. On a
    read-only disk, SQLite opens the file for reading.
    """
    mode = "rw" if roll_back else "ro"
    if not path.exists():
        raise FileNotFoundError(2, "No such file", str(path))
    copy.unlink(missing_ok=True)
    try:
        with (
            closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.execute("PRAGMA query_only = ON")
            source.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")
            bad = target.execute("PRAGMA quick_check").fetchone()[0]
    except sqlite3.DatabaseError as error:
        if not path.exists():  # deleted after the check above
            raise FileNotFoundError(2, "No such file", str(path)) from error
        raise StoreError(
            f"{path}: cannot be copied: {error}. Look whether this user may read it, then try"
            " again."
        ) from error
    if bad != "ok":
        raise StoreError(f"{path}: is damaged ({bad}), so there is no backup of it.")


def _projects(copy: Path) -> int:
    """The number of projects in a copy of the store."""
    with closing(sqlite3.connect(copy)) as db:
        return int(db.execute("SELECT COUNT(*) FROM projects").fetchone()[0])


def _extract(archive: tarfile.TarFile, folder: Path, source: Path) -> None:
    """Extract the files of a backup, readable only by their owner. Raises StoreError for others.

    `extractall` is not used, because its filters need Python 3.11.4 and Debian 12 has 3.11.2.
    """
    for entry in archive:
        parts = PurePosixPath(entry.name).parts
        known = parts and (entry.name in (STORE, LIST) or parts[0] in FOLDERS)
        content = archive.extractfile(entry) if entry.isreg() and known else None
        if content is None or ".." in parts:
            raise StoreError(f"{source}: expected files of a backup, got {entry.name!r}. {_ELSE}")
        path = folder.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with content, open(handle, "wb") as file:  # noqa: PTH123 (a handle, not a path)
            shutil.copyfileobj(content, file)


def _checked(folder: Path, source: Path) -> Copied:
    """Compare every file with the list. Returns its figures. Raises StoreError."""
    try:
        about = json.loads((folder / LIST).read_text(encoding="utf-8"))
        if about["format"] != FORMAT:
            raise StoreError(f"{source}: expected format {FORMAT}, got {about['format']!r}.")
        files = {str(name): str(each["sha256"]) for name, each in about["files"].items()}
        size = sum(int(each["bytes"]) for each in about["files"].values())
        found = Copied(len(files), size, float(about["made"]), int(about["projects"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"{source}: expected a backup with {LIST}, got {error!r}. {_ELSE}"
        ) from error
    there = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    } - {LIST}
    for name in sorted(there ^ set(files)):
        what = "is not in its list" if name in there else "is missing"
        raise StoreError(f"{source}: {name} {what}. {_ELSE}")
    for name, digest in files.items():
        if sha256_of(folder / name) != digest:
            raise StoreError(f"{source}: {name} is not what was copied. {_ELSE}")
    return found

"""The predictions of one round on disk, in one SQLite file.

It has three tables: the regions of each task as JSON for Label Studio, the order of the tasks, and
the blank tasks, whose regions are not given to people. The step `score` writes the regions, and the
step `select` writes the order and the blank tasks. The step `publish` copies the JSON into its
post, so each region is encoded once. /predict answers from the file without a model. The file is
separate from the store, so its large rows never delay a webhook.

People get a task's regions with a sentence that says why the image was chosen. The editor shows the
sentence as a region's meta text (docs/decisions/0033-the-sentence-in-the-editor.md).
"""

from __future__ import annotations

import json
import re
import sqlite3
import zlib
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from backend.errors import StoreError
from taudis.files import check_guard, draft_file, remove_drafts

Region = dict[str, Any]
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LATER_ATTEMPT = re.compile(r"(taudis-\d{4,}-[0-9a-f]+)-\d+")
FORM = 2
"""The version of the file format, in `user_version`. Raise it with each change of the tables."""
_SCHEMA = f"""
CREATE TABLE regions (task INTEGER PRIMARY KEY, bytes INTEGER NOT NULL, packed BLOB NOT NULL);
CREATE TABLE places (
    rank INTEGER PRIMARY KEY, task INTEGER NOT NULL UNIQUE, score REAL NOT NULL,
    reason TEXT NOT NULL
);
CREATE TABLE blank (task INTEGER PRIMARY KEY);
PRAGMA user_version = {FORM};
"""
NO_REGIONS = b"[]"
WHY = "Why this image: "
"""The beginning of the sentence in the editor."""
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Place:
    """The place of one task in the order. Label Studio serves the lowest score first."""

    task: int
    rank: int  # 1..N
    score: float  # rank / N, in (0, 1]
    reason: str


@dataclass(frozen=True)
class Prediction:
    """The answer of /predict for one task: its score and its regions."""

    score: float
    result: list[Region]  # [] shows nothing


# --- names ----------------------------------------------------------------------------------------


def first_attempt(version: str) -> str:
    """The name of a round's first publish attempt: taudis-0007-65a1-2 -> taudis-0007-65a1.

    All attempts of a round share one file, and at most one attempt is served. Other names are
    returned unchanged.
    """
    later = _LATER_ATTEMPT.fullmatch(version)
    return later[1] if later else version


def path_of(data_dir: Path, project: int, version: str) -> Path:
    """The predictions file of a version.

    Raises:
        StoreError: the version is not a name of this backend. Its path could lead outside the
            data directory.
    """
    if not _VERSION.fullmatch(version):
        raise StoreError(f"Not a model version of this backend: {version[:80]!r}.")
    return data_dir / "predictions" / str(int(project)) / f"{first_attempt(version)}.sqlite3"


# --- why this image ------------------------------------------------------------------------------


def with_reason(regions: bytes, reason: str) -> bytes:
    """Regions as JSON, with the reason as the meta text of the first region.

    `[]` is unchanged, because Label Studio shows no text for a prediction without regions. Other
    meta of the region is kept.
    """
    if not reason or regions == NO_REGIONS:
        return regions
    text = regions.decode("ascii")
    first, end = _DECODER.raw_decode(text, 1)  # skips the other regions, which may be long
    first["meta"] = {**first.get("meta", {}), "text": [WHY + reason]}
    return f"[{json.dumps(first)}{text[end:]}".encode("ascii")


def room_for(reason: str) -> int:
    """The maximum number of bytes that `with_reason` adds."""
    return len(json.dumps({"meta": {"text": [WHY + reason]}})) + 2 if reason else 0


# --- writing --------------------------------------------------------------------------------------


@contextmanager
def writing(path: Path) -> Iterator[Callable[[int, list[Region] | bytes], None]]:
    """Write a new file: call the yielded function with each task id and its regions, [] for none.

    Regions may also be given as JSON (`Stored.found`).

    The file appears when the block ends without an error. Until then the previous file stays.
    Regions are written at once, because those of a large pool do not fit in memory. `set_order`
    gives the tasks their places.

    Raises:
        StoreError: the file cannot be written, or a region has a number that is not finite.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_drafts(path)  # first, because drafts may fill the disk
    with (
        _errors_of(path, "written"),
        draft_file(path) as draft,
        closing(sqlite3.connect(draft)) as db,
        db,
    ):
        db.executescript(_SCHEMA)

        def add(task: int, regions: list[Region] | bytes) -> None:
            text = regions if isinstance(regions, bytes) else _json_of(task, regions)
            row = (task, len(text), zlib.compress(text, 1))
            db.execute("INSERT INTO regions VALUES (?, ?, ?)", row)

        yield add


def set_order(path: Path, places: Iterable[Place]) -> int:
    """Replace the order of a file in one transaction. Returns the number of places.

    If the worker is killed meanwhile, the previous order stays.

    Raises:
        StoreError: there is no such file, or it cannot be read or written.
    """
    rows = ((each.rank, each.task, each.score, each.reason) for each in places)
    with _opened(path, "rw") as db, db:
        db.execute("DELETE FROM places")
        db.executemany("INSERT INTO places VALUES (?, ?, ?, ?)", rows)
        (count,) = db.execute("SELECT count(*) FROM places").fetchone()
        check_guard()
    return int(count)


def set_blank(path: Path, tasks: Iterable[int]) -> int:
    """Replace the blank tasks of a file in one transaction. Returns their number.

    Raises StoreError as `set_order` does.
    """
    with _opened(path, "rw") as db, db:
        db.execute("DELETE FROM blank")
        db.executemany("INSERT INTO blank VALUES (?)", ((task,) for task in tasks))
        (count,) = db.execute("SELECT count(*) FROM blank").fetchone()
        check_guard()
    return int(count)


def _json_of(task: int, regions: list[Region]) -> bytes:
    """Regions as JSON for a post to Label Studio."""
    try:
        return json.dumps(regions, allow_nan=False).encode("ascii")
    except ValueError as error:
        raise StoreError(
            f"Task {task}: expected finite numbers in the regions that the model found, got others"
            f" ({error}). Train again; if it stays, promote an earlier model."
        ) from error


# --- reading --------------------------------------------------------------------------------------


def read(path: Path, tasks: Iterable[int]) -> dict[int, Prediction]:
    """The predictions of the given tasks as people see them.

    Tasks without a place are left out. A blank task has no regions.

    Raises:
        StoreError: there is no such file, or it cannot be read.
    """
    query = (
        "SELECT score, iif(blank.task IS NULL, packed, NULL), reason FROM places"
        " LEFT JOIN regions ON regions.task = places.task"
        " LEFT JOIN blank ON blank.task = places.task WHERE places.task = ?"
    )
    found = {}
    with _opened(path, "ro") as db:
        for task in tasks:
            row = db.execute(query, (task,)).fetchone()
            if row is not None:
                score, packed, reason = row
                found[task] = Prediction(score, json.loads(with_reason(_unpacked(packed), reason)))
    return found


def order(path: Path) -> list[Place]:
    """The places of a file, rank 1 first. Raises StoreError as `read` does."""
    with _opened(path, "ro") as db:
        rows = db.execute("SELECT task, rank, score, reason FROM places ORDER BY rank")
        return [Place(*row) for row in rows]


def head(path: Path, limit: int, without: Container[int] = ()) -> list[Place]:
    """The first `limit` places of tasks that are not in `without`.

    Raises StoreError as `read` does.
    """
    with _opened(path, "ro") as db:
        rows = db.execute("SELECT task, rank, score, reason FROM places ORDER BY rank")
        return list(islice((Place(*row) for row in rows if row[0] not in without), limit))


def ranks(path: Path) -> dict[int, int]:
    """Task id -> rank. Raises StoreError as `read` does."""
    with _opened(path, "ro") as db:
        return dict(db.execute("SELECT task, rank FROM places").fetchall())


class Stored:
    """An open predictions file, for reading the JSON of many tasks one by one."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator[Stored]:
        """Open a file until the block ends. Raises StoreError as `read` does."""
        with _opened(path, "ro") as db:
            yield cls(db)

    def sizes(self) -> list[tuple[int, float, int]]:
        """Task id, score, and an upper bound of the bytes of `result`, rank 1 first."""
        none = len(NO_REGIONS)
        rows = self._db.execute(
            "SELECT places.task, score, iif(blank.task IS NULL, ifnull(bytes, ?), ?), reason"
            " FROM places LEFT JOIN regions ON regions.task = places.task"
            " LEFT JOIN blank ON blank.task = places.task ORDER BY rank",
            (none, none),
        )
        return [
            (task, score, size if size == none else size + room_for(reason))
            for task, score, size, reason in rows
        ]

    def result(self, task: int) -> bytes:
        """The regions that people see, as JSON: `[]` for a blank task.

        If the task has a place, the first region has the reason as its meta text.
        """
        if self.is_blank(task):
            return NO_REGIONS
        row = self._db.execute("SELECT reason FROM places WHERE task = ?", (task,)).fetchone()
        return with_reason(self.found(task), row[0] if row else "")

    def found(self, task: int) -> bytes:
        """The regions that the model found, also for a blank task. `[]` if it was not scored."""
        row = self._db.execute("SELECT packed FROM regions WHERE task = ?", (task,)).fetchone()
        return _unpacked(None if row is None else row[0])

    def is_blank(self, task: int) -> bool:
        """Whether the regions of a task are withheld from people."""
        return self._has("blank", task)

    def has_place(self, task: int) -> bool:
        """Whether a task is in the order."""
        return self._has("places", task)

    def was_scored(self, task: int) -> bool:
        """Whether a model has scored a task's image, even if it found nothing."""
        return self._has("regions", task)

    def _has(self, table: Literal["blank", "places", "regions"], task: int) -> bool:
        query = f"SELECT 1 FROM {table} WHERE task = ?"
        return self._db.execute(query, (task,)).fetchone() is not None


def _unpacked(packed: bytes | None) -> bytes:
    """The JSON of a task's regions. `[]` for a task that no model has scored."""
    return NO_REGIONS if packed is None else zlib.decompress(packed)


@contextmanager
def _opened(path: Path, mode: Literal["ro", "rw"]) -> Iterator[sqlite3.Connection]:
    """Open an existing file and check its format."""
    if not path.exists():
        raise StoreError(f"No predictions are stored at {path.name}: pruned, or never published.")
    with (
        _errors_of(path, "read" if mode == "ro" else "written"),
        # A killed writer leaves a journal, which only a writable connection can roll back. Readers
        # therefore also open the file for writing, and set query_only.
        closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as db,
    ):
        if mode == "ro":
            db.execute("PRAGMA query_only = ON")
        (form,) = db.execute("PRAGMA user_version").fetchone()
        if form != FORM:
            raise StoreError(
                f"{path.name}: expected predictions in form {FORM}, got form {form}, which another"
                " release wrote. The next round writes new ones: press Start Training."
            )
        yield db


@contextmanager
def _errors_of(path: Path, deed: str) -> Iterator[None]:
    """Turn an SQLite error, such as a full disk, into a StoreError that names the file."""
    try:
        yield
    except (sqlite3.Error, zlib.error) as error:
        raise StoreError(
            f"{path.name}: the predictions cannot be {deed} ({error}). Check the disk's free space"
            " and the rights of the data directory. If the file is damaged, delete it; the next"
            " round writes a new one."
        ) from error

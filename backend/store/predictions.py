"""A round's finished predictions on disk: one SQLite file a version, written once, then read only.

The worker writes it; /predict answers from it without a model. It is apart from the store so that
large blobs never stand in the way of a doorbell.
"""

from __future__ import annotations

import json
import re
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.errors import StoreError
from taudis.files import draft_file, remove_drafts

Region = dict[str, Any]
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SCHEMA = """
CREATE TABLE predictions (
    task INTEGER PRIMARY KEY, rank INTEGER NOT NULL, score REAL NOT NULL,
    reason TEXT NOT NULL, result BLOB NOT NULL
)
"""


@dataclass(frozen=True)
class Prediction:
    """What one task gets. Ascending `score` = rank / N is the order of the queue."""

    task: int
    rank: int  # 1..N, 1 is served first
    score: float  # rank / N, in (0, 1]
    reason: str
    result: list[Region]  # Label Studio regions; [] shows nothing


def path_of(data_dir: Path, project: int, version: str) -> Path:
    """The file of a version.

    Raises:
        StoreError: the version is not a name that this backend makes (no separators, no dots
            first), so it cannot lead outside the data directory.
    """
    if not _VERSION.fullmatch(version):
        raise StoreError(f"Not a model version of this backend: {version[:80]!r}.")
    return data_dir / "predictions" / str(int(project)) / f"{version}.sqlite3"


@contextmanager
def writing(path: Path) -> Iterator[Callable[[Prediction], None]]:
    """A version's file, filled one prediction at a time; there whole or not at all.

    One after the other, because the regions of a pool of large images do not fit in memory.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_drafts(path)  # first, since it may be these that fill the disk
    with draft_file(path) as draft, closing(sqlite3.connect(draft)) as db, db:
        db.execute(_SCHEMA)

        def add(found: Prediction) -> None:
            row = (found.task, found.rank, found.score, found.reason, pack(found.result))
            db.execute("INSERT INTO predictions VALUES (?, ?, ?, ?, ?)", row)

        yield add


def write(path: Path, predictions: Iterable[Prediction]) -> int:
    """Write a version's file, whole or not at all. Returns how many predictions it holds."""
    count = 0
    with writing(path) as add:
        for prediction in predictions:
            add(prediction)
            count += 1
    return count


def read(path: Path, tasks: Iterable[int]) -> dict[int, Prediction]:
    """The stored predictions of the given tasks; tasks without one are left out."""
    with closing(_open(path)) as db:
        found = {}
        for task in tasks:
            row = db.execute("SELECT * FROM predictions WHERE task = ?", (task,)).fetchone()
            if row is not None:
                found[task] = _prediction(row)
    return found


def in_order(path: Path) -> Iterator[Prediction]:
    """All predictions of a version, first-ranked first."""
    with closing(_open(path)) as db:
        for row in db.execute("SELECT * FROM predictions ORDER BY rank"):
            yield _prediction(row)


def ranks(path: Path) -> dict[int, int]:
    """Task id -> rank of a version, without its regions."""
    with closing(_open(path)) as db:
        return dict(db.execute("SELECT task, rank FROM predictions").fetchall())


class StoredRegions(Mapping[int, list[Region]]):
    """Task id -> regions of a version's file, each read when it is asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ranks = ranks(path)

    def __getitem__(self, task: int) -> list[Region]:
        return read(self._path, [task])[task].result

    def __iter__(self) -> Iterator[int]:
        return iter(self._ranks)

    def __len__(self) -> int:
        return len(self._ranks)


def pack(result: list[Region]) -> bytes:
    """Regions as compressed JSON."""
    return zlib.compress(json.dumps(result, separators=(",", ":")).encode(), 1)


def unpack(blob: bytes) -> list[Region]:
    """Regions from `pack`."""
    regions: list[Region] = json.loads(zlib.decompress(blob))
    return regions


def _open(path: Path) -> sqlite3.Connection:
    """Open read only. Raises StoreError if the file is not there."""
    if not path.exists():
        raise StoreError(f"No predictions are stored at {path.name}: pruned, or never published.")
    return sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)


def _prediction(row: tuple[int, int, float, str, bytes]) -> Prediction:
    """A prediction from its row."""
    return Prediction(*row[:4], unpack(row[4]))

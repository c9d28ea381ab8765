"""The SQLite file under the store: its engine, its transactions and its schema version.

The file is in WAL mode, so readers do not wait for a writer. A process killed at any instant leaves
the state before or after its transaction. `backend.store.seals` detects damaged rows when the file
is opened.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from backend.errors import StoreError
from backend.store import seals

SCHEMA_VERSION = 3
FIRST_SCHEMA = 2  # schema of the first release, without seals
BUSY_TIMEOUT_MS = 900  # for the web process: Label Studio waits 1 s for a webhook's answer
WORKER_BUSY_MS = 30_000  # for the worker, which rather waits for a busy disk than loses a round

SMALLEST_PAGE = 512  # bytes; no SQLite file is smaller
WRITTEN_LATER = ("models", "predictions", "rounds")
"""Folders of the data directory that are written only after the store's first rows."""

META = sa.MetaData()
about = sa.Table(
    "about", META, sa.Column("key", sa.Text, primary_key=True), sa.Column("value", sa.Text)
)


class Transactions:
    """Opens the store's file and runs its transactions. Safe for many threads and processes."""

    def __init__(self, data_dir: Path, *, busy_ms: int = BUSY_TIMEOUT_MS) -> None:
        """Open or create `data_dir/store.sqlite3`. Writes wait up to `busy_ms` for other writers.

        Raises:
            StoreError: the directory cannot be written, the file is damaged, or it was written by
                a newer release.
        """
        self.data_dir = Path(data_dir)
        self.path = self.data_dir / "store.sqlite3"
        self._engine = _engine(self.path, busy_ms)
        self._writer, self._patience = threading.Lock(), busy_ms / 1000
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        """Check the file, and create missing tables and seals. Raises StoreError."""
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            self._check_cut()
            with self.reading() as db:
                self._check_schema(db)
                seals.check(db, META.sorted_tables)
            with self.writing() as db:
                META.create_all(db)
                self._write_schema(db)
                seals.keep(db, META.sorted_tables)
        except _Unusable:
            raise
        except (sa.exc.DatabaseError, OSError, ValueError, StoreError) as error:
            raise StoreError(
                f"Cannot open the store {self.path}: {_cause(error)}. Check that the directory is"
                " writable and the disk not full; if the file is damaged, move it away (labels are"
                " safe in Label Studio) and connect the project again."
            ) from error

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def check_writable(self) -> None:
        """Raise StoreError unless a trial transaction can be written now. It leaves no row."""
        try:
            with self.writing() as db:
                db.execute(insert(about).values(key="probe", value=str(time.time())))
                db.execute(about.delete().filter_by(key="probe"))
        except sa.exc.SQLAlchemyError as error:
            raise StoreError(
                f"The store {self.path.name} cannot be written: {_cause(error)}. Check the disk's"
                " free space and the directory's rights."
            ) from error

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """One immediate write transaction. A lock lets one thread of this process write at a time.

        SQLite alone has no queue: a thread that finds the file locked sleeps up to 100 ms at a
        time, and other threads overtake it. Four threads waited up to 890 ms without the lock
        (`benchmarks.store_peers`).

        Raises:
            sqlalchemy.exc.OperationalError: other writes, by this or another process, took longer
                than `busy_ms`.
        """
        with self._turn() as left, self._engine.connect() as db:
            db.exec_driver_sql(f"PRAGMA busy_timeout={left}")
            db.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.exec_driver_sql("ROLLBACK")
                raise
            db.exec_driver_sql("COMMIT")

    @contextmanager
    def _turn(self) -> Iterator[int]:
        """Hold this process's write lock; yields the rest of `busy_ms` in milliseconds.

        Raises OperationalError after `busy_ms`.
        """
        began = time.monotonic()
        if not self._writer.acquire(timeout=self._patience):
            busy = sqlite3.OperationalError("database is locked")
            raise sa.exc.OperationalError("BEGIN IMMEDIATE", None, busy)
        try:
            waited = time.monotonic() - began
            yield max(1, round(1000 * (self._patience - waited)))
        finally:
            self._writer.release()

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """One consistent read transaction."""
        with self._engine.connect() as db:
            db.exec_driver_sql("BEGIN")
            try:
                yield db
            finally:
                db.exec_driver_sql("ROLLBACK")

    def _check_cut(self) -> None:
        """Refuse a truncated file, which SQLite would take for a new file."""
        later = [name for name in WRITTEN_LATER if (self.data_dir / name).exists()]
        if later and self.path.exists() and (size := self.path.stat().st_size) < SMALLEST_PAGE:
            raise StoreError(f"it has {size} bytes, though there is a folder {later[0]}")

    def _check_schema(self, db: sa.Connection) -> None:
        """Refuse a file of a newer release, or from before the first release. A new file passes."""
        if not sa.inspect(db).has_table(about.name):
            return
        text = db.execute(sa.select(about.c.value).filter_by(key="schema")).scalar_one_or_none()
        if text is None or not text.isdecimal():
            raise StoreError(f"expected the schema's number, got {text!r}")
        found = int(text)
        if found > SCHEMA_VERSION:
            raise _Unusable(
                f"{self.path} has schema {found}, this release knows up to {SCHEMA_VERSION}."
                " Install the release that wrote it, or a newer one."
            )
        if found < FIRST_SCHEMA:
            raise _Unusable(
                f"{self.path} has schema {found} of a build before the first release, expected"
                f" {SCHEMA_VERSION}. Move the file away (labels are safe in Label Studio) and"
                " connect the project again."
            )
        if found > FIRST_SCHEMA and not seals.are_kept(db):
            raise StoreError("the table of its seals is missing")

    def _write_schema(self, db: sa.Connection) -> None:
        """Write the schema version into a new file, or into a file of an earlier release."""
        wanted = str(SCHEMA_VERSION)
        db.execute(
            insert(about)
            .values(key="schema", value=wanted)
            .on_conflict_do_update(
                index_elements=["key"], set_={"value": wanted}, where=about.c.value != wanted
            )
        )


class _Unusable(StoreError):
    """The file is undamaged, but another release wrote it."""


def _engine(path: Path, busy_ms: int) -> sa.Engine:
    """An engine without automatic transactions: `writing` sends BEGIN IMMEDIATE."""
    engine = sa.create_engine(
        f"sqlite:///{path}", connect_args={"timeout": busy_ms / 1000}, pool_size=8
    )

    @sa.event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # keeps the driver from opening transactions
        seals.register(connection)
        for pragma in (
            "journal_mode=WAL",
            # NORMAL survives a killed process. FULL was measured at over 1 s per commit.
            "synchronous=NORMAL",
            "foreign_keys=ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "checkout")
    def _patience(connection: Any, _record: Any, _proxy: Any) -> None:
        # `writing` may have left a shorter timeout on this connection
        connection.execute(f"PRAGMA busy_timeout={busy_ms}")

    return engine


def _cause(error: Exception) -> str:
    """The driver's message, without SQL."""
    return str(getattr(error, "orig", None) or error)

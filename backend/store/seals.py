"""Seals: a checksum of each table, so that a flipped bit in the store's file is detected.

SQLite does not notice a changed value in a row. Each table therefore has a seal in the table
`seals`: the sum of the hashes of its rows. Triggers update the seal in the transaction of each
write. When the store is opened, `check` computes the sums again and compares them. The table
definitions also have a seal.

This file registers the hash function with SQLite. A write by another program fails with "no such
function: taudis_seal" and changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from backend.errors import StoreError

FUNCTION = "taudis_seal"
DEFINITIONS = "(definitions)"
"""The name of the seal of all table definitions."""
_BITS = (1 << 53) - 1  # the sum of two such numbers fits in SQLite's integers


def seal_of(*values: object) -> int:
    """The hash of a row's values, 53 bits."""
    text = repr(values).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") & _BITS


def register(connection: Any) -> None:
    """Register the hash function with a new connection of `sqlite3`."""
    connection.create_function(FUNCTION, -1, seal_of, deterministic=True)


def check(db: sa.Connection, tables: Iterable[sa.Table]) -> None:
    """Compare every seal with the rows of its table, and run SQLite's own integrity check.

    A file without seals passes: it is new, or an earlier build wrote it.

    Raises StoreError that names the damaged table.
    """
    there = _names(db)
    if "seals" not in there:
        return
    rows = db.exec_driver_sql("SELECT name, total FROM seals")
    known = {str(name): int(total) for name, total in rows}
    if known.get(DEFINITIONS) != definitions(db):
        raise StoreError("its table definitions are damaged")
    (state,) = db.exec_driver_sql("PRAGMA integrity_check(1)").fetchone() or ("",)
    if state != "ok":
        raise StoreError(f"its structure is damaged ({state})")
    for table in tables:
        if table.name in there and known.get(table.name) != _total(db, table):
            raise StoreError(f"a row of the table {table.name!r} is damaged")


def keep(db: sa.Connection, tables: Iterable[sa.Table]) -> None:
    """Seal the tables without a seal, and create the triggers that update the seals."""
    db.exec_driver_sql(
        "CREATE TABLE IF NOT EXISTS seals (name TEXT PRIMARY KEY, total INTEGER NOT NULL)"
    )
    known = {name for (name,) in db.exec_driver_sql("SELECT name FROM seals")}
    for table in tables:
        if table.name not in known:
            for statement in _triggers(table):
                db.exec_driver_sql(statement)
            _write(db, table.name, _total(db, table))
    _write(db, DEFINITIONS, definitions(db))


def are_kept(db: sa.Connection) -> bool:
    """Whether the file has seals."""
    return "seals" in _names(db)


def _names(db: sa.Connection) -> set[str]:
    """The names of the tables in the file."""
    query = "SELECT name FROM sqlite_master WHERE type = 'table'"
    return {name for (name,) in db.exec_driver_sql(query)}


def _write(db: sa.Connection, name: str, total: int) -> None:
    """Write a seal if it differs, so that opening an unchanged store writes nothing."""
    db.exec_driver_sql(
        "INSERT INTO seals VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET total = excluded.total"
        " WHERE total != excluded.total",
        (name, total),
    )


def _total(db: sa.Connection, table: sa.Table) -> int:
    rows = db.exec_driver_sql(f"SELECT {_call(table)} FROM {table.name}")
    return sum(int(seal) for (seal,) in rows) & _BITS


def definitions(db: sa.Connection) -> int:
    """The current seal of the table definitions."""
    query = "SELECT type, name, tbl_name, sql FROM sqlite_master"
    return sum(seal_of(*row) for row in db.exec_driver_sql(query)) & _BITS


def _call(table: sa.Table, row: str = "") -> str:
    """The SQL of a row's seal; `row`: NEW. or OLD. in a trigger."""
    values = ", ".join(f'{row}"{column.name}"' for column in table.columns)
    return f"{FUNCTION}({values})"


def _triggers(table: sa.Table) -> list[str]:
    changes = {
        "INSERT": f"+ {_call(table, 'NEW.')}",
        "DELETE": f"- {_call(table, 'OLD.')}",
        "UPDATE": f"+ {_call(table, 'NEW.')} - {_call(table, 'OLD.')}",
    }
    return [
        f"CREATE TRIGGER seal_{table.name}_{deed.lower()} AFTER {deed} ON {table.name} BEGIN"
        f" UPDATE seals SET total = (total {change}) & {_BITS} WHERE name = '{table.name}'; END"
        for deed, change in changes.items()
    ]

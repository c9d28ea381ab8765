"""The lease: the right of one worker process to run rounds.

The lease has a token that grows with every new holder. Every write of a worker checks the token, so
a worker that lost its lease can no longer write.

The holder renews its lease. A process that waits for the lease measures the time without renewal by
its own monotonic clock, so a wrong or changed system clock does not matter.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from backend.clock import Unchanged
from backend.errors import LeaseLost
from backend.store.transactions import BUSY_TIMEOUT_MS, META, Transactions

LEASE_SECONDS = 60.0
"""A lease that was not renewed for this time is free."""
LONG_AGO_SECONDS = 7_200.0
"""A lease that ended this long ago is free at once: clocks may jump by one hour (F17), not two."""

lease_table = sa.Table(
    "lease",
    META,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("token", sa.Integer, nullable=False),
    sa.Column("until", sa.Float, nullable=False),  # changes with each renewal; 0: released
)


@dataclass(frozen=True)
class Lease:
    """The right to run rounds. `token` grows with every new holder (fencing)."""

    owner: str
    token: int


NO_LEASE = Lease("command line", -1)
"""The lease of a person's command, which may write whoever holds the real lease."""


class Leases(Transactions):
    """Takes, renews and releases the lease."""

    def __init__(self, data_dir: Path, *, busy_ms: int = BUSY_TIMEOUT_MS) -> None:
        """Open the store; see `Transactions`."""
        super().__init__(data_dir, busy_ms=busy_ms)
        self._unchanged, self._looked = Unchanged(), Unchanged()

    def acquire(self, name: str = "worker") -> Lease | None:
        """Take the lease if it is free, or held by a dead process of this machine; else None.

        Call again until it is free: another worker's lease is free when this store has seen no
        renewal for LEASE_SECONDS. A lease that ended LONG_AGO_SECONDS ago is free at once.
        """
        owner = _me()
        with self.writing() as db:
            row = db.execute(sa.select(lease_table).filter_by(name=name)).first()
            if row and row.owner != owner and self._held(name, row):
                return None
            token = row.token + 1 if row else 1
            values = {"owner": owner, "token": token, "until": time.time() + LEASE_SECONDS}
            db.execute(
                insert(lease_table)
                .values(name=name, **values)
                .on_conflict_do_update(index_elements=["name"], set_=values)
            )
        return Lease(owner, token)

    def _held(self, name: str, row: Any) -> bool:
        """Whether a lease's owner may be alive and this store saw a renewal in LEASE_SECONDS."""
        if not row.until or not may_live(row.owner):
            return False
        if time.time() - row.until > LONG_AGO_SECONDS:
            return False
        return self._unchanged.seconds(name, (row.token, row.until)) < LEASE_SECONDS

    def worker_alive(self, name: str = "worker") -> bool:
        """Whether a live process holds the lease now."""
        with self.reading() as db:
            row = db.execute(sa.select(lease_table).filter_by(name=name)).first()
        if row is None or not row.until or not may_live(row.owner):
            return False
        # At the first call, and after a long time without calls, this store has seen no renewal.
        # Only the system clock then tells when the lease was renewed.
        left = row.until - time.time()
        passed = LEASE_SECONDS - left if 0 < left <= LEASE_SECONDS else LEASE_SECONDS
        value = row.token, row.until
        return self._looked.seconds(name, value, at_first=passed) < LEASE_SECONDS

    def renew(self, lease: Lease, name: str = "worker") -> None:
        """Extend the lease. Raises LeaseLost if another worker holds it."""
        with self.writing() as db:
            check_lease(db, lease, name)
            db.execute(
                lease_table.update()
                .where(lease_table.c.name == name)
                .values(until=time.time() + LEASE_SECONDS)
            )

    def check(self, lease: Lease) -> None:
        """Raise LeaseLost if another worker holds the lease."""
        with self.reading() as db:
            check_lease(db, lease)

    def release(self, lease: Lease, name: str = "worker") -> None:
        """Release the lease, if it is still ours."""
        with self.writing() as db:
            db.execute(
                lease_table.update()
                .where(lease_table.c.name == name, lease_table.c.token == lease.token)
                .values(until=0.0)
            )


def check_lease(db: sa.Connection, lease: Lease, name: str = "worker") -> None:
    """Raise LeaseLost unless the lease's token is the newest. NO_LEASE always passes."""
    if lease == NO_LEASE:
        return
    token = db.execute(sa.select(lease_table.c.token).filter_by(name=name)).scalar()
    if token != lease.token:
        raise LeaseLost(f"Lease {lease.token} was taken over (now {token}); this worker stops.")


def _me() -> str:
    """An identifier of this process, by which other processes check whether it is alive."""
    return f"{socket.gethostname()}/{os.getpid()}/{_born(os.getpid()):.2f}"


def _born(pid: int) -> float:
    """Start of a process in seconds since boot, which does not depend on the system clock."""
    return psutil.Process(pid).create_time() - psutil.boot_time()


def may_live(owner: str) -> bool:
    """Whether a lease's owner may be alive: False only if it ran on this machine and ended."""
    host, pid, born = owner.rsplit("/", 2)
    if host != socket.gethostname():
        return True
    try:
        return abs(_born(int(pid)) - float(born)) < 1.0
    except psutil.NoSuchProcess:
        return False

"""The lease: the right of one worker process to run rounds.

The lease has a token that grows with every new holder. Every write of a worker checks the token, so
a worker that lost its lease can write nothing more.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass

import psutil
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from backend.errors import LeaseLost
from backend.store.transactions import META, Transactions

LEASE_SECONDS = 60.0

lease_table = sa.Table(
    "lease",
    META,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("token", sa.Integer, nullable=False),
    sa.Column("until", sa.Float, nullable=False),
)


@dataclass(frozen=True)
class Lease:
    """The right to run rounds. `token` grows with every new holder (fencing)."""

    owner: str
    token: int


NO_LEASE = Lease("command line", -1)
"""What a command of a person works with: it changes what it must, whoever holds the lease."""


class Leases(Transactions):
    """Takes, renews and gives back the lease."""

    def acquire(self, name: str = "worker", *, now: float | None = None) -> Lease | None:
        """Take the lease if it is free, expired, or held by a dead process of this machine."""
        moment = time.time() if now is None else now
        owner = _me()
        with self.writing() as db:
            row = db.execute(sa.select(lease_table).filter_by(name=name)).first()
            if row and row.until > moment and may_live(row.owner) and row.owner != owner:
                return None
            token = row.token + 1 if row else 1
            values = {"owner": owner, "token": token, "until": moment + LEASE_SECONDS}
            db.execute(
                insert(lease_table)
                .values(name=name, **values)
                .on_conflict_do_update(index_elements=["name"], set_=values)
            )
        return Lease(owner, token)

    def worker_alive(self, name: str = "worker") -> bool:
        """Whether a living process holds the lease right now."""
        with self.reading() as db:
            row = db.execute(sa.select(lease_table).filter_by(name=name)).first()
        return row is not None and row.until > time.time() and may_live(row.owner)

    def renew(self, lease: Lease, name: str = "worker") -> None:
        """Extend the lease. Raises LeaseLost if somebody else holds it."""
        with self.writing() as db:
            check_lease(db, lease, name)
            db.execute(
                lease_table.update()
                .where(lease_table.c.name == name)
                .values(until=time.time() + LEASE_SECONDS)
            )

    def check(self, lease: Lease) -> None:
        """Raise LeaseLost if somebody else holds the lease."""
        with self.reading() as db:
            check_lease(db, lease)

    def release(self, lease: Lease, name: str = "worker") -> None:
        """Give the lease back; nothing happens if it is no longer ours."""
        with self.writing() as db:
            db.execute(
                lease_table.update()
                .where(lease_table.c.name == name, lease_table.c.token == lease.token)
                .values(until=0.0)
            )


def check_lease(db: sa.Connection, lease: Lease, name: str = "worker") -> None:
    """Raise LeaseLost unless the lease's token is the newest. A person's command has none."""
    if lease == NO_LEASE:
        return
    token = db.execute(sa.select(lease_table.c.token).filter_by(name=name)).scalar()
    if token != lease.token:
        raise LeaseLost(f"Lease {lease.token} was taken over (now {token}); this worker stops.")


def _me() -> str:
    """Name of the running process, so that a later one can see whether it still lives."""
    return f"{socket.gethostname()}/{os.getpid()}/{psutil.Process().create_time():.2f}"


def may_live(owner: str) -> bool:
    """Whether a lease's owner may still run: not if it ran on this machine and is dead."""
    host, pid, born = owner.rsplit("/", 2)
    if host != socket.gethostname():
        return True
    try:
        return abs(psutil.Process(int(pid)).create_time() - float(born)) < 1.0
    except psutil.NoSuchProcess:
        return False

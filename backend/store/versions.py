"""Versions: the orders that rounds published, each under a new name.

A version also names a model if its round trained one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from backend.store.lease import Lease, check_lease
from backend.store.transactions import META, Transactions

versions_table = sa.Table(
    "versions",
    META,
    sa.Column("project", sa.Integer, primary_key=True),
    sa.Column("version", sa.Text, primary_key=True),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("model", sa.Text, nullable=False),  # version whose checkpoint made it; "" = no model
    sa.Column("tasks", sa.Integer, nullable=False),
    sa.Column("metrics", sa.Text, nullable=False, default="{}"),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("pruned", sa.Float),
)


@dataclass(frozen=True)
class Version:
    """A published order with its predictions, which a round or a rollback can serve."""

    project: int
    version: str
    round: int
    model: str
    tasks: int
    metrics: Mapping[str, Any]
    created: float
    pruned: float | None


class Versions(Transactions):
    """Records published versions, and marks pruned ones."""

    def add_version(
        self,
        lease: Lease,
        project: int,
        version: str,
        *,
        round_id: int,
        model: str,
        tasks: int,
        metrics: Mapping[str, Any],
    ) -> None:
        """Record a published version. A repeated call changes nothing."""
        with self.writing() as db:
            check_lease(db, lease)
            db.execute(
                insert(versions_table)
                .values(
                    project=project,
                    version=version,
                    round=round_id,
                    model=model,
                    tasks=tasks,
                    metrics=json.dumps(metrics),
                    created=time.time(),
                )
                .on_conflict_do_nothing(index_elements=["project", "version"])
            )

    def versions(self, project: int, *, pruned: bool = False) -> list[Version]:
        """A project's published versions, newest first; pruned ones only if asked."""
        query = (
            sa.select(versions_table)
            .filter_by(project=project)
            .order_by(versions_table.c.round.desc(), versions_table.c.created.desc())
        )
        if not pruned:
            query = query.where(versions_table.c.pruned.is_(None))
        with self.reading() as db:
            return [_version(row) for row in db.execute(query)]

    def metrics_of(self, models: Iterable[str]) -> dict[tuple[int, str], Mapping[str, Any]]:
        """(project, version) -> metrics of the versions with these names, in one query."""
        columns = versions_table.c.project, versions_table.c.version, versions_table.c.metrics
        query = sa.select(*columns).where(versions_table.c.version.in_({*models}))
        with self.reading() as db:
            return {(r.project, r.version): json.loads(r.metrics) for r in db.execute(query)}

    def prune_version(self, lease: Lease | None, project: int, version: str) -> None:
        """Record that a version's predictions and checkpoint are deleted. `lease`: None by hand."""
        with self.writing() as db:
            if lease is not None:
                check_lease(db, lease)
            db.execute(
                versions_table.update()
                .where(versions_table.c.project == project, versions_table.c.version == version)
                .values(pruned=time.time())
            )


def _version(row: Any) -> Version:
    """A version from its row."""
    return Version(
        row.project,
        row.version,
        row.round,
        row.model,
        row.tasks,
        json.loads(row.metrics),
        row.created,
        row.pruned,
    )

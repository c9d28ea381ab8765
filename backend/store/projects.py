"""The projects that this backend serves, and what it knows of each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from backend.store.lease import Lease, check_lease
from backend.store.transactions import META, Transactions

projects_table = sa.Table(
    "projects",
    META,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("origin", sa.Text, nullable=False, default=""),  # Label Studio's address, confirmed
    sa.Column("state", sa.Text, nullable=False, default="{}"),  # JSON, see ProjectState
)


@dataclass(frozen=True)
class Project:
    """One Label Studio project that this backend serves. `state` holds JSON values:

    label_config, title: as last seen; backend_id: id of the ML backend row in Label Studio;
    armed: what we set there; before: what stood there before; serving: the version we flipped to;
    model: the version whose checkpoint serves; pinned: version held by a rollback; promoted: model
    held by a person, which scores the pool in every round; reorder: a new order is wanted;
    seed_mean_instances: mean instances per image of the seed set, frozen; note: what people should
    know; waiting_reason: why the worker waits, until it goes on; changed_by_person: what
    somebody changed in Label Studio and we left alone.
    """

    id: int
    origin: str
    state: Mapping[str, Any]


class Projects(Transactions):
    """Reads and updates projects."""

    def project(self, project: int) -> Project | None:
        """One project, or None if Label Studio never set it up here."""
        with self.reading() as db:
            row = db.execute(sa.select(projects_table).filter_by(id=project)).first()
        return None if row is None else Project(row.id, row.origin, json.loads(row.state))

    def projects(self) -> list[Project]:
        """All projects, by id."""
        with self.reading() as db:
            rows = db.execute(sa.select(projects_table).order_by(projects_table.c.id)).all()
        return [Project(row.id, row.origin, json.loads(row.state)) for row in rows]

    def update_project(
        self, project: int, *, origin: str | None = None, lease: Lease | None = None, **state: Any
    ) -> Project:
        """Create the project if it is new, and merge values into its state.

        With a lease, only while it is held (LeaseLost otherwise).
        """
        with self.writing() as db:
            if lease is not None:
                check_lease(db, lease)
            row = db.execute(sa.select(projects_table).filter_by(id=project)).first()
            merged = {**(json.loads(row.state) if row else {}), **state}
            kept = origin if origin is not None else (row.origin if row else "")
            values = {"origin": kept, "state": json.dumps(merged)}
            db.execute(
                insert(projects_table)
                .values(id=project, **values)
                .on_conflict_do_update(index_elements=["id"], set_=values)
            )
        return Project(project, kept, merged)

"""The projects that this backend serves, with the state of each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Unpack

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from backend.store.lease import Lease, check_lease
from backend.store.state import FIELDS, ProjectChanges, ProjectState
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
    """One Label Studio project that this backend serves."""

    id: int
    origin: str
    """Label Studio's address, after Label Studio has answered there; '' before."""
    state: ProjectState


class Projects(Transactions):
    """Reads and updates projects."""

    def project(self, project: int) -> Project | None:
        """One project, or None if Label Studio has never set it up here."""
        with self.reading() as db:
            row = db.execute(sa.select(projects_table).filter_by(id=project)).first()
        return None if row is None else _project(row)

    def projects(self) -> list[Project]:
        """All projects, ordered by id."""
        with self.reading() as db:
            rows = db.execute(sa.select(projects_table).order_by(projects_table.c.id)).all()
        return [_project(row) for row in rows]

    def update_project(
        self,
        project: int,
        *,
        origin: str | None = None,
        lease: Lease | None = None,
        **changes: Unpack[ProjectChanges],
    ) -> Project:
        """Create the project if it is new, and change fields of its state.

        Raises:
            LeaseLost: `lease` is given, but another worker holds the lease.
            TypeError: a name is not a field of ProjectState.
        """
        if unknown := set(changes) - FIELDS:
            raise TypeError(f"Expected fields of ProjectState, got {sorted(unknown)}.")
        with self.writing() as db:
            if lease is not None:
                check_lease(db, lease)
            row = db.execute(sa.select(projects_table).filter_by(id=project)).first()
            merged = {**(json.loads(row.state) if row else {}), **changes}
            kept = origin if origin is not None else (row.origin if row else "")
            values = {"origin": kept, "state": json.dumps(merged)}
            db.execute(
                insert(projects_table)
                .values(id=project, **values)
                .on_conflict_do_update(index_elements=["id"], set_=values)
            )
        return Project(project, kept, ProjectState.from_json(merged))


def _project(row: Any) -> Project:
    """A row of the table as a Project."""
    return Project(row.id, row.origin, ProjectState.from_json(json.loads(row.state)))

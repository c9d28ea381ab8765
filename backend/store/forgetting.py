"""Deletes a project from the store, with all its rows in all tables."""

from __future__ import annotations

import sqlalchemy as sa

from backend.store.lease import Lease, check_lease
from backend.store.projects import projects_table
from backend.store.rounds import rounds_table, steps_table
from backend.store.transactions import META, Transactions


class Forgetting(Transactions):
    """Forgets projects."""

    def forget_project(self, project: int, lease: Lease) -> None:
        """Delete a project's row and all other rows of the project, if there are any.

        Raises LeaseLost if a worker took over.
        """
        rounds = sa.select(rounds_table.c.id).where(rounds_table.c.project == project)
        with self.writing() as db:
            check_lease(db, lease)
            db.execute(steps_table.delete().where(steps_table.c.round.in_(rounds)))
            for table in META.tables.values():
                if "project" in table.c:
                    db.execute(table.delete().where(table.c.project == project))
            db.execute(projects_table.delete().where(projects_table.c.id == project))

"""Events: counts of Label Studio's webhooks, which the worker has to handle.

Each project has one counter for each kind of event, so thousands of webhooks make one row. The
worker acknowledges the count that it has read. Later webhooks raise the counter above that count,
so they stay pending.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal, cast

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from backend.store.transactions import META, Transactions

EventKind = Literal["changed", "train", "setup", "config"]

events_table = sa.Table(
    "events",
    META,
    sa.Column("project", sa.Integer, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("recorded", sa.Integer, nullable=False),  # total count
    sa.Column("acknowledged", sa.Integer, nullable=False),  # count that a worker has handled
    sa.Column("since", sa.Float, nullable=False),  # time of the first unacknowledged event
)


@dataclass(frozen=True)
class Event:
    """One kind of event of a project: how many were recorded, and how many are pending."""

    project: int
    kind: EventKind
    recorded: int
    pending: int
    since: float


class Events(Transactions):
    """Records and acknowledges events."""

    def record_event(self, project: int, kind: EventKind) -> None:
        """Record an event of a project. A webhook request does nothing else."""
        now = time.time()
        with self.writing() as db:
            db.execute(
                insert(events_table)
                .values(project=project, kind=kind, recorded=1, acknowledged=0, since=now)
                .on_conflict_do_update(
                    index_elements=["project", "kind"],
                    set_={
                        "recorded": events_table.c.recorded + 1,
                        "since": sa.case(
                            (events_table.c.recorded == events_table.c.acknowledged, now),
                            else_=events_table.c.since,
                        ),
                    },
                )
            )

    def pending_events(self) -> list[Event]:
        """All pending events, the longest pending first."""
        query = (
            sa.select(events_table)
            .where(events_table.c.recorded > events_table.c.acknowledged)
            .order_by(events_table.c.since)
        )
        with self.reading() as db:
            return [
                Event(
                    r.project,
                    cast("EventKind", r.kind),
                    r.recorded,
                    r.recorded - r.acknowledged,
                    r.since,
                )
                for r in db.execute(query)
            ]

    def acknowledge(self, event: Event) -> None:
        """Acknowledge the count in `event`. Later events stay pending."""
        with self.writing() as db:
            acknowledge_event(db, event)

    def event_counts(self, project: int) -> dict[str, int]:
        """Kind -> number of events ever recorded for a project."""
        with self.reading() as db:
            rows = db.execute(sa.select(events_table).filter_by(project=project))
            return {row.kind: row.recorded for row in rows}


def acknowledge_event(db: sa.Connection, event: Event) -> None:
    """Acknowledge the count in `event`, within a transaction."""
    db.execute(
        events_table.update()
        .where(events_table.c.project == event.project, events_table.c.kind == event.kind)
        .where(events_table.c.acknowledged < event.recorded)
        .values(acknowledged=event.recorded, since=time.time())
    )

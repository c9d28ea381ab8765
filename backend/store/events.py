"""Events: what Label Studio's webhooks say happened, waiting for the worker.

An event is a counter for each project and kind, so thousands of webhooks make one row. The worker
acknowledges the number that it has read. Webhooks that arrive meanwhile raise the counter above
that number, and stay pending.
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
    sa.Column("recorded", sa.Integer, nullable=False),  # how often ever
    sa.Column("acknowledged", sa.Integer, nullable=False),  # how many a worker has taken in
    sa.Column("since", sa.Float, nullable=False),  # of the first one not acknowledged
)


@dataclass(frozen=True)
class Event:
    """How often a kind of event was recorded for a project, and how many wait for the worker."""

    project: int
    kind: EventKind
    recorded: int
    pending: int
    since: float


class Events(Transactions):
    """Records and acknowledges events."""

    def record_event(self, project: int, kind: EventKind) -> None:
        """Record an event of a project: the whole work of a webhook."""
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
        """Every pending event, the longest waiting first."""
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
        """Mark an event as taken in, as it was read; later ones stay pending."""
        with self.writing() as db:
            acknowledge_event(db, event)

    def event_counts(self, project: int) -> dict[str, int]:
        """How often each kind was ever recorded for a project."""
        with self.reading() as db:
            rows = db.execute(sa.select(events_table).filter_by(project=project))
            return {row.kind: row.recorded for row in rows}


def acknowledge_event(db: sa.Connection, event: Event) -> None:
    """Mark an event as taken in up to what was read."""
    db.execute(
        events_table.update()
        .where(events_table.c.project == event.project, events_table.c.kind == event.kind)
        .where(events_table.c.acknowledged < event.recorded)
        .values(acknowledged=event.recorded, since=time.time())
    )

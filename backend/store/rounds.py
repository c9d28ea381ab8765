"""Rounds and their finished steps.

A round is a row, and each finished step is a row with its result. After a restart, the worker
continues at the first step without a row. A project has at most one open round.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from backend.errors import StoreError
from backend.store.error_counts import add_errors
from backend.store.events import Event, acknowledge_event
from backend.store.lease import Lease, check_lease
from backend.store.transactions import META, Transactions

RoundKind = Literal["first", "train", "refresh"]
STEPS: dict[RoundKind, tuple[str, ...]] = {
    "first": ("synced", "embedded", "selected", "published", "flipped", "pruned"),
    "train": (
        "synced", "trained", "evaluated", "scored", "selected", "published", "flipped", "pruned",
        "compared",
    ),
    "refresh": ("synced", "scored", "selected", "published", "flipped", "pruned", "compared"),
}  # fmt: skip

rounds_table = sa.Table(
    "rounds",
    META,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("project", sa.Integer, nullable=False, index=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("started", sa.Float, nullable=False),
    sa.Column("ended", sa.Float),
    sa.Column("outcome", sa.Text),  # served | kept | failed | stopped
    sa.Column("message", sa.Text, nullable=False, default=""),
    sa.Column("progress", sa.Text, nullable=False, default="{}"),
    sa.UniqueConstraint("project", "number"),
    sqlite_autoincrement=True,
)
WITHOUT_RESULT = ("failed", "stopped")
"""Outcomes of rounds whose labels count as not trained on."""
_one_open_round = sa.Index(
    "one_open_round",
    rounds_table.c.project,
    unique=True,
    sqlite_where=rounds_table.c.ended.is_(None),
)
steps_table = sa.Table(
    "steps",
    META,
    sa.Column("round", sa.Integer, primary_key=True),
    sa.Column("step", sa.Text, primary_key=True),
    sa.Column("result", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)


@dataclass(frozen=True)
class Round:
    """One round. It is open while `ended` is None; `steps` maps finished steps to their results.

    `times` maps finished steps to the time when they ended, in seconds since 1970.
    """

    id: int
    project: int
    number: int
    kind: RoundKind
    reason: str
    started: float
    ended: float | None
    outcome: str | None
    message: str
    progress: Mapping[str, Any]
    steps: Mapping[str, Mapping[str, Any]]
    times: Mapping[str, float] = field(default_factory=dict)

    @property
    def next_step(self) -> str | None:
        """The first step without a row, or None when all are done."""
        return next((step for step in STEPS[self.kind] if step not in self.steps), None)

    @property
    def seconds(self) -> float:
        """Duration without the comparison of the arms, for which nobody waits."""
        beside = float(self.steps.get("compared", {}).get("seconds", 0.0))
        return max(0.0, (self.ended or self.started) - self.started - beside)


class Rounds(Transactions):
    """Opens and ends rounds, and records their steps and progress."""

    def open_round(
        self, lease: Lease, project: int, kind: RoundKind, reason: str, events: list[Event]
    ) -> Round:
        """Start a round and acknowledge the events that caused it, in one transaction.

        Raises:
            LeaseLost: another worker holds the lease.
            StoreError: the project already has an open round.
        """
        with self.writing() as db:
            check_lease(db, lease)
            for event in events:
                acknowledge_event(db, event)
            last = db.execute(
                sa.select(sa.func.max(rounds_table.c.number)).filter_by(project=project)
            ).scalar()
            try:
                made = db.execute(
                    rounds_table.insert().values(
                        project=project,
                        number=(last or 0) + 1,
                        kind=kind,
                        reason=reason,
                        started=time.time(),
                    )
                )
            except sa.exc.IntegrityError as error:
                raise StoreError(f"Project {project} has an open round already.") from error
            key = cast("tuple[int]", made.inserted_primary_key)[0]
            return _round(db, key)

    def round(self, round_id: int) -> Round:
        """One round with its steps. Raises StoreError for an unknown id."""
        with self.reading() as db:
            return _round(db, round_id)

    def open_rounds(self) -> list[Round]:
        """The open rounds, oldest first."""
        query = (
            sa.select(rounds_table.c.id)
            .where(rounds_table.c.ended.is_(None))
            .order_by(rounds_table.c.id)
        )
        with self.reading() as db:
            return _rounds(db, db.execute(query).scalars().all())

    def rounds(
        self,
        project: int,
        limit: int = 50,
        *,
        steps: Collection[str] | None = None,
        having: str = "",
    ) -> list[Round]:
        """A project's rounds, newest first, in two queries.

        `steps`: the finished steps to read; None for all. Reading few steps is faster.
        `having`: only rounds that have finished this step; '' for all rounds.
        """
        query = sa.select(rounds_table.c.id).filter_by(project=project)
        if having:
            is_there = sa.exists().where(
                steps_table.c.round == rounds_table.c.id, steps_table.c.step == having
            )
            query = query.where(is_there)
        query = query.order_by(rounds_table.c.id.desc()).limit(limit)
        with self.reading() as db:
            return _rounds(db, db.execute(query).scalars().all(), steps)

    def newest_rounds(self) -> dict[int, Sequence[Round]]:
        """Project -> its newest round and its newest ended round, newest first.

        Makes three queries for any number of projects. If both rounds are the same, there is one.
        """
        newest = sa.func.max(rounds_table.c.id)
        query = sa.select(newest).group_by(rounds_table.c.project)
        ended = query.where(rounds_table.c.ended.is_not(None))
        with self.reading() as db:
            keys = {*db.execute(query).scalars(), *db.execute(ended).scalars()}
            rows = _rounds(db, sorted(keys, reverse=True))
        found = defaultdict[int, list[Round]](list)
        for row in rows:
            found[row.project].append(row)
        return dict(found)

    def last_training(self, project: int) -> Round | None:
        """The newest training round that has read its labels and did not fail or stop."""
        query = (
            sa.select(rounds_table.c.id)
            .join(steps_table, rounds_table.c.id == steps_table.c.round)
            .where(
                rounds_table.c.project == project,
                rounds_table.c.kind == "train",
                steps_table.c.step == "synced",
                sa.func.coalesce(rounds_table.c.outcome, "").not_in(WITHOUT_RESULT),
            )
            .order_by(rounds_table.c.id.desc())
        )
        return self._first_of(query)

    def first_started(self, project: int) -> float | None:
        """When the project's first round began, seconds since 1970; None before it."""
        with self.reading() as db:
            query = sa.select(sa.func.min(rounds_table.c.started)).filter_by(project=project)
            return cast("float | None", db.execute(query).scalar())

    def first_useful_round(self, project: int) -> Round | None:
        """The first served round whose pre-annotations cost less to correct than to draw."""
        useful = _cost("corrected") < _cost("by_hand")
        return self._first_of(_evaluated_rounds(project).where(useful).order_by(rounds_table.c.id))

    def latest_evaluated_round(self, project: int) -> Round | None:
        """The newest served round that recorded the cost of correcting."""
        return self._first_of(_evaluated_rounds(project).order_by(rounds_table.c.id.desc()))

    def _first_of(self, query: sa.Select[int]) -> Round | None:
        """The round of a query's first id; None if the query finds none."""
        with self.reading() as db:
            key = db.execute(query.limit(1)).scalar()
            return None if key is None else _round(db, key)

    def finish_step(
        self, lease: Lease, round_id: int, step: str, result: Mapping[str, Any]
    ) -> Round:
        """Record that a step is done. A repeated call replaces the result."""
        values = {"result": json.dumps(result), "at": time.time()}
        with self.writing() as db:
            check_lease(db, lease)
            db.execute(
                insert(steps_table)
                .values(round=round_id, step=step, **values)
                .on_conflict_do_update(index_elements=["round", "step"], set_=values)
            )
            return _round(db, round_id)

    def report(self, lease: Lease, round_id: int, progress: Mapping[str, Any]) -> None:
        """Overwrite a round's progress. The caller does so at most once a second."""
        with self.writing() as db:
            check_lease(db, lease)
            db.execute(
                rounds_table.update()
                .where(rounds_table.c.id == round_id)
                .values(progress=json.dumps(progress))
            )

    def end_round(self, lease: Lease, round_id: int, outcome: str, message: str) -> Round:
        """Close a round as served, kept, failed or stopped, with a message for people."""
        with self.writing() as db:
            check_lease(db, lease)
            db.execute(
                rounds_table.update()
                .where(rounds_table.c.id == round_id)
                .values(ended=time.time(), outcome=outcome, message=message)
            )
            if outcome == "failed":
                add_errors(db, "round_failed")
            return _round(db, round_id)


def _cost(name: str) -> sa.ColumnElement[float]:
    """A cost that the step `judge` recorded; NULL if it recorded none."""
    return sa.func.json_extract(steps_table.c.result, f"$.correction.{name}", type_=sa.Float)


def _evaluated_rounds(project: int) -> sa.Select[int]:
    """Ids of the served rounds that recorded the cost of correcting."""
    return (
        sa.select(rounds_table.c.id)
        .join(steps_table, rounds_table.c.id == steps_table.c.round)
        .where(
            rounds_table.c.project == project,
            rounds_table.c.outcome == "served",
            steps_table.c.step == "evaluated",
            _cost("corrected").is_not(None),
            _cost("by_hand").is_not(None),
        )
    )


def _round(db: sa.Connection, round_id: int) -> Round:
    """Read one round with its steps."""
    found = _rounds(db, [round_id])
    if not found:
        raise StoreError(f"There is no round {round_id}.")
    return found[0]


def _rounds(
    db: sa.Connection, keys: Sequence[int], only: Collection[str] | None = None
) -> list[Round]:
    """Read rounds with their steps, in the order of `keys`; unknown ids are left out."""
    steps, times = defaultdict[int, dict[str, Any]](dict), defaultdict[int, dict[str, float]](dict)
    query = sa.select(steps_table).where(steps_table.c.round.in_(keys)).order_by(steps_table.c.at)
    if only is not None:
        query = query.where(steps_table.c.step.in_(only))
    for step in db.execute(query):
        steps[step.round][step.step] = json.loads(step.result)
        times[step.round][step.step] = step.at
    rows = db.execute(sa.select(rounds_table).where(rounds_table.c.id.in_(keys)))
    found = {
        row.id: Round(
            row.id,
            row.project,
            row.number,
            cast("RoundKind", row.kind),
            row.reason,
            row.started,
            row.ended,
            row.outcome,
            row.message,
            json.loads(row.progress),
            steps[row.id],
            times[row.id],
        )
        for row in rows
    }
    return [found[key] for key in keys if key in found]

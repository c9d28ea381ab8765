"""What the web process and the worker share: events, projects, rounds, versions, the lease.

One SQLite file (WAL) in the data directory. Every public method is one transaction, so a process
killed at any instant leaves either the state before it or the state after it. No token is ever
written here (see `backend.store.secrets`).
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import psutil
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from backend.errors import LeaseLost, StoreError

SCHEMA_VERSION = 1
BUSY_TIMEOUT_MS = 900  # of the web process: under Label Studio's one second for a webhook
WORKER_BUSY_MS = 30_000  # the worker may wait for a busy disk rather than lose a round
LEASE_SECONDS = 60.0

EventKind = Literal["changed", "train", "setup", "config"]
RoundKind = Literal["first", "train", "refresh"]
STEPS: dict[RoundKind, tuple[str, ...]] = {
    "first": ("synced", "selected", "published", "flipped", "pruned"),
    "train": (
        "synced", "trained", "evaluated", "scored", "selected", "published", "flipped", "pruned",
    ),
    "refresh": ("synced", "scored", "selected", "published", "flipped", "pruned"),
}  # fmt: skip

_meta = sa.MetaData()
_about = sa.Table(
    "about", _meta, sa.Column("key", sa.Text, primary_key=True), sa.Column("value", sa.Text)
)
_projects = sa.Table(
    "projects",
    _meta,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("origin", sa.Text, nullable=False, default=""),  # Label Studio's address, confirmed
    sa.Column("state", sa.Text, nullable=False, default="{}"),  # JSON, see ProjectState
)
_events = sa.Table(
    "events",
    _meta,
    sa.Column("project", sa.Integer, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("recorded", sa.Integer, nullable=False),  # how often ever
    sa.Column(
        "acknowledged", sa.Integer, nullable=False
    ),  # how many of these a worker has taken in
    sa.Column("since", sa.Float, nullable=False),  # of the first one not acknowledged
)
_rounds = sa.Table(
    "rounds",
    _meta,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("project", sa.Integer, nullable=False, index=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("started", sa.Float, nullable=False),
    sa.Column("ended", sa.Float),
    sa.Column("outcome", sa.Text),  # served | kept | failed
    sa.Column("message", sa.Text, nullable=False, default=""),
    sa.Column("progress", sa.Text, nullable=False, default="{}"),
    sa.UniqueConstraint("project", "number"),
    sqlite_autoincrement=True,
)
_one_open_round = sa.Index(
    "one_open_round", _rounds.c.project, unique=True, sqlite_where=_rounds.c.ended.is_(None)
)
_steps = sa.Table(
    "steps",
    _meta,
    sa.Column("round", sa.Integer, primary_key=True),
    sa.Column("step", sa.Text, primary_key=True),
    sa.Column("result", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)
_versions = sa.Table(
    "versions",
    _meta,
    sa.Column("project", sa.Integer, primary_key=True),
    sa.Column("version", sa.Text, primary_key=True),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("model", sa.Text, nullable=False),  # version whose checkpoint made it; "" = none yet
    sa.Column("tasks", sa.Integer, nullable=False),
    sa.Column("metrics", sa.Text, nullable=False, default="{}"),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("pruned", sa.Float),
)
_lease = sa.Table(
    "lease",
    _meta,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("token", sa.Integer, nullable=False),
    sa.Column("until", sa.Float, nullable=False),
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


@dataclass(frozen=True)
class Round:
    """One round. It is open while `ended` is None; `steps` maps finished steps to their results."""

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

    @property
    def next_step(self) -> str | None:
        """The first step without a row, or None when all are done."""
        return next((step for step in STEPS[self.kind] if step not in self.steps), None)


@dataclass(frozen=True)
class Version:
    """A published order (and its predictions): what a flip or a rollback can serve."""

    project: int
    version: str
    round: int
    model: str
    tasks: int
    metrics: Mapping[str, Any]
    created: float
    pruned: float | None


@dataclass(frozen=True)
class Event:
    """How often a kind of event was recorded for a project, and how many wait for the worker."""

    project: int
    kind: EventKind
    recorded: int
    pending: int
    since: float


@dataclass(frozen=True)
class Lease:
    """The right to run rounds. `token` grows with every new holder (fencing)."""

    owner: str
    token: int


class Store:
    """The shared store. Safe for many threads and processes."""

    def __init__(self, data_dir: Path, *, busy_ms: int = BUSY_TIMEOUT_MS) -> None:
        """Open or create `data_dir/store.sqlite3`; wait up to `busy_ms` for another's write.

        Raises:
            StoreError: the directory cannot be written, the file is damaged, or it was written by
                a newer release.
        """
        self.data_dir = Path(data_dir)
        self.path = self.data_dir / "store.sqlite3"
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            self._engine = _engine(self.path, busy_ms)
            with self._write() as db:
                _meta.create_all(db)
                self._check_schema(db)
        except (sa.exc.DatabaseError, OSError) as error:
            raise StoreError(
                f"Cannot open the store {self.path}: {_cause(error)}. Check that the directory is"
                " writable and the disk not full; if the file is damaged, move it away (labels are"
                " safe in Label Studio) and connect the project again."
            ) from error

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()

    def check_writable(self) -> None:
        """Raise StoreError unless a transaction can be written now; nothing is left of it."""
        try:
            with self._write() as db:
                db.execute(insert(_about).values(key="probe", value=str(time.time())))
                db.execute(_about.delete().filter_by(key="probe"))
        except sa.exc.SQLAlchemyError as error:
            raise StoreError(
                f"The store {self.path.name} cannot be written: {_cause(error)}. Check the disk's"
                " free space and the directory's rights."
            ) from error

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        """One immediate write transaction."""
        with self._engine.connect() as db:
            db.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.exec_driver_sql("ROLLBACK")
                raise
            db.exec_driver_sql("COMMIT")

    @contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        """One consistent read."""
        with self._engine.connect() as db:
            db.exec_driver_sql("BEGIN")
            try:
                yield db
            finally:
                db.exec_driver_sql("ROLLBACK")

    def _check_schema(self, db: sa.Connection) -> None:
        """Write the schema version into a new file; refuse a newer one."""
        db.execute(
            insert(_about)
            .values(key="schema", value=str(SCHEMA_VERSION))
            .on_conflict_do_nothing(index_elements=["key"])
        )
        found = int(db.execute(sa.select(_about.c.value).filter_by(key="schema")).scalar_one())
        if found > SCHEMA_VERSION:
            raise StoreError(
                f"{self.path} has schema {found}, this release knows up to {SCHEMA_VERSION}."
                " Install the release that wrote it, or a newer one."
            )

    # --- events -----------------------------------------------------------------------------

    def record_event(self, project: int, kind: EventKind) -> None:
        """Record an event of a project: the whole work of a webhook."""
        now = time.time()
        with self._write() as db:
            db.execute(
                insert(_events)
                .values(project=project, kind=kind, recorded=1, acknowledged=0, since=now)
                .on_conflict_do_update(
                    index_elements=["project", "kind"],
                    set_={
                        "recorded": _events.c.recorded + 1,
                        "since": sa.case(
                            (_events.c.recorded == _events.c.acknowledged, now),
                            else_=_events.c.since,
                        ),
                    },
                )
            )

    def pending_events(self) -> list[Event]:
        """Every pending event, the longest waiting first."""
        query = (
            sa.select(_events)
            .where(_events.c.recorded > _events.c.acknowledged)
            .order_by(_events.c.since)
        )
        with self._read() as db:
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
        with self._write() as db:
            _acknowledge(db, event)

    def event_counts(self, project: int) -> dict[str, int]:
        """How often each kind was ever recorded for a project."""
        with self._read() as db:
            rows = db.execute(sa.select(_events).filter_by(project=project))
            return {row.kind: row.recorded for row in rows}

    # --- projects ---------------------------------------------------------------------------

    def project(self, project: int) -> Project | None:
        """One project, or None if Label Studio never set it up here."""
        with self._read() as db:
            row = db.execute(sa.select(_projects).filter_by(id=project)).first()
        return None if row is None else Project(row.id, row.origin, json.loads(row.state))

    def projects(self) -> list[Project]:
        """All projects, by id."""
        with self._read() as db:
            rows = db.execute(sa.select(_projects).order_by(_projects.c.id)).all()
        return [Project(row.id, row.origin, json.loads(row.state)) for row in rows]

    def update_project(
        self, project: int, *, origin: str | None = None, lease: Lease | None = None, **state: Any
    ) -> Project:
        """Create the project if it is new, and merge values into its state.

        With a lease, only while it is held (LeaseLost otherwise).
        """
        with self._write() as db:
            if lease is not None:
                _check_lease(db, lease)
            row = db.execute(sa.select(_projects).filter_by(id=project)).first()
            merged = {**(json.loads(row.state) if row else {}), **state}
            kept = origin if origin is not None else (row.origin if row else "")
            values = {"origin": kept, "state": json.dumps(merged)}
            db.execute(
                insert(_projects)
                .values(id=project, **values)
                .on_conflict_do_update(index_elements=["id"], set_=values)
            )
        return Project(project, kept, merged)

    # --- the lease --------------------------------------------------------------------------

    def acquire(self, name: str = "worker", *, now: float | None = None) -> Lease | None:
        """Take the lease if it is free, expired, or held by a dead process of this machine."""
        moment = time.time() if now is None else now
        owner = _me()
        with self._write() as db:
            row = db.execute(sa.select(_lease).filter_by(name=name)).first()
            if row and row.until > moment and _alive(row.owner) and row.owner != owner:
                return None
            token = row.token + 1 if row else 1
            values = {"owner": owner, "token": token, "until": moment + LEASE_SECONDS}
            db.execute(
                insert(_lease)
                .values(name=name, **values)
                .on_conflict_do_update(index_elements=["name"], set_=values)
            )
        return Lease(owner, token)

    def worker_alive(self, name: str = "worker") -> bool:
        """Whether a living process holds the lease right now."""
        with self._read() as db:
            row = db.execute(sa.select(_lease).filter_by(name=name)).first()
        return row is not None and row.until > time.time() and _alive(row.owner)

    def renew(self, lease: Lease, name: str = "worker") -> None:
        """Extend the lease. Raises LeaseLost if somebody else holds it."""
        with self._write() as db:
            _check_lease(db, lease, name)
            db.execute(
                _lease.update()
                .where(_lease.c.name == name)
                .values(until=time.time() + LEASE_SECONDS)
            )

    def release(self, lease: Lease, name: str = "worker") -> None:
        """Give the lease back; nothing happens if it is no longer ours."""
        with self._write() as db:
            db.execute(
                _lease.update()
                .where(_lease.c.name == name, _lease.c.token == lease.token)
                .values(until=0.0)
            )

    # --- rounds -----------------------------------------------------------------------------

    def open_round(
        self, lease: Lease, project: int, kind: RoundKind, reason: str, events: list[Event]
    ) -> Round:
        """Start a round and take in the events that called for it, in one transaction.

        Raises:
            LeaseLost: another worker holds the lease.
            StoreError: the project has an open round already.
        """
        with self._write() as db:
            _check_lease(db, lease)
            for event in events:
                _acknowledge(db, event)
            last = db.execute(
                sa.select(sa.func.max(_rounds.c.number)).filter_by(project=project)
            ).scalar()
            try:
                made = db.execute(
                    _rounds.insert().values(
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
        with self._read() as db:
            return _round(db, round_id)

    def open_rounds(self) -> list[Round]:
        """Rounds that are not ended, oldest first."""
        query = sa.select(_rounds.c.id).where(_rounds.c.ended.is_(None)).order_by(_rounds.c.id)
        with self._read() as db:
            return [_round(db, key) for key in db.execute(query).scalars()]

    def rounds(self, project: int, limit: int = 50) -> list[Round]:
        """A project's rounds, newest first."""
        query = (
            sa.select(_rounds.c.id)
            .filter_by(project=project)
            .order_by(_rounds.c.id.desc())
            .limit(limit)
        )
        with self._read() as db:
            return [_round(db, key) for key in db.execute(query).scalars()]

    def last_training(self, project: int) -> Round | None:
        """The newest training round that read its labels and did not fail."""
        query = (
            sa.select(_rounds.c.id)
            .join(_steps, _rounds.c.id == _steps.c.round)
            .where(
                _rounds.c.project == project,
                _rounds.c.kind == "train",
                _steps.c.step == "synced",
                sa.func.coalesce(_rounds.c.outcome, "") != "failed",
            )
            .order_by(_rounds.c.id.desc())
            .limit(1)
        )
        with self._read() as db:
            key = db.execute(query).scalar()
            return None if key is None else _round(db, key)

    def last_step(self, project: int, step: str) -> tuple[Round, Mapping[str, Any]] | None:
        """The newest finished `step` of any round of a project, with its result."""
        query = (
            sa.select(_steps.c.round)
            .join(_rounds, _rounds.c.id == _steps.c.round)
            .where(_rounds.c.project == project, _steps.c.step == step)
            .order_by(_steps.c.round.desc())
            .limit(1)
        )
        with self._read() as db:
            key = db.execute(query).scalar()
            found = None if key is None else _round(db, key)
        return None if found is None else (found, found.steps[step])

    def finish_step(
        self, lease: Lease, round_id: int, step: str, result: Mapping[str, Any]
    ) -> Round:
        """Record that a step is done. Doing it again replaces the result."""
        values = {"result": json.dumps(result), "at": time.time()}
        with self._write() as db:
            _check_lease(db, lease)
            db.execute(
                insert(_steps)
                .values(round=round_id, step=step, **values)
                .on_conflict_do_update(index_elements=["round", "step"], set_=values)
            )
            return _round(db, round_id)

    def report(self, lease: Lease, round_id: int, progress: Mapping[str, Any]) -> None:
        """Overwrite a round's progress (at most once a second, by the caller)."""
        with self._write() as db:
            _check_lease(db, lease)
            db.execute(
                _rounds.update()
                .where(_rounds.c.id == round_id)
                .values(progress=json.dumps(progress))
            )

    def end_round(self, lease: Lease, round_id: int, outcome: str, message: str) -> Round:
        """Close a round as served, kept or failed, with a sentence for people."""
        with self._write() as db:
            _check_lease(db, lease)
            db.execute(
                _rounds.update()
                .where(_rounds.c.id == round_id)
                .values(ended=time.time(), outcome=outcome, message=message)
            )
            return _round(db, round_id)

    # --- versions ---------------------------------------------------------------------------

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
        """Record a published version; again is the same as once."""
        with self._write() as db:
            _check_lease(db, lease)
            db.execute(
                insert(_versions)
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
            sa.select(_versions)
            .filter_by(project=project)
            .order_by(_versions.c.round.desc(), _versions.c.created.desc())
        )
        if not pruned:
            query = query.where(_versions.c.pruned.is_(None))
        with self._read() as db:
            return [_version(row) for row in db.execute(query)]

    def prune_version(self, lease: Lease | None, project: int, version: str) -> None:
        """Record that a version's predictions and checkpoint go. Without a lease: by hand."""
        with self._write() as db:
            if lease is not None:
                _check_lease(db, lease)
            db.execute(
                _versions.update()
                .where(_versions.c.project == project, _versions.c.version == version)
                .values(pruned=time.time())
            )


def _engine(path: Path, busy_ms: int) -> sa.Engine:
    """An engine whose transactions we open ourselves (BEGIN IMMEDIATE)."""
    engine = sa.create_engine(
        f"sqlite:///{path}", connect_args={"timeout": busy_ms / 1000}, pool_size=8
    )

    @sa.event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver must not open transactions by itself
        for pragma in (
            f"busy_timeout={busy_ms}",
            "journal_mode=WAL",
            # NORMAL survives a killed process; FULL was seen to take over a second a commit
            "synchronous=NORMAL",
            "foreign_keys=ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    return engine


def _acknowledge(db: sa.Connection, event: Event) -> None:
    """Mark an event as taken in up to what was read."""
    db.execute(
        _events.update()
        .where(_events.c.project == event.project, _events.c.kind == event.kind)
        .where(_events.c.acknowledged < event.recorded)
        .values(acknowledged=event.recorded, since=time.time())
    )


def _check_lease(db: sa.Connection, lease: Lease, name: str = "worker") -> None:
    """Raise LeaseLost unless the lease's token is the newest."""
    token = db.execute(sa.select(_lease.c.token).filter_by(name=name)).scalar()
    if token != lease.token:
        raise LeaseLost(f"Lease {lease.token} was taken over (now {token}); this worker stops.")


def _round(db: sa.Connection, round_id: int) -> Round:
    """Read one round with its steps."""
    row = db.execute(sa.select(_rounds).filter_by(id=round_id)).first()
    if row is None:
        raise StoreError(f"There is no round {round_id}.")
    steps = db.execute(sa.select(_steps).filter_by(round=round_id).order_by(_steps.c.at))
    return Round(
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
        {step.step: json.loads(step.result) for step in steps},
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


def _me() -> str:
    """Name of the running process, so that a later one can see whether it still lives."""
    return f"{socket.gethostname()}/{os.getpid()}/{psutil.Process().create_time():.2f}"


def _alive(owner: str) -> bool:
    """False only if the owner ran on this machine and is dead for certain."""
    host, pid, born = owner.rsplit("/", 2)
    if host != socket.gethostname():
        return True
    try:
        return abs(psutil.Process(int(pid)).create_time() - float(born)) < 1.0
    except psutil.NoSuchProcess:
        return False


def _cause(error: Exception) -> str:
    """The driver's words, without SQL."""
    return str(getattr(error, "orig", None) or error)

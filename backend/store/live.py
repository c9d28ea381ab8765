"""What people did with pre-annotations: one row for each annotation, with counts by label.

The worker writes a row when it reads a new or edited annotation (`backend.worker.live`). It keeps
counts alone, so that a row outlives the predictions it was compared with.
`backend.store.live_evaluation` adds the rows up.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from backend.store.lease import Lease, check_lease
from backend.store.transactions import META, Transactions

Kind = Literal[
    "visible", "blank", "no_model", "other_model", "before", "converted", "unknown", "unreadable"
]
"""What an annotation began with:

- visible: the pre-annotation of a version, perhaps without a region, since the model found nothing.
- blank: the task is one of BLANK_SHARE; the regions that were withheld are compared.
- no_model: the version was a first order, or had not scored the image, or the config takes no
  regions.
- other_model: the prediction of another backend.
- before: it is older than the first version.
- converted: all regions of a prediction, without a lead time: Label Studio made it, nobody looked.
- unknown: Label Studio does not say which prediction it began with.
- unreadable: it has a region that cannot be read.
"""
KINDS: tuple[Kind, ...] = get_args(Kind)
Counts = dict[str, int]
"""Fields of `taudis.evaluation.changes.Changes` -> number. Fields with 0 may be left out."""

live_table = sa.Table(
    "live_annotations",
    META,
    sa.Column("project", sa.Integer, primary_key=True),
    sa.Column("annotation", sa.Integer, primary_key=True),
    sa.Column("task", sa.Integer, nullable=False),
    sa.Column("updated_at", sa.Text, nullable=False),  # as Label Studio wrote it
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),  # '' where none is known
    sa.Column("annotator", sa.Integer),
    sa.Column("lead_time", sa.Float),  # seconds
    sa.Column("counts", sa.Text, nullable=False),  # JSON: label -> Counts; null: not compared
    sa.Column("outdated", sa.Boolean, nullable=False),
    sa.Column("written", sa.Float, nullable=False),  # seconds since 1970
)


@dataclass(frozen=True)
class LiveRow:
    """One annotation."""

    annotation: int
    task: int
    updated_at: str
    kind: Kind
    version: str = ""
    annotator: int | None = None
    lead_time: float | None = None  # seconds
    counts: Mapping[str, Counts] | None = field(default=None)  # by label; None: not compared
    outdated: bool = False  # edited after the pre-annotation was pruned; the counts are older


class LiveRows(Transactions):
    """Reads and writes the rows of the live evaluation."""

    def live_rows(self, project: int) -> list[LiveRow]:
        """A project's rows, by annotation."""
        query = sa.select(live_table).filter_by(project=project).order_by(live_table.c.annotation)
        with self.reading() as db:
            return [_row(row) for row in db.execute(query)]

    def live_stamp(self, project: int) -> tuple[int, float]:
        """The number of rows and the time of the last write: one of them changes with the rows."""
        query = sa.select(sa.func.count(), sa.func.max(live_table.c.written))
        with self.reading() as db:
            number, last = db.execute(query.filter_by(project=project)).one()
        return int(number), float(last or 0.0)

    def keep_live_rows(self, lease: Lease, project: int, rows: Iterable[LiveRow]) -> None:
        """Write rows, in place of those of the same annotations.

        Raises LeaseLost if another worker holds the lease.
        """
        with self.writing() as db:
            check_lease(db, lease)
            for row in rows:
                values = asdict(row) | {"counts": json.dumps(row.counts), "written": time.time()}
                db.execute(
                    insert(live_table)
                    .values(project=project, **values)
                    .on_conflict_do_update(index_elements=["project", "annotation"], set_=values)
                )

    def forget_live_rows(self, lease: Lease, project: int, gone: Collection[int]) -> None:
        """Delete the rows of these annotations. Raises LeaseLost as `keep_live_rows` does."""
        with self.writing() as db:
            check_lease(db, lease)
            for annotation in gone:
                db.execute(
                    live_table.delete().where(
                        live_table.c.project == project, live_table.c.annotation == annotation
                    )
                )


def _row(row: Any) -> LiveRow:
    return LiveRow(
        row.annotation,
        row.task,
        row.updated_at,
        row.kind,
        row.version,
        row.annotator,
        row.lead_time,
        json.loads(row.counts),
        row.outdated,
    )

"""How people changed pre-annotations: one row for each annotation, with counts by label.

The worker writes a row when it reads a new or edited annotation (`backend.worker.live`). A row has
only counts, so it stays valid after the compared predictions are deleted.
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
"""What an annotation started from:

- visible: the pre-annotation of a version, which has no region if the model found nothing.
- blank: nothing, as a task of BLANK_SHARE. The annotation is compared with the withheld regions.
- no_model: nothing. The version was a first order, or had not scored the image, or the config takes
  no regions.
- other_model: the prediction of another backend.
- before: the annotation is older than the first version.
- converted: Label Studio made the annotation from a prediction: it has all its regions and no lead
  time. No person saw it.
- unknown: Label Studio does not say which prediction the annotation started from.
- unreadable: the annotation has an unreadable region.
"""
KINDS: tuple[Kind, ...] = get_args(Kind)
Counts = dict[str, int]
"""Fields of `taudis.evaluation.changes.Changes` -> number. Zeros may be left out."""

live_table = sa.Table(
    "live_annotations",
    META,
    sa.Column("project", sa.Integer, primary_key=True),
    sa.Column("annotation", sa.Integer, primary_key=True),
    sa.Column("task", sa.Integer, nullable=False),
    sa.Column("updated_at", sa.Text, nullable=False),  # Label Studio's text
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),  # '' if unknown
    sa.Column("annotator", sa.Integer),
    sa.Column("lead_time", sa.Float),  # seconds
    sa.Column("counts", sa.Text, nullable=False),  # JSON: label -> Counts; null: not compared
    sa.Column("outdated", sa.Boolean, nullable=False),
    sa.Column("written", sa.Float, nullable=False),  # seconds since 1970
)


@dataclass(frozen=True)
class LiveRow:
    """The row of one annotation."""

    annotation: int
    task: int
    updated_at: str
    kind: Kind
    version: str = ""
    annotator: int | None = None
    lead_time: float | None = None  # seconds
    counts: Mapping[str, Counts] | None = field(default=None)  # by label; None: not compared
    outdated: bool = False  # edited after its pre-annotation was pruned; counts are older


class LiveRows(Transactions):
    """Reads and writes the rows of the live evaluation."""

    def live_rows(self, project: int) -> list[LiveRow]:
        """A project's rows, ordered by annotation id."""
        query = sa.select(live_table).filter_by(project=project).order_by(live_table.c.annotation)
        with self.reading() as db:
            return [_row(row) for row in db.execute(query)]

    def live_stamp(self, project: int) -> tuple[int, float]:
        """Number of rows and time of the last write. Any change of rows changes the pair."""
        query = sa.select(sa.func.count(), sa.func.max(live_table.c.written))
        with self.reading() as db:
            number, last = db.execute(query.filter_by(project=project)).one()
        return int(number), float(last or 0.0)

    def keep_live_rows(self, lease: Lease, project: int, rows: Iterable[LiveRow]) -> None:
        """Write rows, replacing earlier rows of the same annotations.

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

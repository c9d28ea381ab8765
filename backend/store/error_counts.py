"""How often each kind of error happened, for monitoring. The counts only rise.

The causes stand in the log, in the rounds and on the status page. The web process counts the
requests that it refuses by itself, so that refused requests cause no writes.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal, get_args

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from backend.errors import BackendError, ImageGone, StoreError, StudioError, StudioUnreachable
from backend.store import disk
from backend.store.transactions import META, Transactions

logger = logging.getLogger(__name__)

ErrorKind = Literal[
    "round_failed",  # a round ended as failed
    "step_repeated",  # a step of a round ran again, because Label Studio answered 404
    "worker_killed",  # a step ran again, because the system killed the worker for lack of memory
    "image_unreadable",  # an image that a round left out or waits for
    "studio_unanswered",  # work waits: Label Studio did not answer, after all attempts of a call
    "studio_refused",  # work waits: Label Studio answered with 4xx, such as a refused token
    "store_refused",  # work waits: the disk or the store takes no writes
    "project_waits",  # work waits for another reason, such as a labelling config
    "unexpected",  # an error that the log has with its traceback
]
KINDS: tuple[ErrorKind, ...] = get_args(ErrorKind)

errors_table = sa.Table(
    "errors",
    META,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("happened", sa.Integer, nullable=False),
)


class ErrorCounts(Transactions):
    """Counts errors by kind, over all projects."""

    def count_error(self, kind: ErrorKind, number: int = 1) -> None:
        """Add to the count of a kind. A store that takes no writes loses it, and raises nothing."""
        if not number:
            return
        try:
            with self.writing() as db:
                add_errors(db, kind, number)
        except sa.exc.SQLAlchemyError as error:
            logger.warning("An error of kind %s was not counted: %s", kind, error)

    def count_failure(self, error: Exception) -> None:
        """Count an error after which the worker waits, under the kind of its cause."""
        self.count_error(kind_of(error, self.data_dir))

    def error_counts(self) -> dict[ErrorKind, int]:
        """Kind -> how often it happened, for all kinds."""
        with self.reading() as db:
            known = {row.kind: row.happened for row in db.execute(sa.select(errors_table))}
        return {kind: known.get(kind, 0) for kind in KINDS}


def add_errors(db: sa.Connection, kind: ErrorKind, number: int = 1) -> None:
    """Add to the count of a kind, within a transaction."""
    db.execute(
        insert(errors_table)
        .values(kind=kind, happened=number)
        .on_conflict_do_update(
            index_elements=["kind"], set_={"happened": errors_table.c.happened + number}
        )
    )


def kind_of(error: Exception, data_dir: Path) -> ErrorKind:
    """The kind of an error after which the worker waits."""
    if isinstance(error, StudioUnreachable):
        return "studio_unanswered"
    if isinstance(error, StudioError):
        return "studio_refused"
    if isinstance(error, ImageGone):
        return "image_unreadable"
    if isinstance(error, (StoreError, sa.exc.OperationalError)):
        return "store_refused"
    if isinstance(error, BackendError):
        return "project_waits"
    return "store_refused" if disk.refusal(error, data_dir) else "unexpected"

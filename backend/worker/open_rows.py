"""Which predictions of old versions stay in Label Studio, because an editor may be open on them.

Label Studio's editor sends the id of the prediction that it began with (`parent_prediction`) with
each Submit, Update and Skip. If that prediction was deleted, Label Studio refuses the annotation
(400). So the rows of a version that lost its place are not deleted at once: all of them stay for
OPEN_SECONDS, and those of its first ranks for LOCK_SECONDS. The reasons for the figures are in
docs/decisions/0041-rows-that-may-be-open.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backend.label_studio.queue import score_of
from backend.store.versions import Version

OPEN_SECONDS = 3_600.0
"""All rows stay for so long: a task that was opened by hand in the Data Manager has any rank. Few
people work on one image for longer than an hour."""
LOCK_SECONDS = 86_400.0
"""The rows of the first ranks stay for so long: the default of Label Studio's TASK_LOCK_TTL. For as
long it keeps a task for the annotator to whom the queue has served it."""
FIRST_RANKS = 300
"""The queue seldom serves a task behind these while a version serves. With 10,000 tasks a round
takes 6 minutes or more, so 15 annotators can label an image every 20 s. See `first_ranks`."""
MOST_ROWS = 200_000
"""Rows that stay for this reason, of all old versions of a project together."""
_NAME = re.compile(r"taudis-\d+-([0-9a-f]+)(-\d+)?")


@dataclass(frozen=True)
class Kept:
    """The rows of an old version that stay: those up to a score, which is rank / N."""

    score: float  # 0 keeps none, infinity all
    rows: int  # about how many that are

    def are_all_of(self, rows: int) -> bool:
        """Whether none of so many rows in Label Studio is to be deleted."""
        return self.score == math.inf or (self.score > 0 and rows <= self.rows)


NONE = Kept(0.0, 0)


def first_ranks(changes: int) -> int:
    """How many ranks the queue may serve while a version serves.

    changes: labelled tasks that start a training. While it runs people label about as many more.
    """
    return max(FIRST_RANKS, 2 * changes)


def kept_rows(
    pruned: Sequence[Version], held: Mapping[str, int], now: float, ranks: int = FIRST_RANKS
) -> dict[str, Kept]:
    """Which rows of versions that lost their place stay; a version that is missing keeps none.

    The first ranks of all versions come before the other rows of any, and newer versions before
    older ones, until MOST_ROWS are kept.

    Args:
        pruned: versions with the time when they lost their place. They served until then at most.
        held: version -> number of its rows in Label Studio.
        now: seconds since 1970.
        ranks: the number of first ranks, see `first_ranks`.
    """
    aged = [(now - row.pruned, row) for row in pruned if row.pruned and held.get(row.version)]
    aged.sort(key=lambda each: each[0])
    kept, left = dict[str, Kept](), MOST_ROWS
    for age, row in aged:
        first = min(ranks, held[row.version])
        if age > LOCK_SECONDS or first > left:
            break
        kept[row.version] = Kept(score_of(ranks, max(row.tasks, 1)), ranks)
        left -= first
    for age, row in aged:
        others = held[row.version] - min(ranks, held[row.version])
        if age > OPEN_SECONDS or others > left or row.version not in kept:
            break
        kept[row.version] = Kept(math.inf, held[row.version])
        left -= others
    return kept


def made_before(version: str, started: float) -> bool:
    """Whether the round that made a version began before `started` (seconds since 1970).

    Names that do not have our form count as older.
    """
    found = _NAME.fullmatch(version)
    return found is None or int(found[1], 16) < int(started)

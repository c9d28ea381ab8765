"""Selection -> what Label Studio must hold so that it serves this order.

Label Studio's uncertainty sampling serves unlabelled tasks by ascending `prediction.score` among
the predictions of the project's current `model_version`. So an order is one prediction a task,
score = rank / N, under a fresh version; and one PATCH of `model_version` switches everybody.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.store.predictions import Prediction, Region
from taudis.types import Selection

SAMPLING = "Uncertainty sampling"
POST_BYTES = 60_000_000
"""One bulk post of this size was fine; more regions than fit are filled in later (`extend`)."""


@dataclass(frozen=True)
class QueuePlan:
    """The rows of one publish, first-ranked first; rows from `filled` on carry no regions yet."""

    version: str
    rows: tuple[dict[str, Any], ...]
    filled: int


def score_of(rank: int, tasks: int) -> float:
    """Score of a rank (1..N): rank / N, in (0, 1]."""
    return rank / tasks


def score_behind(tasks: int) -> float:
    """Score of a task that has no place yet: one place behind the last of N, 1 + 1/N.

    A confidence would jump the queue, because low scores are served first.
    """
    return 1.0 + 1.0 / max(tasks, 1)


def rank_predictions(
    selection: Selection,
    task_ids: Sequence[int],
    set_aside: Mapping[int, str],
    regions: Mapping[int, list[Region]],
) -> Iterator[Prediction]:
    """Every task of the pool in its place: the selection's order, then tasks set aside, by id.

    Args:
        selection: order over the rows of the pool.
        task_ids: [I] task id of each pool row.
        set_aside: task id -> why its image could not be read.
        regions: task id -> pre-annotation (looked up one at a time).
    """
    total = len(task_ids) + len(set_aside)
    rank = 0
    for rank, (row, reason) in enumerate(zip(selection, selection.reasons, strict=True), start=1):
        task = int(task_ids[row])
        yield Prediction(task, rank, score_of(rank, total), reason, regions.get(task, []))
    for last, task in enumerate(sorted(set_aside), start=rank + 1):
        yield Prediction(task, last, score_of(last, total), f"set aside: {set_aside[task]}", [])


def plan(version: str, ordered: Iterable[Prediction], *, post_bytes: int = POST_BYTES) -> QueuePlan:
    """The rows to post: full regions from the head on as far as the post allows.

    A row costs its JSON; once the head has used the allowance, the tail is score-only.
    """
    rows: list[dict[str, Any]] = []
    used, filled = 0, None
    for position, prediction in enumerate(ordered):
        row = prediction_row(prediction, version)
        used += len(json.dumps(row["result"]))
        if used > post_bytes:
            filled = position if filled is None else filled
            row["result"] = []
        rows.append(row)
    return QueuePlan(version, tuple(rows), len(rows) if filled is None else filled)


def prediction_row(prediction: Prediction, version: str) -> dict[str, Any]:
    """One row of POST /api/projects/{id}/import/predictions."""
    return {
        "task": prediction.task,
        "result": prediction.result,
        "score": prediction.score,
        "model_version": version,
    }

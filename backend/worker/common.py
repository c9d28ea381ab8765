"""Types of the steps of a round, and the function that records what a step left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any

from backend.label_studio.left_out import FILE, UNREADABLE_IMAGE, LeftOut, Part, Summary
from backend.store.rounds import Round
from backend.worker.context import RoundContext, read_json, write_json

Result = dict[str, Any]
"""The result in a step's row: a small JSON object."""
Report = Callable[[Mapping[str, Any]], None]
"""Receives progress: {"step", "done", "total", ...}."""
LISTED_PROBLEMS = 20


def record(
    context: RoundContext,
    round_: Round,
    part: Part,
    rows: Iterable[LeftOut],
    *,
    train: int = 0,
    validation: int = 0,
) -> Summary:
    """Write what one part of a round left out, and copy its summary to the project's row.

    A repeated call replaces the part, so a killed step can run again. Images that cannot be read
    are counted for monitoring, each once in a round.
    """
    kept = sorted(rows, key=lambda row: (row.task, row.region))
    summary = Summary.of(kept, train=train, validation=validation)
    path = context.round_dir(round_) / FILE
    before = read_json(path) if path.exists() else {}
    write_json(path, {**before, part: [asdict(row) for row in kept]})
    counted = {row["task"] for row in before.get(part, []) if row["kind"] == UNREADABLE_IMAGE}
    unreadable = {row.task for row in kept if row.kind == UNREADABLE_IMAGE}
    context.store.count_error("image_unreadable", len(unreadable - counted))
    newest = replace(summary, round=round_.number).to_json()
    by_part = {**context.load_project().state.left_out, part: newest}
    context.store.update_project(context.project_id, lease=context.lease, left_out=by_part)
    return summary

"""The table of a project's rounds, for the command `rounds`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from backend.store.database import Store
from backend.store.rounds import Round
from backend.worker.context import RoundContext

WIDE = 130
"""Width of a terminal, in characters, from which each fact of a round has its own column."""

_STEPS = {
    "synced": "reading labels",
    "embedded": "looking at images",
    "trained": "training",
    "evaluated": "evaluating",
    "scored": "scoring",
    "selected": "choosing an order",
    "published": "publishing",
    "flipped": "switching",
    "pruned": "tidying up",
    "compared": "comparing arms",
}
"""The steps of a round in short words: they stand in a narrow column."""
_FACTS = ("round", "kind", "started", "state", "labels", "mAP50")


def table(store: Store, project: int, limit: int, *, width: int) -> Table:
    """A table of the newest rounds, newest first.

    On a terminal narrower than WIDE, the facts of a round are stacked in one column. Otherwise the
    column of reason and result would be too narrow.
    """
    found = store.rounds(project, limit)
    rows = [(_facts(row), escape(f"{row.reason}. {row.message}")) for row in found]
    if width >= WIDE:
        wide = Table(*_FACTS, "reason and result")
        for facts, result in rows:
            wide.add_row(*facts, result)
        return wide
    narrow = Table("round", "reason and result", show_lines=True)
    narrow.columns[0].no_wrap = True
    for facts, result in rows:
        narrow.add_row(_stacked(facts), result)
    return narrow


def none_yet(context: RoundContext) -> str:
    """Why a project has no round, and what starts one, in words."""
    state, number = context.load_project().state, context.project_id
    said = f"Project {number}: no round has run yet."
    if state.disconnected:
        return f"{said} It is disconnected; `python -m backend connect --project {number}` helps."
    pause, wanted = context.settings.poll_seconds, context.settings.changes_per_round
    parts = [
        said,
        f"The worker starts the first one, which orders the tasks, within about {pause:.0f} s after"
        " the project is connected.",
        f"A training starts after {wanted} labels, or when somebody presses Start Training.",
    ]
    if not context.store.worker_alive():
        parts.append("No worker runs now: start one (`python -m backend serve`).")
    parts += [f"It waits: {state.waiting_reason}"] if state.waiting_reason else []
    return " ".join(parts)


def _stacked(facts: Sequence[str]) -> str:
    """The known facts of a round, one per line."""
    number, kind, started, state, labels, map50 = facts
    lines = [f"{number} {kind}", started, state]
    lines += [f"labels: {labels}"] if labels else []
    lines += [f"mAP50 {map50}"] if map50 else []
    return "\n".join(lines)


def _facts(row: Round) -> tuple[str, ...]:
    synced = row.steps.get("synced", {})
    map50 = row.steps.get("evaluated", {}).get("metrics", {}).get("map50")
    return (
        str(row.number),
        row.kind,
        time.strftime("%Y-%m-%d %H:%M", time.localtime(row.started)),
        row.outcome or _step(row),
        _labels(synced, row.steps.get("trained", {}).get("left_out")),
        "" if map50 is None else f"{map50:.3f}",
    )


def _labels(synced: Mapping[str, Any], left_out: Mapping[str, Any] | None) -> str:
    """The number of a round's labelled tasks, and of tasks left out."""
    count = str(synced.get("labelled", ""))
    return f"{count} ({left_out['tasks']} left out)" if left_out and left_out["tasks"] else count


def _step(row: Round) -> str:
    """The step of an open round, and how much of it is done."""
    percent = _percent(row.progress)
    step = _STEPS.get(row.next_step or "", row.next_step or "")
    return f"{step}, {percent} done" if percent else step


def _percent(progress: object) -> str:
    """Progress of the current step in percent; "" if the step does not count."""
    total = progress.get("total", 0) if isinstance(progress, dict) else 0
    return f"{100 * progress['done'] // total} %" if total and isinstance(progress, dict) else ""

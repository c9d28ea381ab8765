"""The table of the rounds of a project, for the command `rounds`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich.table import Table

from backend.store.database import Store


def table(store: Store, project: int, limit: int) -> Table:
    """The newest rounds, newest first."""
    found = Table("round", "kind", "started", "state", "labels", "mAP50", "reason and result")
    for row in store.rounds(project, limit):
        synced = row.steps.get("synced", {})
        map50 = row.steps.get("evaluated", {}).get("metrics", {}).get("map50")
        state = row.outcome or f"in {row.next_step} {_percent(row.progress)}"
        found.add_row(
            str(row.number),
            row.kind,
            time.strftime("%Y-%m-%d %H:%M", time.localtime(row.started)),
            state,
            _labels(synced, row.steps.get("trained", {}).get("left_out")),
            "" if map50 is None else f"{map50:.3f}",
            f"{row.reason}. {row.message}",
        )
    return found


def _labels(synced: Mapping[str, Any], left_out: Mapping[str, Any] | None) -> str:
    """The number of a round's labelled tasks, and of those left out."""
    count = str(synced.get("labelled", ""))
    return f"{count} ({left_out['tasks']} left out)" if left_out and left_out["tasks"] else count


def _percent(progress: object) -> str:
    """Progress of the current step in percent; "" if the step does not count."""
    total = progress.get("total", 0) if isinstance(progress, dict) else 0
    return f"{100 * progress['done'] // total} %" if total and isinstance(progress, dict) else ""

"""Notices that the system ended the worker for lack of memory.

The kernel ends a process by SIGKILL when memory runs out, so no error is raised. The next worker
would run the same step again, without end. Each report of progress therefore holds how many
processes the kernel has ended so far. Where another worker goes on with the step, and the number
has grown since the last report, the worker before was probably among them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from backend.errors import RoundError
from backend.store.lease import Lease
from backend.store.rounds import Round

MOST = 3
"""Workers that may end this way in one step; then the round fails."""
_COUNTER = Path("/proc/vmstat")


def kills() -> int:
    """How many processes the kernel has ended for lack of memory; 0 where it does not tell."""
    try:
        found = re.search(r"^oom_kill (\d+)$", _COUNTER.read_text(encoding="ascii"), re.M)
    except OSError:
        return 0
    return int(found[1]) if found else 0


def deaths(round_: Round, step: str, lease: Lease) -> int:
    """How many workers in a row ended for lack of memory in a step that this one goes on with."""
    last = round_.progress
    if last.get("step") != step or "oom_kills" not in last:
        return 0
    before = int(last["oom_deaths"])
    if last["token"] == lease.token:
        return before
    return before + 1 if kills() > last["oom_kills"] else 0


def to_report(found: int, lease: Lease) -> dict[str, Any]:
    """What each report of progress holds for the next worker. `found`: of `deaths`."""
    return {"oom_kills": kills(), "oom_deaths": found, "token": lease.token}


def check(found: int) -> None:
    """Raise RoundError if as many workers have ended as may. `found`: of `deaths`."""
    if found >= MOST:
        raise RoundError(
            f"Out of memory: the system ended the worker {found} times in this step. Give the"
            " worker more memory, or set a smaller recipe."
        )

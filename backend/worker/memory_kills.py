"""Detects that the kernel killed the worker for lack of memory.

When memory runs out, the kernel ends a process by SIGKILL, so no error is raised, and each new
worker would repeat the same step for ever. Each progress report therefore records how many
processes the kernel has killed. If another worker resumes the step and the number has grown since
the last report, the previous worker was probably killed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from backend.errors import RoundError
from backend.store.lease import Lease
from backend.store.rounds import Round

MOST = 3
"""Number of workers killed in one step after which the round fails."""
_COUNTER = Path("/proc/vmstat")


def kills() -> int:
    """How many processes the kernel has killed for lack of memory; 0 if it has no counter."""
    try:
        found = re.search(r"^oom_kill (\d+)$", _COUNTER.read_text(encoding="ascii"), re.M)
    except OSError:
        return 0
    return int(found[1]) if found else 0


def deaths(round_: Round, step: str, lease: Lease) -> int:
    """How many workers in a row were killed for lack of memory in the step that `lease` resumes."""
    last = round_.progress
    if last.get("step") != step or "oom_kills" not in last:
        return 0
    before = int(last["oom_deaths"])
    if last["token"] == lease.token:
        return before
    return before + 1 if kills() > last["oom_kills"] else 0


def to_report(found: int, lease: Lease) -> dict[str, Any]:
    """The part of each progress report that the next worker reads. `found`: result of `deaths`."""
    return {"oom_kills": kills(), "oom_deaths": found, "token": lease.token}


def check(found: int) -> None:
    """Raise RoundError if MOST workers were killed. `found`: result of `deaths`."""
    if found >= MOST:
        raise RoundError(
            f"Out of memory: the system ended the worker {found} times in this step. Give the"
            " worker more memory, or set a smaller recipe."
        )

"""Hooks of gunicorn for several web processes: /metrics sums the figures of all of them.

With PROMETHEUS_MULTIPROC_DIR, prometheus_client keeps the figures of each process in a file, and
`backend.web.metrics` adds the files up at each scrape. The file of an ended process stays, so a
counter never falls while gunicorn runs. A single web process keeps its figures in memory alone.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from backend.settings import set_for_libraries

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # read by prometheus_client when it is imported
_MEMORY = Path("/dev/shm")  # noqa: S108
_made: list[str] = []


def when_ready(_server: object) -> None:
    """Make the folder of the figures. Gunicorn calls this once, before it starts web processes."""
    # In memory, because on a full disk the system ends a process that writes to a mapped file.
    where = _MEMORY if _MEMORY.is_dir() else None
    _made.append(tempfile.mkdtemp(prefix="taudis-metrics-", dir=where))
    set_for_libraries(VARIABLE, _made[-1])


def on_exit(_server: object) -> None:
    """Delete the folder when gunicorn ends. After SIGKILL some kB stay until the next boot."""
    for folder in _made:
        shutil.rmtree(folder, ignore_errors=True)

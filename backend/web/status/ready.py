"""The reasons why no round can run, for /ready and the top of the status page."""

from __future__ import annotations

from sqlalchemy.exc import SQLAlchemyError

from backend.errors import StoreError
from backend.store.database import Store

NO_WORKER = (
    "No worker runs: labels are recorded, but no round starts. Start `python -m backend worker`, or"
    " `python _wsgi.py`, which keeps one running."
)


def not_ready(store: Store) -> list[str]:
    """The reasons why no round can run now; [] if rounds can run."""
    try:
        store.check_writable()
        reasons = [] if store.worker_alive() else [NO_WORKER]
        projects = store.projects()
    except (StoreError, SQLAlchemyError) as error:
        return [str(error) if isinstance(error, StoreError) else "The store cannot be read."]
    projects = [p for p in projects if not p.state.gone]
    stuck = [p for p in projects if p.state.waiting_reason]
    if projects and len(stuck) == len(projects):
        reasons += [f"Project {p.id}: {p.state.waiting_reason}" for p in stuck]
    return reasons

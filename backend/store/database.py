"""The store: data shared by the web process and the worker, in one SQLite file.

Each subject has a module: events, projects, rounds, versions, arms, the lease, the live evaluation
and counts of errors. `Store` joins them. Every public method is one transaction
(`backend.store.transactions`). The store never holds a token (see `backend.store.secrets`).
"""

from __future__ import annotations

from backend.store.arms import Arms
from backend.store.error_counts import ErrorCounts
from backend.store.events import Events
from backend.store.forgetting import Forgetting
from backend.store.lease import Leases
from backend.store.live import LiveRows
from backend.store.projects import Projects
from backend.store.rounds import Rounds
from backend.store.versions import Versions


class Store(Events, Projects, Leases, Rounds, Versions, Arms, LiveRows, ErrorCounts, Forgetting):
    """The shared store. Safe for many threads and processes."""

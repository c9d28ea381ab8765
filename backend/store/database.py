"""The store: what the web process and the worker share, in one SQLite file in the data directory.

Each subject has a file of its own: events, projects, rounds, versions, arms, the lease and the live
evaluation. Store joins them. Every public method is one transaction
(`backend.store.transactions`). No token is ever written here (see `backend.store.secrets`).
"""

from __future__ import annotations

from backend.store.arms import Arms
from backend.store.events import Events
from backend.store.forgetting import Forgetting
from backend.store.lease import Leases
from backend.store.live import LiveRows
from backend.store.projects import Projects
from backend.store.rounds import Rounds
from backend.store.versions import Versions


class Store(Events, Projects, Leases, Rounds, Versions, Arms, LiveRows, Forgetting):
    """The shared store. Safe for many threads and processes."""

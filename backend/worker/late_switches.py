"""Undoes the switch of a worker that lost its lease.

A worker that was suspended, or whose request is slow, may switch the project to its order after
another worker has taken the lease and switched to a newer order. Label Studio knows no leases and
obeys the late request. Each worker therefore announces a switch in the store before it sends the
request, and the next worker undoes announced switches that arrive late. Otherwise the late order
would count as a person's choice and stay.
"""

from __future__ import annotations

import logging

from backend.store.lease import Lease, may_live
from backend.store.state import ProjectState
from backend.worker.context import RoundContext

logger = logging.getLogger(__name__)


def announce(context: RoundContext, version: str) -> None:
    """Record that this worker is about to switch to `version`, and extend its lease.

    Raises LeaseLost if another worker took over.
    """
    state = context.load_project().state
    before, late = state.switching, list(state.late_switches)
    if before and before["token"] != context.lease.token and may_live(before["owner"]):
        late = list(dict.fromkeys([*late, str(before["version"])]))
    context.store.renew(context.lease)
    lease = context.lease
    context.store.update_project(
        context.project_id,
        lease=lease,
        switching={"version": version, "token": lease.token, "owner": lease.owner},
        late_switches=late,
    )


def of(state: ProjectState, lease: Lease) -> set[str]:
    """The orders to which workers with earlier leases may still switch; never this worker's."""
    found, switching = set(state.late_switches), state.switching
    if switching and switching["token"] == lease.token:
        return found - {switching["version"]}
    if switching and may_live(switching["owner"]):
        found.add(str(switching["version"]))
    return found


def undo(context: RoundContext) -> bool:
    """Switch back to the order in the store after a late switch. Returns whether there was one."""
    with context.switching:
        current = str(context.studio.project(context.project_id).get("model_version") or "")
        state = context.load_project().state  # read second: a switch is announced before it happens
        if current == state.serving or not (state.serving and state.armed):
            return False
        if current not in of(state, context.lease):
            return False
        logger.warning(
            "Project %s: a worker without the lease switched to %s; back to %s",
            *(context.project_id, current, state.serving),
        )
        context.studio.patch_project(context.project_id, model_version=state.serving)
        rest = [version for version in state.late_switches if version != current]
        context.store.update_project(
            context.project_id, lease=context.lease, switching=None, late_switches=rest
        )
        return True

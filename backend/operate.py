"""What an engineer does by hand: roll back, unpin, connect, disconnect."""

from __future__ import annotations

from backend.connect import our_backend
from backend.desk import Desk
from backend.errors import RoundError
from backend.store import Version


def rollback(desk: Desk, version: str = "") -> Version:
    """Serve an earlier version's order and predictions, and stay there until `unpin`.

    Args:
        desk: the project's desk.
        version: which one; by default the newest one older than the one now served.

    Raises:
        RoundError: there is no such version, or its predictions are gone.
    """
    target = _rollback_target(desk, version)
    before = desk.project.state
    # The pin first: a round that is about to flip must see it.
    desk.store.update_project(desk.project_id, pinned=target.version)
    try:
        desk.studio.patch_project(desk.project_id, model_version=target.version)
    except Exception:
        desk.store.update_project(desk.project_id, pinned=before.get("pinned"))
        raise
    desk.store.update_project(desk.project_id, serving=target.version, model=target.model, drift="")
    return target


def _rollback_target(desk: Desk, version: str) -> Version:
    """The version to go back to, checked against what Label Studio still holds."""
    published = [row for row in desk.store.versions(desk.project_id) if row.tasks]
    names = [row.version for row in published]
    serving = str(desk.project.state.get("serving") or "")
    if version:
        found = [row for row in published if row.version == version]
    else:
        later = names.index(serving) + 1 if serving in names else 0  # newest first
        found = published[later : later + 1]
    held = desk.studio.model_versions(desk.project_id)
    if not found or not held.get(found[0].version):
        raise RoundError(
            f"Expected a published version {version or 'older than ' + repr(serving)} to go back"
            f" to; there are {[name for name in names if held.get(name)]}."
        )
    return found[0]


def unpin(desk: Desk) -> Version | None:
    """Let the order move on: serve the newest published version. None if there is none."""
    published = [row for row in desk.store.versions(desk.project_id) if row.tasks]
    desk.store.update_project(desk.project_id, pinned="")
    if not published:
        return None
    newest = published[0]
    desk.studio.patch_project(desk.project_id, model_version=newest.version)
    desk.store.update_project(desk.project_id, serving=newest.version, model=newest.model, drift="")
    return newest


def connect_backend(desk: Desk, title: str) -> int:
    """Add this backend to the project, as the Model page's form does. Returns its id there.

    If it is there already, nothing is added. The worker arms the project at its next look.

    Raises:
        SettingsError, StudioRejected: with Label Studio's own reason.
    """
    desk.store.update_project(desk.project_id, disconnected=False)
    try:
        row = our_backend(desk)
    except RoundError:
        settings = desk.settings
        row = desk.studio.create_ml_backend(
            desk.project_id,
            url=settings.backend_url or f"http://localhost:{settings.port}",
            title=title,
            user=settings.basic_auth_user,
            password=settings.basic_auth_pass.get_secret_value(),
        )
    desk.store.ring(desk.project_id, "setup")
    return int(row["id"])

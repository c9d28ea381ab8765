"""What an engineer does by hand: roll back, promote, unpin, connect, disconnect."""

from __future__ import annotations

from backend.errors import RoundError
from backend.label_studio.label_config import parse_label_config
from backend.store import serving as models
from backend.store.database import Version
from backend.worker.connection import our_backend
from backend.worker.context import Desk
from taudis.detector.checkpoint import read_card


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
    desk.store.update_project(desk.project_id, pinned=target.version, promoted="")
    try:
        desk.studio.patch_project(desk.project_id, model_version=target.version)
    except Exception:
        pinned, promoted = before.get("pinned"), before.get("promoted")
        desk.store.update_project(desk.project_id, pinned=pinned, promoted=promoted)
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
        found = models.older_versions(desk.store, desk.project)[:1]
    held = desk.studio.model_versions(desk.project_id)
    if not found or not held.get(found[0].version):
        raise RoundError(
            f"Expected a published version {version or 'older than ' + repr(serving)} to go back"
            f" to; there are {[name for name in names if held.get(name)]}."
        )
    return found[0]


def promote(desk: Desk, version: str) -> str:
    """Make a kept model the one that serves, whatever it was judged; returns the model's version.

    Nothing is switched now: the worker opens a round that scores the unlabelled pool with the model
    and flips to that order; until then everybody works on as before. From then on the model holds
    its place: later rounds train and judge, and score the pool with it, but do not replace it,
    until `unpin`, `rollback` or another `promote`. A pin by a rollback ends.

    Args:
        desk: the project's desk.
        version: a version with a checkpoint, or one whose order some checkpoint made.

    Raises:
        RoundError: there is no such model, or it has other labels than the labelling config.
        CheckpointError: it is damaged, with the file.
    """
    model = models.model_of(desk, version)
    labels = tuple(read_card(desk.model_dir(model))["labels"])
    config = parse_label_config(desk.studio.project(desk.project_id)["label_config"])
    if labels != config.label_map.names:
        raise RoundError(
            f"Expected a model for the labels {list(config.label_map.names)}, got {model} for"
            f" {list(labels)}. Train one for the labels of now: Start Training."
        )
    desk.store.update_project(desk.project_id, promoted=model, pinned="", reorder=True, drift="")
    desk.store.ring(desk.project_id, "changed")  # the worker looks at once
    return model


def unpin(desk: Desk) -> Version | None:
    """Let things move on after a rollback or a promotion: serve the newest published version.

    After a promotion the model stays until a round finds one that is not worse. None if nothing
    was published.
    """
    published = [row for row in desk.store.versions(desk.project_id) if row.tasks]
    desk.store.update_project(desk.project_id, pinned="", promoted="")
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

"""What is let go of: old versions, here and in Label Studio; never one that serves or may again.

Label Studio deletes a whole version in one call, during which every annotator waits (29-61 s for
10,000 rows); row by row nobody waits, but it takes 0.1 s a row. So it goes row by row while people
label, and in one call when nobody has for a while.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from backend import predictions
from backend.desk import Desk, remove_tree, state_of, version_name

logger = logging.getLogger(__name__)

OURS = "taudis-"
ROWS_AT_A_TIME = 40  # about 5 s
QUIET_SECONDS = 900.0  # without a label: nobody is there to wait
KEPT_ROUNDS = 10  # working files of rounds


def versions_to_keep(desk: Desk) -> set[str]:
    """What Label Studio serves, what is pinned, and the newest orders up to the setting."""
    state = desk.project.state
    newest = [row.version for row in desk.store.versions(desk.project_id) if row.tasks]
    served = desk.studio.project(desk.project_id).get("model_version")
    keep = {*newest[: desk.settings.keep_versions]}
    return keep | {str(v) for v in (served, state.get("serving"), state.get("pinned")) if v}


def forget_old_versions(desk: Desk) -> list[str]:
    """Delete predictions, checkpoints and working files of old versions here. Returns which."""
    keep = versions_to_keep(desk)
    known = {row.version: row for row in desk.store.versions(desk.project_id)}
    old = [version for version in known if version not in keep]
    for version in old:
        predictions.path_of(desk.data, desk.project_id, version).unlink(missing_ok=True)
        desk.store.prune_version(desk.lease, desk.project_id, version)
    kept = [row for version, row in known.items() if version in keep]
    models = {row.model for row in kept} | {str(state_of(desk.project, "model", ""))}
    for row in kept:  # a model that was judged worse is kept as long as its round's order
        models.add(str(desk.store.round(row.round).steps.get("trained", {}).get("version", "")))
    _remove_others(desk.data / "models" / str(desk.project_id), models)
    recent = desk.store.rounds(desk.project_id, limit=KEPT_ROUNDS)
    training = desk.store.last_training(desk.project_id)  # its snapshot says what is new since
    folders = {f"{r.number:04d}" for r in [*recent, *([training] if training else [])]}
    _remove_others(desk.data / "rounds" / str(desk.project_id), folders)
    return old


def delete_some_in_studio(desk: Desk) -> int:
    """Delete some rows of old versions of ours in Label Studio; how many. 0: nothing is left.

    Whatever a killed publish left behind goes this way, too.
    """
    there = desk.studio.model_versions(desk.project_id)
    # Read after the list: what was posted by then is in a round that is open, or in the store.
    unfinished = tuple(
        version_name(row) for row in desk.store.open_rounds() if row.project == desk.project_id
    )
    # Only what the store has let go of: a rollback may choose any of the others.
    keep = versions_to_keep(desk) | {row.version for row in desk.store.versions(desk.project_id)}
    for version, rows in sorted(there.items()):
        mine = version.startswith(OURS) and rows > 0
        if not mine or version in keep or (unfinished and version.startswith(unfinished)):
            continue
        if _quiet(desk):
            logger.info("Project %s: deleting version %s", desk.project_id, version)
            return desk.studio.delete_version(desk.project_id, version)
        return desk.studio.delete_predictions(desk.project_id, version, at_most=ROWS_AT_A_TIME)
    return 0


def _quiet(desk: Desk) -> bool:
    """Whether no news of labels came for a while."""
    state = desk.project.state
    last = max(float(state.get(key) or 0.0) for key in ("labelled_at", "flipped_at"))
    return time.time() - last > QUIET_SECONDS


def _remove_others(folder: Path, keep: set[str]) -> None:
    """Remove the sub-folders that are not named in `keep`."""
    if folder.exists():
        for path in folder.iterdir():
            if path.is_dir() and path.name not in keep:
                remove_tree(path)

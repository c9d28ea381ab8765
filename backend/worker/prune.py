"""Deletes old versions, locally and in Label Studio. Never the served, pinned or rollback version.

Label Studio can delete the predictions of a version in one call. All annotators wait for that call:
29 to 61 s for 10,000 predictions. To delete a single prediction takes 0.1 s, and nobody waits. So
predictions are deleted one by one while people label, and in one call after a quarter of an hour
without a label.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from backend.store import serving
from backend.store.predictions import first_attempt
from backend.store.rounds import Round
from backend.worker.common import Report, Result
from backend.worker.context import RoundContext, remove, version_name
from backend.worker.embeddings import FILE as EMBEDDINGS_FILE

logger = logging.getLogger(__name__)

ROWS_AT_A_TIME = 40  # about 5 s
QUIET_SECONDS = 900.0  # without a label: nobody is there to wait
KEPT_ROUNDS = 10  # working files of rounds


@dataclass(frozen=True)
class Plan:
    """What can be let go of here: orders, by version, and the files and folders that go."""

    versions: tuple[str, ...]
    paths: tuple[Path, ...]

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(size_of(path) for path in self.paths)


def size_of(path: Path) -> int:
    """Bytes of a file, or of everything in a folder; what vanishes meanwhile counts nothing."""
    files = path.rglob("*") if path.is_dir() else [path]
    total = 0
    for file in files:
        try:
            total += file.stat().st_size if file.is_file() else 0
        except OSError:
            continue
    return total


def prune(context: RoundContext, round_: Round, report: Report) -> Result:
    """Let go of versions, checkpoints and working files that are older than the kept ones.

    Their predictions in Label Studio go little by little, by the worker's cleaner.
    """
    return {"versions": forget_old_versions(context)}


def versions_to_keep(context: RoundContext) -> set[str]:
    """What Label Studio serves, what a rollback would, the pinned, the newest up to the setting."""
    state = context.load_project().state
    newest = [row.version for row in context.store.versions(context.project_id) if row.tasks]
    served = str(context.studio.project(context.project_id).get("model_version") or "")
    before = [
        row.version for row in serving.older_versions(context.store, context.load_project())[:1]
    ]
    keep = {*newest[: context.settings.keep_versions], *before}
    return keep | serving.orders_in_use(state, served)


def plan(context: RoundContext) -> Plan:
    """What is older than the kept versions; never what serves, may again, or is being made."""
    keep = versions_to_keep(context)
    known = {row.version: row for row in context.store.versions(context.project_id)}
    old = tuple(version for version in known if version not in keep)
    kept = [row for version, row in known.items() if version in keep]
    wanted = serving.models_in_use(context.load_project().state) | {row.model for row in kept}
    for row in kept:  # a model that evaluated worse is kept as long as its round's order
        wanted.add(str(context.store.round(row.round).steps.get("trained", {}).get("version", "")))
    recent = context.store.rounds(context.project_id, limit=KEPT_ROUNDS)
    making = tuple(version_name(round_) for round_ in recent if round_.ended is None)
    # The snapshot of the last training says which labels are new since.
    training = context.store.last_training(context.project_id)
    folders = {f"{r.number:04d}" for r in [*recent, *([training] if training else [])]}
    if not context.load_project().state.model:
        folders.add(EMBEDDINGS_FILE.partition(".")[0])
    orders = {first_attempt(version) for version in keep}
    paths = [
        *_others(context.data / "predictions" / str(context.project_id), orders, making),
        *_others(context.model_dir(""), wanted, making),
        *_others(context.data / "rounds" / str(context.project_id), folders),
    ]
    return Plan(old, tuple(paths))


def forget_old_versions(context: RoundContext) -> list[str]:
    """Delete predictions, checkpoints and working files of old versions here. Returns which."""
    return forget(context, plan(context))


def forget(context: RoundContext, planned: Plan, *, by_hand: bool = False) -> list[str]:
    """Delete what was planned; `by_hand` without a lease, beside a worker.

    The rows in Label Studio go little by little, by the worker's cleaner.
    """
    for version in planned.versions:
        context.store.prune_version(None if by_hand else context.lease, context.project_id, version)
    for path in planned.paths:
        remove(path)
    return list(planned.versions)


def delete_some_in_studio(context: RoundContext) -> int:
    """Delete some rows of old versions of ours in Label Studio; how many. 0: nothing is left.

    Whatever a killed publish left behind goes this way, too.
    """
    there = context.studio.model_versions(context.project_id)
    # Read after the list: what was posted by then is in a round that is open, or in the store.
    unfinished = tuple(
        version_name(row)
        for row in context.store.open_rounds()
        if row.project == context.project_id
    )
    # Only what the store has let go of: a rollback may choose any of the others.
    keep = versions_to_keep(context) | {
        row.version for row in context.store.versions(context.project_id)
    }
    for version, rows in sorted(there.items()):
        mine = version.startswith(serving.OURS) and rows > 0
        if not mine or version in keep or (unfinished and version.startswith(unfinished)):
            continue
        if _quiet(context):
            logger.info("Project %s: deleting version %s", context.project_id, version)
            return context.studio.delete_version(context.project_id, version)
        return context.studio.delete_predictions(
            context.project_id, version, at_most=ROWS_AT_A_TIME
        )
    return 0


def _quiet(context: RoundContext) -> bool:
    """Whether no label and no order changed for a while.

    While a round is open, labels are not counted but wait as an event. An order that has just
    changed tells of labels that the scheduler is about to count.
    """
    events = context.store.pending_events()
    if any(e.project == context.project_id and e.kind == "changed" for e in events):
        return False
    state = context.load_project().state
    last = max(state.labelled_at, state.flipped_at)
    return time.time() - last > QUIET_SECONDS


def _others(folder: Path, keep: set[str], making: tuple[str, ...] = ()) -> list[Path]:
    """What lies in `folder` under other names than those to keep, or those in the making.

    A name is what stands before the first dot of a file or folder; that of a draft after it.
    """
    if not folder.is_dir():
        return []
    names = {path: path.name.lstrip(".").split(".")[0] for path in sorted(folder.iterdir())}
    return [
        path
        for path, name in names.items()
        if name not in keep and not (making and name.startswith(making))
    ]

"""Deletes old versions, locally and in Label Studio. Never the served, pinned or rollback version.

Label Studio can delete all predictions of a version in one call, but all annotators wait for that
call: 29 to 61 s for 10,000 predictions. Deleting a single prediction takes 0.1 s, and nobody waits.
Predictions are therefore deleted one by one while people label, and in one call after a quarter of
an hour without a new label.
Predictions that an annotator may have open stay longer (`backend.worker.open_rows`).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from backend.clock import elapsed
from backend.store import serving
from backend.store.predictions import first_attempt
from backend.store.rounds import Round
from backend.store.versions import Version
from backend.worker import open_rows
from backend.worker.common import Report, Result
from backend.worker.context import RoundContext, remove, version_name
from backend.worker.embeddings import FILE as EMBEDDINGS_FILE

logger = logging.getLogger(__name__)

ROWS_AT_A_TIME = 40  # about 5 s
QUIET_SECONDS = 900.0  # time without a new label after which nobody is expected to wait
KEPT_ROUNDS = 10  # newest rounds whose working files are kept
SERVED_AGAIN_SECONDS = 60.0  # how often it is recorded that an old version serves again


@dataclass(frozen=True)
class Plan:
    """What to delete locally: the versions of old orders, and files and folders."""

    versions: tuple[str, ...]
    paths: tuple[Path, ...]

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(size_of(path) for path in self.paths)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder. Files deleted meanwhile count as 0."""
    files = path.rglob("*") if path.is_dir() else [path]
    total = 0
    for file in files:
        try:
            total += file.stat().st_size if file.is_file() else 0
        except OSError:
            continue
    return total


def prune(context: RoundContext, round_: Round, report: Report) -> Result:
    """Delete old versions, checkpoints and working files.

    The worker's cleaner later deletes their predictions in Label Studio, a few at a time.
    """
    return {"versions": forget_old_versions(context)}


def versions_to_keep(context: RoundContext) -> set[str]:
    """The served, pinned and rollback versions, and the newest KEEP_VERSIONS versions."""
    return _to_keep(context, _served(context))


def _served(context: RoundContext) -> str:
    """The version that Label Studio serves now; '' for none."""
    return str(context.studio.project(context.project_id).get("model_version") or "")


def _to_keep(context: RoundContext, served: str) -> set[str]:
    """See `versions_to_keep`."""
    state = context.load_project().state
    newest = [row.version for row in context.store.versions(context.project_id) if row.tasks]
    before = [
        row.version for row in serving.older_versions(context.store, context.load_project())[:1]
    ]
    keep = {*newest[: context.settings.keep_versions], *before}
    return keep | serving.orders_in_use(state, served)


def plan(context: RoundContext) -> Plan:
    """Everything that the kept versions, the models in use and the open rounds do not need."""
    keep = versions_to_keep(context)
    known = {row.version: row for row in context.store.versions(context.project_id)}
    old = tuple(version for version in known if version not in keep)
    kept = [row for version, row in known.items() if version in keep]
    wanted = serving.models_in_use(context.load_project().state) | {row.model for row in kept}
    for row in kept:  # a model that was evaluated as worse is kept as long as its round's order
        wanted.add(str(context.store.round(row.round).steps.get("trained", {}).get("version", "")))
    recent = context.store.rounds(context.project_id, limit=KEPT_ROUNDS)
    making = tuple(version_name(round_) for round_ in recent if round_.ended is None)
    # New labels are found by comparison with the snapshot of the last training.
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
    """Delete local files of old versions. Returns the versions."""
    return forget(context, plan(context))


def forget(context: RoundContext, planned: Plan, *, by_hand: bool = False) -> list[str]:
    """Delete what was planned. `by_hand`: without a lease, possibly while a worker runs.

    The worker's cleaner later deletes the rows in Label Studio, a few at a time.
    """
    for version in planned.versions:
        context.store.prune_version(None if by_hand else context.lease, context.project_id, version)
    for path in planned.paths:
        remove(path)
    return list(planned.versions)


def delete_some_in_studio(context: RoundContext) -> int:
    """Delete some predictions of our old versions in Label Studio. Returns how many; 0: none left.

    Also deletes predictions that a killed publish left behind.
    """
    there = context.studio.model_versions(context.project_id)
    # Read after the list: each listed version then belongs to an open round or is in the store.
    unfinished = tuple(
        version_name(row)
        for row in context.store.open_rounds()
        if row.project == context.project_id
    )
    served = _served(context)
    known = {row.version: row for row in context.store.versions(context.project_id, pruned=True)}
    _record_served_again(context, known.get(served))
    _correct_future_times(context, known.values())
    # Versions that the store still has are kept, because a rollback may choose any of them.
    in_store = {version for version, row in known.items() if row.pruned is None}
    keep = _to_keep(context, served) | in_store
    kept_rows = _kept_rows(context, there, known)
    for version, rows in sorted(there.items()):
        mine = version.startswith(serving.OURS) and rows > 0
        if not mine or version in keep or (unfinished and version.startswith(unfinished)):
            continue
        stay = kept_rows.get(version, open_rows.NONE)
        if not stay.are_all_of(rows) and (deleted := _delete_some(context, version, stay)):
            return deleted
    return 0


def _delete_some(context: RoundContext, version: str, stay: open_rows.Kept) -> int:
    """Delete rows of a version, but for those that stay. Returns how many."""
    if stay == open_rows.NONE and _quiet(context):
        logger.info("Project %s: deleting version %s", context.project_id, version)
        return context.studio.delete_version(context.project_id, version)
    return context.studio.delete_predictions(
        context.project_id, version, at_most=ROWS_AT_A_TIME, above=stay.score
    )


def _kept_rows(
    context: RoundContext, there: Mapping[str, int], known: Mapping[str, Version]
) -> dict[str, open_rows.Kept]:
    """The rows that stay, of versions that the store has let go of or has never known."""
    now = time.time()
    pruned = [row for row in known.values() if row.pruned is not None]
    ranks = open_rows.first_ranks(context.settings.changes_per_round)
    kept = open_rows.kept_rows(pruned, there, now, ranks)
    first = min(known.values(), key=lambda row: row.created, default=None)
    if first is None:
        started = replaced = now
    else:
        started, replaced = context.store.round(first.round).started, first.created
    if elapsed(replaced) <= open_rows.LOCK_SECONDS:
        # An earlier installation may have served them until the first order of this one.
        for version in there.keys() - known.keys():
            if open_rows.made_before(version, started):
                kept[version] = open_rows.Kept(math.inf, there[version])
    return kept


def _record_served_again(context: RoundContext, row: Version | None) -> None:
    """Record now as the time until which a version served that the store had let go of.

    A person can choose it in Label Studio's settings as long as it has rows there.
    """
    if row is not None and row.pruned and time.time() - row.pruned > SERVED_AGAIN_SECONDS:
        context.store.prune_version(context.lease, context.project_id, row.version)


def _correct_future_times(context: RoundContext, rows: Iterable[Version]) -> None:
    """Record now for versions that lost their place in the future: the clock has gone back since.

    Their rows would stay until the clock is there again, in place of those of other versions.
    """
    for row in rows:
        if row.pruned and row.pruned > time.time():
            context.store.prune_version(context.lease, context.project_id, row.version)


def _quiet(context: RoundContext) -> bool:
    """Whether no label and no order changed for QUIET_SECONDS.

    While a round is open, label changes are not counted but pend as an event. A new order counts
    too, because after its round the scheduler still has to count the labels of that time.
    """
    events = context.store.pending_events()
    if any(e.project == context.project_id and e.kind == "changed" for e in events):
        return False
    state = context.load_project().state
    last = max(state.labelled_at, state.flipped_at)
    return time.time() - last > QUIET_SECONDS


def _others(folder: Path, keep: set[str], making: tuple[str, ...] = ()) -> list[Path]:
    """The files and folders in `folder` whose names are not in `keep` and not being made.

    A name ends at the first dot. The leading dot of a draft does not count.
    """
    if not folder.is_dir():
        return []
    names = {path: path.name.lstrip(".").split(".")[0] for path in sorted(folder.iterdir())}
    return [
        path
        for path, name in names.items()
        if name not in keep and not (making and name.startswith(making))
    ]

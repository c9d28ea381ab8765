"""The step `synced`, the first of a round: read the round's input from Label Studio.

It writes four files to the round's folder: the labelled tasks, the unlabelled tasks (the pool), the
snapshot (which annotation of each task counts, and its split), and the labelling config. The later
steps read these files, so labels that change meanwhile belong to the next round.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from backend.label_studio.label_config import LabelConfig, parse_label_config
from backend.store.rounds import Round
from backend.store.state import JsonObject
from backend.worker import live, watermark
from backend.worker.common import LISTED_PROBLEMS, Report, Result
from backend.worker.context import RoundContext, read_json, write_json
from backend.worker.dataset import AnnotatedSamples, Snapshot, take_snapshot

logger = logging.getLogger(__name__)


def sync(context: RoundContext, round_: Round, report: Report) -> Result:
    """Read the labels and the pool of unlabelled tasks from Label Studio."""
    folder = context.round_dir(round_)
    promoted = context.load_project().state.promoted
    project = context.studio.project(context.project_id)
    config = parse_label_config(project["label_config"])
    newest = watermark.newest(context, round_)  # first, because reading the pages takes time
    listing = context.studio.tasks(context.project_id)
    annotated = context.studio.export_annotated(context.project_id)
    snapshot = take_snapshot(
        context.project_id, annotated, config, context.settings.validation_fraction
    )
    labelled = {entry.task_id for entry in snapshot.entries}
    # `is_labeled` says whether Label Studio has stopped serving a task; with overlap, it may still
    # serve an annotated task. The export is the later read, so its value decides.
    finished = {t["id"]: bool(t["is_labeled"]) for t in annotated}
    pool = {t["id"]: t["data"] for t in listing if not finished.get(t["id"], bool(t["is_labeled"]))}
    write_json(folder / "annotated.json", [t for t in annotated if t["id"] in labelled])
    write_json(folder / "pool.json", {str(task): data for task, data in sorted(pool.items())})
    write_json(folder / "snapshot.json", snapshot.to_json())
    write_json(folder / "config.json", project["label_config"])
    context.store.update_project(
        context.project_id,
        label_config=project["label_config"],
        title=project["title"],
        scores_only=config.scores_only,
        left_out=_left_out(context, round_),
    )
    live.read_annotations(context, annotated, config)
    return {
        **_counts(snapshot),
        "pool": len(pool),
        "tasks": len(listing),
        "last_task": max((int(task["id"]) for task in listing), default=0),
        "scores_only": config.scores_only,
        "watermark": newest,
        "promoted": promoted,
    }


def _counts(snapshot: Snapshot) -> Result:
    """The counts of a snapshot, for the step's row."""
    splits = [entry.split for entry in snapshot.entries]
    return {
        "labelled": len(splits),
        "train": splits.count("train"),
        "validation": splits.count("validation"),
        "skipped": len(snapshot.skipped),
        "superseded": snapshot.superseded,
        "problems": list(snapshot.problems[:LISTED_PROBLEMS]),
    }


def _left_out(context: RoundContext, round_: Round) -> Mapping[str, JsonObject]:
    """The project's summaries of what was left out. A first round drops an earlier round's summary
    of the unlabelled tasks.
    """
    known = context.load_project().state.left_out
    if round_.kind != "first":
        return known
    return {part: summary for part, summary in known.items() if part != "unlabelled"}


def load_snapshot(
    context: RoundContext, round_: Round
) -> tuple[Snapshot, list[Result], LabelConfig]:
    """The frozen labels of a round: the snapshot, the labelled tasks, and the labelling config."""
    folder = context.round_dir(round_)
    config = parse_label_config(read_json(folder / "config.json"))
    snapshot = Snapshot.from_json(read_json(folder / "snapshot.json"))
    return snapshot, read_json(folder / "annotated.json"), config


def samples_of(
    context: RoundContext, round_: Round, split: str, only: Collection[int] | None = None
) -> tuple[AnnotatedSamples, LabelConfig]:
    """Images and targets of one split, or of its tasks in `only`. Logs what is left out."""
    snapshot, annotated, config = load_snapshot(context, round_)
    wanted = {entry.task_id for entry in snapshot.entries if entry.split == split}
    if only is not None:
        wanted &= {*only}
    tasks = [task for task in annotated if task["id"] in wanted]
    samples = AnnotatedSamples(tasks, config, context.images)
    for each in samples.left_out:
        logger.warning("Left out in project %s: %s", context.project_id, each)
    return samples, config

"""The step `compared`, the last of a round with a control arm: what are each arm's labels worth?

The step trains one model for each arm, on the labels common to both arms and on those of the arm.
Recipe, number of steps and number of images are equal. Both models are evaluated on the same
validation images, and neither serves. The step runs after the new order is served, so nobody waits
for it. When another round is due, the step ends, and that round's step continues the comparison
with the same labels.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy.exc import OperationalError

from backend.clock import elapsed
from backend.errors import (
    BackendError,
    ImageGone,
    LeaseLost,
    RoundWaits,
    StudioAuthError,
    StudioUnreachable,
)
from backend.store import disk
from backend.store.arms import ARMS, Arm, ArmComparison, Membership, in_words
from backend.store.rounds import Round
from backend.worker import watermark
from backend.worker.arm_models import arm_model, recipe_for
from backend.worker.arms import Draw, drawn_in
from backend.worker.common import Report, Result
from backend.worker.context import RoundContext, read_json, remove, write_json
from backend.worker.dataset import AnnotatedSamples, Snapshot, Task, submitted
from backend.worker.due import RoundDue
from backend.worker.sync import load_snapshot, samples_of
from backend.worker.training_images import PATIENCE_SECONDS
from taudis.errors import TaudisError, TrainingStopped
from taudis.evaluation.comparison import Comparison, compare
from taudis.training.recipes import Recipe

logger = logging.getLogger(__name__)

JOB_FILE = "job.json"
FEWEST = 5
"""Images by which each arm must have grown since the last comparison, and by at least a tenth."""
STAYS_OPEN = (
    RoundWaits,
    LeaseLost,
    StudioUnreachable,
    StudioAuthError,
    ImageGone,
    OperationalError,
)
"""After these errors the step is resumed later. Any other error ends it but not the round."""
Job = dict[str, Any]
"""A comparison to make: the ids of the training tasks, their round, and the draw."""


def compare_arms(context: RoundContext, round_: Round, report: Report) -> Result:
    """Record the arms of the labelled tasks, and compare both arms if there are enough new labels.

    The round's order is already served, so a failed training does not fail the round.
    """
    draw = drawn_in(context, round_)
    if draw is None or _draw_of_order(round_) != draw.name:
        remove(_folder(context))  # of a control arm that was switched off, or another one
        return {}
    arms = _record(context, round_, draw)
    done = context.store.comparisons(context.project_id, draw.name)
    try:
        if not any(one.round == round_.id for one in done):
            waits = _compare(context, round_, draw, arms, report)
            if waits:
                return {"words": waits}
    except STAYS_OPEN:
        raise
    except TrainingStopped:
        return {"deferred": True, "words": "the comparison of the arms waits: a round is due"}
    except Exception as error:
        if disk.refusal(error, context.data):
            raise
        logger.exception("Project %s: the arms are not compared", context.project_id)
        remove(_folder(context))
        known = isinstance(error, (TaudisError, BackendError))
        why = str(error) if known else f"{type(error).__name__}; the log has the details"
        return {"failed": why, "words": f"the arms could not be compared: {why}"}
    found = context.store.comparisons(context.project_id, draw.name)
    return {"compared": found[-1].number, "words": f"whether the order pays: {in_words(found)}"}


def _draw_of_order(round_: Round) -> str:
    """The name of the draw of a round's order, whatever the settings say now; '' for none."""
    return str(round_.steps["selected"].get("control", {}).get("draw", ""))


def _folder(context: RoundContext) -> Path:
    """Working files of the current comparison; they outlive the round that began it."""
    return context.data / "control" / str(context.project_id)


# --- which task is in which arm -------------------------------------------------------------------


def _record(context: RoundContext, round_: Round, draw: Draw) -> dict[int, Membership]:
    """Record the arms of the tasks labelled since the last record. Returns the arms of all tasks.

    These tasks were labelled while the previous order was served. If that order had the same draw,
    each belongs to its arm, else to both. Tasks count up to the switch to the new order: after
    another draw, the tasks labelled during this round are therefore read once more.
    """
    before = str(round_.steps["selected"]["control"]["served_before"])
    labelled = {entry.task_id for entry in load_snapshot(context, round_)[0].entries}
    if before != draw.name:
        touched = watermark.since(context, round_, context.studio.tasks_touched_since)
        labelled |= {int(task["id"]) for task in touched if task["is_labeled"]}
    known = context.store.arms(context.project_id, draw.name)
    new: dict[int, Membership] = {
        task: draw.arm(task) if before == draw.name else "both"
        for task in sorted(labelled - known.keys())
    }
    context.store.record_arms(context.lease, context.project_id, draw.name, new)
    return known | new


# --- the comparison -------------------------------------------------------------------------------


def _compare(
    context: RoundContext,
    round_: Round,
    draw: Draw,
    arms: Mapping[int, Membership],
    report: Report,
) -> str:
    """Finish the current comparison, or make a new one. Returns why not, in words, or ''."""
    job = _job_under_way(context, round_, draw) or _new_job(context, round_, draw, arms)
    if isinstance(job, str):
        return job
    validation, config = samples_of(context, round_, "validation")
    if not len(validation):
        remove(_folder(context))
        return "the arms are not compared yet: no validation image is labelled"
    wanted = {task for part in ("common", *ARMS) for task in job[part]}
    _, annotated, _ = load_snapshot(context, round_)
    tasks = [task for task in annotated if int(task["id"]) in wanted]
    samples = AnnotatedSamples(tasks, config, context.images)
    if waits := _wait_for_images(context, job, wanted - {*samples.task_ids}):
        return waits
    images = len(job["common"]) + len(job[ARMS[0]])
    recipe, stop = recipe_for(context, samples, images), RoundDue(context, round_)
    models = [
        arm_model(
            context, _folder(context) / arm, samples, [*job["common"], *job[arm]], recipe,
            stop=stop, report=report, before=before,
        )
        for before, arm in enumerate(ARMS)
    ]  # fmt: skip
    if stop():
        raise TrainingStopped("A round is due.")
    report({"step": "compared", "done": 1, "total": 1})
    found = compare(models[0], models[1], validation, seed=context.settings.seed)
    row = _row(job, recipe, found)
    context.store.add_comparison(context.lease, context.project_id, row)
    remove(_folder(context))
    return ""


def _wait_for_images(context: RoundContext, job: Job, gone: Collection[int]) -> str:
    """Why the comparison waits, in words, if images of tasks cannot be read; else ''.

    Their storage may fail for a while, so the comparison and its models stay for PATIENCE_SECONDS.
    After that it starts anew with the images that can be read.
    """
    if not gone:
        if job.pop("since", None):
            write_json(_folder(context) / JOB_FILE, job)
        return ""
    since = float(job.get("since") or time.time())
    what = f"{len(gone)} of its images cannot be read, such as that of task {min(gone)}"
    if elapsed(since) < PATIENCE_SECONDS:
        write_json(_folder(context) / JOB_FILE, {**job, "since": since})
        return f"the comparison of the arms waits: {what}. It goes on in the next round"
    remove(_folder(context))
    return f"the arms are compared anew in the next round, without the images that fail: {what}"


def _row(job: Job, recipe: Recipe, found: Comparison) -> ArmComparison:
    """The result as the store keeps it. A of the comparison is the random arm."""
    values = dict(zip(ARMS, (found.a.to_dict(), found.b.to_dict()), strict=True))
    difference = found.to_dict()
    return ArmComparison(
        **{name: job[name] for name in ("round", "number", "version", "draw")},
        strategy=job["query"],
        common=len(job["common"]),
        images=len(job[ARMS[0]]),
        labelled=job["labelled"],
        validation=found.a.images,
        steps=recipe.steps,
        map50={arm: value["map50"] for arm, value in values.items()},
        intervals={arm: value["interval"] for arm, value in values.items()},
        difference=difference["map50"],
        interval=difference["interval"],
    )


# --- what is compared -----------------------------------------------------------------------------


def _job_under_way(context: RoundContext, round_: Round, draw: Draw) -> Job | None:
    """The comparison that an earlier attempt began; None if there is none or it is outdated."""
    path = _folder(context) / JOB_FILE
    if not path.exists():
        remove(_folder(context))
        return None
    job: Job = read_json(path)
    snapshot, _, _ = load_snapshot(context, round_)
    there = {entry.task_id for entry in snapshot.of("train")}
    wanted = {task for part in ("common", *ARMS) for task in job[part]}
    if job["draw"] == draw.name and job["labels"] == list(snapshot.labels) and wanted <= there:
        return job
    remove(_folder(context))  # the settings changed, or labels were deleted
    return None


def _new_job(
    context: RoundContext, round_: Round, draw: Draw, arms: Mapping[int, Membership]
) -> Job | str:
    """A new comparison with equally many images of each arm, or in words why it must wait."""
    before = context.store.comparisons(context.project_id, draw.name)
    last = max((one.images for one in before), default=0)
    wanted = max(last + FEWEST, math.ceil(1.1 * last))
    snapshot, annotated, _ = load_snapshot(context, round_)
    parts = _parts(snapshot, annotated, arms)
    if _fewer(parts) >= wanted:  # reading the images is slow, so only now
        usable = samples_of(context, round_, "train")[0].task_ids
        parts = _parts(snapshot, annotated, arms, usable)
    if _fewer(parts) < wanted:
        return (
            f"the arms are compared from {wanted} training images each on;"
            f" {len(parts['random'])} were labelled in random order, {len(parts['strategy'])} in"
            " the strategy's"
        )
    job: Job = {
        "round": round_.id,
        "number": round_.number,
        "version": round_.steps["published"]["version"],
        "draw": draw.name,
        "query": round_.steps["selected"]["strategy"],
        "labels": list(snapshot.labels),
        "labelled": {arm: len(parts[arm]) for arm in ARMS},
        "common": parts["both"],
        **{arm: parts[arm][: _fewer(parts)] for arm in ARMS},
    }
    write_json(_folder(context) / JOB_FILE, job)
    return job


def _parts(
    snapshot: Snapshot,
    annotated: Sequence[Task],
    arms: Mapping[int, Membership],
    usable: Collection[int] | None = None,
) -> dict[Membership, list[int]]:
    """The training tasks of each membership, in the order in which they were first labelled.

    Label Studio's annotation ids increase, so the lowest id of a task is its first annotation.
    """
    train = {entry.task_id for entry in snapshot.of("train")}
    train &= train if usable is None else set(usable)
    firsts = {
        int(task["id"]): min(int(each.get("id") or 0) for each in submitted(task))
        for task in annotated
        if int(task["id"]) in train
    }
    parts: dict[Membership, list[int]] = {"both": [], "random": [], "strategy": []}
    for task in sorted(firsts, key=lambda task: (firsts[task], task)):
        parts[arms.get(task, "both")].append(task)
    return parts


def _fewer(parts: Mapping[Membership, Sequence[int]]) -> int:
    """The number of training images of the smaller arm."""
    arms: tuple[Arm, ...] = ARMS
    return min(len(parts[arm]) for arm in arms)

"""The images of a training, which stay the same when the step runs again.

A training goes on from its last saved state only with the same images. The first attempt writes
down which images it could read. If the step runs again, after a kill or a wait, it takes these. If
one of them cannot be read, its storage may fail for a while, so the round waits. After
PATIENCE_SECONDS the image is left out, and the training starts anew without it. It starts anew at
once if no state was saved yet.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.clock import elapsed
from backend.errors import ImageGone
from backend.label_studio.label_config import LabelConfig
from backend.label_studio.left_out import FILE as LEFT_OUT_FILE
from backend.label_studio.left_out import LeftOut
from backend.store.rounds import Round
from backend.worker.context import RoundContext, read_json, write_json
from backend.worker.dataset import AnnotatedSamples
from backend.worker.sync import load_snapshot, samples_of

logger = logging.getLogger(__name__)

FILE = "training_images.json"
"""{"tasks": ids of the training, "since": when one could not be read first, or null}."""
PATIENCE_SECONDS = 3600.0


@dataclass(frozen=True)
class TrainingImages:
    """The training split of a round."""

    samples: AnnotatedSamples
    config: LabelConfig
    left_out: tuple[LeftOut, ...]
    """What is not used of the training split."""


def training_images(context: RoundContext, round_: Round) -> TrainingImages:
    """The images and targets to train on: those of the first attempt, if there was one.

    Raises ImageGone while one of them cannot be read, for PATIENCE_SECONDS at most.
    """
    path = context.round_dir(round_) / FILE
    before: dict[str, Any] | None = read_json(path) if path.exists() else None
    if before is not None:
        samples, config = samples_of(context, round_, "train", only=before["tasks"])
        gone = sorted({*before["tasks"]} - {*samples.task_ids})
        if not gone:
            write_json(path, {**before, "since": None})
            left_out = (*_left_out_before(context, round_, before["tasks"]), *samples.left_out)
            return TrainingImages(samples, config, left_out)
        since = before["since"] or time.time()
        if _has_state(context, round_) and elapsed(since) < PATIENCE_SECONDS:
            write_json(path, {**before, "since": since})
            why = next(str(row) for row in samples.left_out if row.task == gone[0])
            raise ImageGone(f"{len(gone)} images of the training cannot be read now. First: {why}")
        logger.warning("Project %s: trained without tasks %s", context.project_id, gone)
    samples, config = samples_of(context, round_, "train")
    write_json(path, {"tasks": list(samples.task_ids), "since": None})
    return TrainingImages(samples, config, samples.left_out)


def _has_state(context: RoundContext, round_: Round) -> bool:
    """Whether there is something to lose: a training has saved its state."""
    return any(state_dir(context, round_).glob("*"))


def state_dir(context: RoundContext, round_: Round) -> Path:
    """The folder of the training's saved states."""
    return context.round_dir(round_) / "training"


def _left_out_before(context: RoundContext, round_: Round, tasks: list[int]) -> list[LeftOut]:
    """What the first attempt left out of the training split, as a whole."""
    path = context.round_dir(round_) / LEFT_OUT_FILE
    rows = read_json(path).get("labels", []) if path.exists() else []
    split = {entry.task_id for entry in load_snapshot(context, round_)[0].of("train")}
    return [LeftOut(**row) for row in rows if row["task"] in split - {*tasks}]

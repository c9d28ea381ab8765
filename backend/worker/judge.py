"""judge: the step that evaluates a new model and decides whether it may serve.

The new model and the serving one are evaluated on the same validation images. Metrics and verdict
go to the checkpoint's card and to the round's row "evaluated".
"""

from __future__ import annotations

import logging

import numpy as np

from backend.label_studio.left_out import FILE, LeftOut
from backend.store.rounds import Round
from backend.worker.common import Report, Result, record
from backend.worker.context import RoundContext, read_json
from backend.worker.dataset import AnnotatedSamples
from backend.worker.serving import Serving, load_serving
from backend.worker.sync import load_snapshot, samples_of
from taudis.detector.checkpoint import amend_card, load_checkpoint
from taudis.detector.mask_rcnn import Detector
from taudis.errors import CheckpointError
from taudis.evaluation import metrics as evaluation
from taudis.evaluation.matching import EvaluatedImage
from taudis.evaluation.thresholds import Savings, choose_thresholds, with_visible_masks
from taudis.evaluation.visible import CARD_KEY, thresholds_for
from taudis.types import Detection, LabelMap, Target

logger = logging.getLogger(__name__)


def judge(context: RoundContext, round_: Round, report: Report) -> Result:
    """Measure the new model on the frozen validation split; decide whether it may serve.

    The first model always serves. A later one is kept but not served if its mAP50 lies below the
    serving model's 95 % interval, both measured on this round's validation images, or while a
    model that a person promoted holds the place. The model's card tells.
    """
    version = round_.steps["trained"]["version"]
    samples, config = samples_of(context, round_, "validation")
    _recount(context, round_, samples)
    new, _ = load_checkpoint(context.model_dir(version), label_map=config.label_map)
    metrics, visible = _measured(new.fast(), samples, context.settings.seed)
    old = _serving_before(context, config.label_map)
    verdict = _verdict(metrics, old, samples, context.settings.seed)
    held = context.load_project().state.promoted
    if held and (old is None or old.version != held):
        logger.warning("Project %s: the promotion of %s ends: no use", context.project_id, held)
        context.store.update_project(context.project_id, lease=context.lease, promoted="")
    elif held and verdict["serve"]:
        reason = f"not served: {held} was promoted and stays until `unpin`; {verdict['reason']}"
        verdict = {**verdict, "serve": False, "reason": reason}
    amend_card(context.model_dir(version), metrics=metrics.to_dict(), evaluated=verdict, **visible)
    return {"version": version, "metrics": metrics.to_dict(), **visible, **verdict}


def _recount(context: RoundContext, round_: Round, validation: AnnotatedSamples) -> None:
    """Record anew what is left out where an image went missing since the training looked at it."""
    before = round_.steps["trained"]["left_out"]
    if len(validation) == before["validation"]:
        return
    held = {entry.task_id for entry in load_snapshot(context, round_)[0].of("validation")}
    path = context.round_dir(round_) / FILE
    rows = [LeftOut(**row) for row in read_json(path)["labels"] if row["task"] not in held]
    rows += validation.left_out
    counts = {"train": before["train"], "validation": len(validation)}
    record(context, round_, "labels", rows, **counts)


def _measured(
    detector: Detector, samples: AnnotatedSamples, seed: int
) -> tuple[evaluation.Metrics, Result]:
    """The metrics of a detector, and which of its detections are worth showing, in one pass.

    The second are the score thresholds by label, and what correcting what they show costs beside
    drawing everything, both in drawings an image (`taudis.evaluation.thresholds`).
    """
    seen: list[EvaluatedImage] = []

    def keep(target: Target, detection: Detection) -> None:
        seen.append(with_visible_masks(target, detection))

    metrics = evaluation.evaluate(detector, samples, seed=seed, on_image=keep)
    found, labels = Savings.of(seen, len(detector.label_map)), detector.label_map
    chosen = choose_thresholds(found, labels)
    nothing = np.full(len(labels), np.inf)
    cost = {
        "corrected": found.cost(thresholds_for(labels, chosen)),
        "by_hand": found.cost(nothing),
    }
    return metrics, {CARD_KEY: chosen, "correction": cost}


def _serving_before(context: RoundContext, label_map: LabelMap) -> Serving | None:
    """The model that served so far; None before the first, or where none has these labels."""
    try:
        return load_serving(context, label_map)
    except CheckpointError as error:
        logger.warning("Project %s: no model to compare with: %s", context.project_id, error)
        return None


def _verdict(
    metrics: evaluation.Metrics, old: Serving | None, samples: AnnotatedSamples, seed: int
) -> Result:
    """Whether a new model with these metrics may serve, and why, evaluated on the same images."""
    if old is None:
        return {"serve": True, "reason": "served: there is no model before it for these labels"}
    if metrics.images == 0:
        reason = "served without evaluation: no validation image is labelled yet"
        return {"serve": True, "reason": reason}
    before = evaluation.evaluate(old.detector, samples, seed=seed)
    verdict = {"compared_with": old.version, "before": before.to_dict()}
    if evaluation.worse_beyond_interval(metrics, before):
        reason = (
            f"not served: mAP50 {metrics.map50:.3f} is below the serving model's 95 % interval"
            f" {before.interval[0]:.3f}-{before.interval[1]:.3f} on the same"
            f" {metrics.images} validation images"
        )
        return {**verdict, "serve": False, "reason": reason}
    reason = f"mAP50 {metrics.map50:.3f}, before {before.map50:.3f}"
    return {**verdict, "serve": True, "reason": reason}

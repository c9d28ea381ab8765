"""The step `evaluated`: evaluate a new model and decide whether it may serve.

The new and the serving model are evaluated on the same validation images. Metrics and decision go
to the checkpoint's card and to the step's row.
"""

from __future__ import annotations

import logging
import math

import numpy as np

from backend.label_studio.left_out import FILE, LeftOut
from backend.store import serving
from backend.store.rounds import Round
from backend.worker.common import Report, Result, record
from backend.worker.context import RoundContext, read_json
from backend.worker.dataset import AnnotatedSamples
from backend.worker.serving import Serving, load_serving
from backend.worker.sync import load_snapshot, samples_of
from taudis.detector.card import amend_card
from taudis.detector.checkpoint import load_checkpoint
from taudis.detector.device import device_of_this_process
from taudis.detector.registry import TrainedDetector
from taudis.errors import CheckpointError
from taudis.evaluation import metrics as evaluation
from taudis.evaluation.comparison import Comparison, paired
from taudis.evaluation.matching import EvaluatedImage
from taudis.evaluation.resampling import ENOUGH
from taudis.evaluation.thresholds import Savings, choose_thresholds, with_visible_masks
from taudis.evaluation.visible import CARD_KEY, thresholds_for
from taudis.types import Detection, LabelMap, Target

logger = logging.getLogger(__name__)


def judge(context: RoundContext, round_: Round, report: Report) -> Result:
    """Evaluate the new model on this round's validation images; decide whether it may serve.

    The first model always serves. A later model is kept but not served in three cases:

    - Its mAP50 is lower than that of the serving model on the same images: the whole 95 % interval
      of the difference is below 0, and no label that few images show decides this.
    - A person promoted the serving model.
    - No validation image shows an object, and the serving model was evaluated.

    The model's card has the reason, and a note if the images are too few to decide.
    """
    version = round_.steps["trained"]["version"]
    samples, config = samples_of(context, round_, "validation")
    _recount(context, round_, samples)
    new, _ = load_checkpoint(
        context.model_dir(version), label_map=config.label_map, device=device_of_this_process()
    )
    serving = new.fast()
    metrics, images, visible = _measured(serving, samples, context.settings.seed)
    old = _serving_before(context, config.label_map)
    verdict = _verdict(metrics, images, serving, old, samples, context.settings.seed)
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
    """Update the record of what is left out if the number of usable validation images changed."""
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
    detector: TrainedDetector, samples: AnnotatedSamples, seed: int
) -> tuple[evaluation.Metrics, list[EvaluatedImage], Result]:
    """The metrics of a detector, the evaluated images, and the score thresholds of each label.

    With the thresholds comes the expected correction cost in drawn objects per image, with and
    without pre-annotations (`taudis.evaluation.thresholds`).
    """
    seen: list[EvaluatedImage] = []

    def keep(target: Target, detection: Detection) -> None:
        seen.append(with_visible_masks(target, detection))

    images = evaluation.evaluated_images(detector, samples, on_image=keep)
    limit = evaluation.detection_limit(detector)
    metrics = evaluation.metrics_of(images, detector.label_map, limit=limit, seed=seed)
    found, labels = Savings.of(seen, len(detector.label_map)), detector.label_map
    chosen = choose_thresholds(found, labels)
    nothing = np.full(len(labels), np.inf)
    cost = {
        "corrected": found.cost(thresholds_for(labels, chosen)),
        "by_hand": found.cost(nothing),
    }
    return metrics, images, {CARD_KEY: chosen, "correction": cost}


def _serving_before(context: RoundContext, label_map: LabelMap) -> Serving | None:
    """The model to compare with; None before the first, or if no model has these labels."""
    project = context.load_project()
    if not serving.stand_ins(context.store, project, serving.serving_model(project.state)):
        return None
    try:
        return load_serving(context, label_map)
    except CheckpointError as error:
        logger.warning("Project %s: no model to compare with: %s", context.project_id, error)
        return None


def _verdict(
    metrics: evaluation.Metrics,
    images: list[EvaluatedImage],
    new: TrainedDetector,
    old: Serving | None,
    samples: AnnotatedSamples,
    seed: int,
) -> Result:
    """Whether a new model with these metrics may serve, and why, by comparison with `old`."""
    if math.isnan(metrics.map50):
        return _unmeasured(metrics, old)
    if old is None:
        return {"serve": True, "reason": "no model before it has these labels"}
    seen = evaluation.evaluated_images(old.detector, samples)
    labels = new.label_map
    limit = evaluation.detection_limit(old.detector)
    before = evaluation.metrics_of(seen, labels, limit=limit, seed=seed)
    limit = evaluation.detection_limit(old.detector, new)
    found = paired(before, metrics, (seen, images), labels, limit=limit, seed=seed)
    return {
        "compared_with": old.version,
        "before": before.to_dict(),
        "difference": found.to_dict(),
        "undecided": _undecided(found),
        "serve": found.winner != "a",
        "reason": _reason(found, len(labels)),
    }


def _unmeasured(metrics: evaluation.Metrics, old: Serving | None) -> Result:
    """The decision on a model that could not be evaluated.

    It never replaces an evaluated model. If the old model was not evaluated either, the new one
    serves, because it was trained on more labels.
    """
    shows = "is labelled yet" if metrics.images == 0 else "shows an object"
    because = f"without evaluation: no validation image {shows}"
    if old is not None and old.evaluated:
        return {
            "serve": False,
            "reason": f"not served {because}, and {old.version} was evaluated. Label more"
            " images, or promote the new model",
        }
    return {"serve": True, "reason": f"served {because}"}


def _reason(found: Comparison, labels: int) -> str:
    """Why the new model serves or not, in words. In `found`, A is the serving model."""
    figures = (
        f"mAP50 {found.b.map50:.3f}, the model before {found.a.map50:.3f}, on the same"
        f" {found.a.images} validation images"
    )
    low, high = found.interval
    if found.winner == "a":
        return (
            f"not served: {figures}; the difference is {low:+.3f} to {high:+.3f} (95 % interval,"
            f" over the {found.labels} of {labels} labels that {ENOUGH} or more of them show)"
        )
    return "; ".join(part for part in (figures, _undecided(found)) if part)


def _undecided(found: Comparison) -> str:
    """A sentence if the validation images are too few to decide, with the remedy; else ''."""
    few = found.too_few
    return f"{few}: label more images, or raise VALIDATION_FRACTION" if few else ""

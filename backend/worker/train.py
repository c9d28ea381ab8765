"""The step `trained`: train a detector on the labels that `sync` read.

It writes the checkpoint of the round's version. A killed training resumes at its last periodic
save.
"""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

from torch.utils.data import Subset

from backend.errors import RoundError
from backend.label_studio.left_out import Summary
from backend.settings import Settings
from backend.store.rounds import Round
from backend.store.serving import serving_model
from backend.worker import memory_kills
from backend.worker.common import Report, Result, record
from backend.worker.context import RoundContext, remove, version_name
from backend.worker.dataset import AnnotatedSamples
from backend.worker.sync import load_snapshot, samples_of
from backend.worker.training_images import state_dir, training_images
from taudis.data.statistics import LabelStatistics
from taudis.detector.card import read_card
from taudis.detector.checkpoint import check_start, save_checkpoint
from taudis.detector.device import device_of_this_process
from taudis.detector.mask2former_config import Mask2FormerConfig
from taudis.detector.registry import MASK_RCNN, Config
from taudis.errors import CheckpointError
from taudis.evaluation import metrics as evaluation
from taudis.training.recipes import choose
from taudis.training.train import Evaluation, Progress, Recipe
from taudis.training.train import train as train_detector
from taudis.types import LabelMap

logger = logging.getLogger(__name__)

MIN_LABELLED = 1
LOOKED_AT = 32
"""Number of validation images for evaluations during training, which must cost little time."""


# long: the arguments of the training, one a line.
def train(context: RoundContext, round_: Round, report: Report) -> Result:
    """Train on the training split, from the initial weights or, with WARM_START, from a model.

    Resumes a killed run.
    """
    version = version_name(round_)
    saved = _saved_before(context, round_, version)
    if saved is not None:
        return saved
    found = training_images(context, round_)
    samples, config = found.samples, found.config
    validation, _ = samples_of(context, round_, "validation")
    left_out = record(
        context,
        round_,
        "labels",
        [*found.left_out, *validation.left_out],
        train=len(samples),
        validation=len(validation),
    )
    _check_usable(round_, samples, left_out)
    recipe = recipe_of(context.settings, samples.statistics)
    start, recipe, reset_because = _start(context, config.label_map, recipe)
    # `round_` is from before the step. This worker's first report added the number of kills.
    halvings = memory_kills.deaths(context.store.round(round_.id), "trained", context.lease)
    detector = train_detector(
        samples,
        config.label_map,
        recipe,
        seed=context.settings.seed,
        weights=context.settings.weights,
        weights_dir=context.imagenet_dir,
        start=start,
        resume_dir=state_dir(context, round_),
        batch=max(1, recipe.batch >> halvings),
        progress=lambda progress: report(_training_progress(progress)),
        evaluate=_evaluation(validation),
    )
    result = {
        "version": version,
        "images": len(samples),
        "start": start.name if start else "",
        "started_from": reset_because or _other_weights(context),
        "mean_instances": samples.statistics.mean_instances,
        "unused_labels": _unused(config.label_map, samples.statistics),
        "beyond_queries": beyond_queries(recipe.model, samples.statistics),
        "recipe": recipe.name,
        "left_out": left_out.to_json(),
    }
    card = _card(context, round_, recipe, result)
    save_checkpoint(context.model_dir(version), detector, card=card)
    remove(state_dir(context, round_))
    return result


def _unused(labels: LabelMap, found: LabelStatistics) -> list[str]:
    """The labels of the config without an object in the training split."""
    return [name for number, name in enumerate(labels.names, 1) if number not in found.labels]


def beyond_queries(model: Config, found: LabelStatistics) -> Result:
    """Training images with more objects than a Mask2Former has queries; {} if there are none.

    The model never finds more objects in an image than it has queries. The result has the number of
    such `images`, the number of objects in the `densest` image, and the number of `queries`.
    """
    if not isinstance(model, Mask2FormerConfig):
        return {}
    images = sum(count > model.queries for count in found.counts)
    return {"images": images, "densest": found.densest, "queries": model.queries} if images else {}


def _start(
    context: RoundContext, labels: LabelMap, recipe: Recipe
) -> tuple[Path | None, Recipe, str]:
    """The checkpoint to start from, the recipe for that start, and why there is no warm start.

    The checkpoint is None without WARM_START, without a model, or if the model cannot be used. Only
    in the last case is there a reason, in words; else it is ''.
    """
    version = serving_model(context.load_project().state)
    if not context.settings.warm_start or not version:
        return None, recipe, ""
    folder = context.model_dir(version)
    try:
        model = check_start(folder, recipe.model, labels)
    except CheckpointError as error:
        logger.warning("Project %s: no warm start: %s", context.project_id, error)
        because = f"trained from the initial weights, not from model {version}: {error}"
        return None, recipe, because
    return folder, replace(recipe.warm(), model=model), ""


def _other_weights(context: RoundContext) -> str:
    """A sentence if the model before had another architecture or other initial weights; else ''."""
    before, now = context.load_project().state.model, context.settings.weights
    if not before:
        return ""
    try:
        card = read_card(context.model_dir(before))
    except CheckpointError:  # `load_serving` reports a damaged model
        return ""
    made = card["model"].get("architecture", MASK_RCNN)
    if made != context.settings.model:
        return f"trained a {context.settings.model}, the model before was a {made}"
    was = card.get("initial_weights", now)
    return "" if was == now else f"trained from initial weights {now!r}, the model before {was!r}"


def _card(context: RoundContext, round_: Round, recipe: Recipe, result: Result) -> Result:
    """The checkpoint's card: recipe, seed, parent, labels and result of the training."""
    return {
        "project": context.project_id,
        "round": round_.number,
        "trained_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "recipe": asdict(recipe),
        "seed": context.settings.seed,
        "initial_weights": context.settings.weights,
        "start": result["start"],
        "parent": context.load_project().state.model,
        "snapshot": load_snapshot(context, round_)[0].to_json(),
        "result": result,
    }


def _check_usable(round_: Round, samples: AnnotatedSamples, left_out: Summary) -> None:
    """Raise RoundError if there is no training image, or no object in any of them.

    A model trained without objects finds nothing, so no task would have a pre-annotation.
    """
    labelled = round_.steps["synced"]["train"]
    because = f" {left_out.in_words()}" if left_out else ""
    if len(samples) < MIN_LABELLED:
        raise RoundError(
            f"Expected at least {MIN_LABELLED} labelled image to train on, got {len(samples)} of"
            f" {labelled} labelled tasks of the training split.{because} Label some tasks, then"
            " press Start Training again."
        )
    if samples.statistics.densest == 0:
        raise RoundError(
            f"Expected at least one labelled object to train on, got none in {len(samples)} images."
            f"{because} Label a task that shows an object, then press Start Training again."
        )


def _evaluation(validation: AnnotatedSamples) -> Evaluation | None:
    """Computes mAP50 on the first LOOKED_AT validation images; None without validation images."""
    if not len(validation):
        return None
    few: Any = Subset(cast(Any, validation), range(min(len(validation), LOOKED_AT)))
    return lambda detector: evaluation.evaluate(detector, few, bootstrap=0).map50


def _saved_before(context: RoundContext, round_: Round, version: str) -> Result | None:
    """The result of a training that was killed after its checkpoint and before its row."""
    folder = context.model_dir(version)
    if not folder.exists():
        return None
    try:
        card = read_card(folder)
    except CheckpointError as error:
        logger.warning("Training again: %s", error)
        return None
    return dict(card["result"]) if card.get("round") == round_.number else None


def recipe_of(settings: Settings, found: LabelStatistics) -> Recipe:
    """The recipe of the settings, fitted to the labels (`taudis.training.recipes.choose`)."""
    recipe = choose(
        settings.recipe,
        found,
        gpu=device_of_this_process() == "cuda",
        weights=settings.weights,
        backbone=settings.backbone,
        model=settings.model,
    )
    return replace(recipe, steps=min(recipe.steps, settings.max_steps or recipe.steps))


def _training_progress(progress: Progress) -> Result:
    """Training progress in the form of the store and the status page."""
    return {
        "step": "trained",
        "done": progress.step,
        "total": progress.steps,
        "loss": progress.loss,
        "images_per_s": progress.images_per_s,
        "eta_s": progress.eta_s,
    }

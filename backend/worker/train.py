"""synced, trained, judged: from the labels in Label Studio to a model that may serve."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, replace
from typing import Any, cast

import numpy as np
import torch
from torch.utils.data import Subset

from backend.errors import RoundError
from backend.label_studio.label_config import LabelConfig, parse_label_config
from backend.label_studio.left_out import FILE, LeftOut, Summary
from backend.settings import Settings
from backend.store import serving
from backend.store.database import Round
from backend.worker.common import SHOWN_PROBLEMS, Report, Result, record
from backend.worker.context import Desk, read_json, remove_tree, state_of, version_name, write_json
from backend.worker.dataset import AnnotatedSamples, Snapshot, take_snapshot
from backend.worker.serving import Serving, load_serving
from taudis.data.statistics import LabelStatistics
from taudis.detector.checkpoint import amend_card, load_checkpoint, read_card, save_checkpoint
from taudis.detector.mask_rcnn import Detector
from taudis.errors import CheckpointError
from taudis.evaluation import metrics as evaluation
from taudis.evaluation.matching import EvaluatedImage
from taudis.evaluation.thresholds import Savings, choose_thresholds, with_visible_masks
from taudis.evaluation.visible import CARD_KEY, thresholds_for
from taudis.training.recipes import choose
from taudis.training.train import Evaluation, Progress, Recipe, train
from taudis.types import Detection, LabelMap, Target

logger = logging.getLogger(__name__)

MIN_LABELLED = 1
LOOKED_AT = 32
"""Validation images of a look during training: what early stopping costs must stay small."""


def synced(desk: Desk, round_: Round, report: Report) -> Result:
    """Read what Label Studio holds: the labels, and the pool of unlabelled tasks."""
    folder = desk.round_dir(round_)
    project = desk.studio.project(desk.project_id)
    config = parse_label_config(project["label_config"])
    newest = desk.studio.newest_change(desk.project_id)  # first: pages take time to read
    listing = desk.studio.tasks(desk.project_id)
    annotated = desk.studio.export_annotated(desk.project_id)
    snapshot = take_snapshot(desk.project_id, annotated, config, desk.settings.validation_fraction)
    labelled = {entry.task_id for entry in snapshot.entries}
    # Label Studio decides which tasks it still serves (with overlap, also annotated ones). The
    # labels are the later of the two reads: a task finished in between is no longer in the pool.
    finished = {t["id"]: bool(t["is_labeled"]) for t in annotated}
    pool = {t["id"]: t["data"] for t in listing if not finished.get(t["id"], bool(t["is_labeled"]))}
    write_json(folder / "annotated.json", [t for t in annotated if t["id"] in labelled])
    write_json(folder / "pool.json", {str(task): data for task, data in sorted(pool.items())})
    write_json(folder / "snapshot.json", snapshot.to_json())
    write_json(folder / "config.json", project["label_config"])
    desk.store.update_project(
        desk.project_id,
        label_config=project["label_config"],
        title=project["title"],
        scores_only=config.scores_only,
        **_forgotten(desk, round_),
    )
    counts = [entry.split for entry in snapshot.entries]
    return {
        "labelled": len(counts),
        "train": counts.count("train"),
        "validation": counts.count("validation"),
        "pool": len(pool),
        "scores_only": config.scores_only,
        "skipped": len(snapshot.skipped),
        "superseded": snapshot.superseded,
        "watermark": newest,
        "problems": list(snapshot.problems[:SHOWN_PROBLEMS]),
    }


def _forgotten(desk: Desk, round_: Round) -> Result:
    """A first order looks at no image: which of them an earlier round could not read is dropped."""
    known = dict(desk.project.state.get("left_out") or {})
    if round_.kind != "first" or known.pop("unlabelled", None) is None:
        return {}
    return {"left_out": known}


def load_snapshot(desk: Desk, round_: Round) -> tuple[Snapshot, list[Result], LabelConfig]:
    """The frozen labels of a round: what was counted, the tasks themselves, and the config."""
    folder = desk.round_dir(round_)
    config = parse_label_config(read_json(folder / "config.json"))
    snapshot = Snapshot.from_json(read_json(folder / "snapshot.json"))
    return snapshot, read_json(folder / "annotated.json"), config


def samples_of(desk: Desk, round_: Round, split: str) -> tuple[AnnotatedSamples, LabelConfig]:
    """Images and targets of one split; what is left out of it is logged."""
    snapshot, annotated, config = load_snapshot(desk, round_)
    wanted = {entry.task_id for entry in snapshot.entries if entry.split == split}
    tasks = [task for task in annotated if task["id"] in wanted]
    samples = AnnotatedSamples(tasks, config, desk.images)
    for each in samples.left_out:
        logger.warning("Left out in project %s: %s", desk.project_id, each)
    return samples, config


def trained(desk: Desk, round_: Round, report: Report) -> Result:
    """Train on the training split, from the initial weights, resuming a killed run."""
    version = version_name(round_)
    saved = _saved_before(desk, round_, version)
    if saved is not None:
        return saved
    samples, config = samples_of(desk, round_, "train")
    validation, _ = samples_of(desk, round_, "validation")
    left_out = record(
        desk,
        round_,
        "labels",
        [*samples.left_out, *validation.left_out],
        train=len(samples),
        validation=len(validation),
    )
    _check_usable(round_, samples, left_out)
    recipe = recipe_of(desk.settings, samples.statistics)
    detector = train(
        samples,
        config.label_map,
        recipe,
        seed=desk.settings.seed,
        weights=desk.settings.weights,
        resume_dir=desk.round_dir(round_) / "training",
        progress=lambda progress: report(_training_progress(progress)),
        evaluate=_judge(validation),
    )
    result = {
        "version": version,
        "images": len(samples),
        "mean_instances": samples.statistics.mean_instances,
        "recipe": recipe.name,
        "left_out": left_out.to_json(),
    }
    card = {
        "project": desk.project_id,
        "round": round_.number,
        "trained_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "recipe": asdict(recipe),
        "seed": desk.settings.seed,
        "initial_weights": desk.settings.weights,
        "parent": state_of(desk.project, "model", ""),
        "snapshot": load_snapshot(desk, round_)[0].to_json(),
        "result": result,
    }
    save_checkpoint(desk.model_dir(version), detector, card=card)
    remove_tree(desk.round_dir(round_) / "training")
    return result


def _check_usable(round_: Round, samples: AnnotatedSamples, left_out: Summary) -> None:
    """Raise RoundError where nothing can be learnt: no image, or no object in any of them.

    A model that was trained without an object finds nothing, and would empty every task.
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


def _judge(validation: AnnotatedSamples) -> Evaluation | None:
    """mAP50 on the first LOOKED_AT validation images; None where there is none yet."""
    if not len(validation):
        return None
    few: Any = Subset(cast(Any, validation), range(min(len(validation), LOOKED_AT)))
    return lambda detector: evaluation.evaluate(detector, few, bootstrap=0).map50


def _saved_before(desk: Desk, round_: Round, version: str) -> Result | None:
    """The result of a training that was killed between its checkpoint and its row."""
    folder = desk.model_dir(version)
    if not folder.exists():
        return None
    try:
        card = read_card(folder)
    except CheckpointError as error:
        logger.warning("Training again: %s", error)
        return None
    return dict(card["result"]) if card.get("round") == round_.number else None


def recipe_of(settings: Settings, found: LabelStatistics) -> Recipe:
    """The recipe of the settings, made to fit the labels (`taudis.training.recipes.choose`)."""
    recipe = choose(
        settings.recipe,
        found,
        gpu=torch.cuda.is_available(),
        weights=settings.weights,
        backbone=settings.backbone,
    )
    return replace(recipe, steps=min(recipe.steps, settings.max_steps or recipe.steps))


def _training_progress(progress: Progress) -> Result:
    """Training progress as the store and the status page hold it."""
    return {
        "step": "trained",
        "done": progress.step,
        "total": progress.steps,
        "loss": progress.loss,
        "images_per_s": progress.images_per_s,
        "eta_s": progress.eta_s,
    }


def judged(desk: Desk, round_: Round, report: Report) -> Result:
    """Measure the new model on the frozen validation split; decide whether it may serve.

    The first model always serves. A later one is kept but not served if its mAP50 lies below the
    serving model's 95 % interval, both measured on this round's validation images, or while a
    model that a person promoted holds the place. The model's card tells.
    """
    version = round_.steps["trained"]["version"]
    samples, config = samples_of(desk, round_, "validation")
    _recount(desk, round_, samples)
    new, _ = load_checkpoint(desk.model_dir(version), label_map=config.label_map)
    metrics, shown = _measured(new.fast(), samples, desk.settings.seed)
    old = _serving_before(desk, config.label_map)
    told = _verdict(metrics, old, samples, desk.settings.seed)
    held = state_of(desk.project, "promoted", "")
    if held and (old is None or old.version != held):
        logger.warning("Project %s: the promotion of %s ends: no use", desk.project_id, held)
        desk.store.update_project(desk.project_id, lease=desk.lease, promoted="")
    elif held and told["serve"]:
        reason = f"not served: {held} was promoted and stays until `unpin`; {told['reason']}"
        told = {**told, "serve": False, "reason": reason}
    amend_card(desk.model_dir(version), metrics=metrics.to_dict(), judged=told, **shown)
    return {"version": version, "metrics": metrics.to_dict(), **shown, **told}


def _recount(desk: Desk, round_: Round, validation: AnnotatedSamples) -> None:
    """Record anew what is left out where an image went missing since the training looked at it."""
    before = round_.steps["trained"].get("left_out")
    if before is None or len(validation) == before["validation"]:
        return  # None: trained by an earlier build, which recorded nothing
    held = {entry.task_id for entry in load_snapshot(desk, round_)[0].of("validation")}
    path = desk.round_dir(round_) / FILE
    rows = [LeftOut(**row) for row in read_json(path)["labels"] if row["task"] not in held]
    rows += validation.left_out
    counts = {"train": before["train"], "validation": len(validation)}
    record(desk, round_, "labels", rows, **counts)


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


def _serving_before(desk: Desk, label_map: LabelMap) -> Serving | None:
    """The model that served so far; None before the first, or where none has these labels."""
    try:
        return load_serving(desk, label_map)
    except CheckpointError as error:
        logger.warning("Project %s: no model to compare with: %s", desk.project_id, error)
        return None


def _verdict(
    metrics: evaluation.Metrics, old: Serving | None, samples: AnnotatedSamples, seed: int
) -> Result:
    """Whether a new model with these metrics may serve, and why, judged on the same images."""
    if old is None:
        return {"serve": True, "reason": "served: there is no model before it for these labels"}
    if metrics.images == 0:
        reason = "served unjudged: no validation image is labelled yet"
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


def scoring_version(desk: Desk, round_: Round) -> str:
    """The version whose checkpoint scored the pool or will: the new one, or the serving one.

    What was scored counts: a rollback or a promotion since then belongs to the next round.
    """
    scored = round_.steps.get("scored", {})
    if "model" in scored:
        return str(scored["model"])
    verdict = round_.steps.get("judged")
    if verdict is not None and verdict["serve"]:
        return str(verdict["version"])
    return serving.serving_model(desk.project)


def scoring_model(desk: Desk, round_: Round, label_map: LabelMap) -> Serving:
    """The detector that scores the pool: a new model itself, the serving one or its stand-in.

    Raises:
        CheckpointError: the new model is damaged (the order before stays), or no model can serve.
    """
    verdict = round_.steps.get("judged")
    if verdict is None or not verdict["serve"]:
        return load_serving(desk, label_map)
    version = str(verdict["version"])
    detector, _ = load_checkpoint(desk.model_dir(version), label_map=label_map)
    return Serving(version, detector.fast())

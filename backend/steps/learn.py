"""synced, trained, judged: from the labels in Label Studio to a model that may serve."""

from __future__ import annotations

import logging
from dataclasses import replace

from backend.dataset import AnnotatedSamples, Snapshot, take_snapshot
from backend.desk import Desk, read_json, remove_tree, state_of, version_name, write_json
from backend.errors import RoundError
from backend.label_config import LabelConfig, parse_label_config
from backend.settings import Settings
from backend.steps.common import SHOWN_PROBLEMS, Report, Result
from backend.store import Round
from taudis import evaluation
from taudis.checkpoint import load_checkpoint, read_card, save_checkpoint
from taudis.errors import CheckpointError
from taudis.instances import LabelMap
from taudis.mask_rcnn import Detector, ModelConfig
from taudis.training import Progress, Recipe, train

logger = logging.getLogger(__name__)

MIN_LABELLED = 1


def synced(desk: Desk, round_: Round, report: Report) -> Result:
    """Read what Label Studio holds: the labels, and the pool of unlabelled tasks."""
    folder = desk.round_dir(round_)
    project = desk.studio.project(desk.project_id)
    config = parse_label_config(project["label_config"])
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
        desk.project_id, label_config=project["label_config"], title=project["title"]
    )
    counts = [entry.split for entry in snapshot.entries]
    return {
        "labelled": len(counts),
        "train": counts.count("train"),
        "validation": counts.count("validation"),
        "pool": len(pool),
        "watermark": max((t["updated_at"] for t in listing), default=""),
        "problems": list(snapshot.problems[:SHOWN_PROBLEMS]),
    }


def load_snapshot(desk: Desk, round_: Round) -> tuple[Snapshot, list[Result], LabelConfig]:
    """The frozen labels of a round: what was counted, the tasks themselves, and the config."""
    folder = desk.round_dir(round_)
    config = parse_label_config(read_json(folder / "config.json"))
    snapshot = Snapshot.from_json(read_json(folder / "snapshot.json"))
    return snapshot, read_json(folder / "annotated.json"), config


def samples_of(desk: Desk, round_: Round, split: str) -> tuple[AnnotatedSamples, LabelConfig]:
    """Images and targets of one split. Tasks without a readable image are left out, with a log."""
    snapshot, annotated, config = load_snapshot(desk, round_)
    wanted = {entry.task_id for entry in snapshot.entries if entry.split == split}
    tasks = [task for task in annotated if task["id"] in wanted]
    samples = AnnotatedSamples(tasks, config, desk.images)
    for reason in samples.problems:
        logger.warning("Set aside in project %s: %s", desk.project_id, reason)
    return samples, config


def trained(desk: Desk, round_: Round, report: Report) -> Result:
    """Train on the training split, from the initial weights, resuming a killed run."""
    version = version_name(round_)
    saved = _saved_before(desk, round_, version)
    if saved is not None:
        return saved
    samples, config = samples_of(desk, round_, "train")
    if len(samples) < MIN_LABELLED:
        raise RoundError(
            f"Expected at least {MIN_LABELLED} labelled image to train on, got {len(samples)}."
            " Label some tasks, then press Start Training again."
        )
    recipe = recipe_of(desk.settings, samples)
    detector = train(
        samples,
        config.label_map,
        recipe,
        seed=desk.settings.seed,
        weights=desk.settings.weights,
        resume_dir=desk.round_dir(round_) / "training",
        progress=lambda progress: report(_training_progress(progress)),
        stop=None,
    )
    result = {
        "version": version,
        "images": len(samples),
        "mean_instances": samples.mean_instances,
        "recipe": recipe.name,
        "problems": list(samples.problems[:SHOWN_PROBLEMS]),
    }
    card = {
        "project": desk.project_id,
        "round": round_.number,
        "recipe": recipe.name,
        "parent": state_of(desk.project, "model", ""),
        "snapshot": load_snapshot(desk, round_)[0].to_json(),
        "result": result,
    }
    save_checkpoint(desk.model_dir(version), detector, card=card)
    remove_tree(desk.round_dir(round_) / "training")
    return result


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


def recipe_of(settings: Settings, samples: AnnotatedSamples) -> Recipe:
    """The recipe of the setting RECIPE, made to fit the labels; COCO weights fit one model alone.

    Detections per image are raised above the densest labelled image, since a limit below it would
    cut the pool's instances where they are most; crops give way to whole images where they would
    cut typical objects. Any other file of weights must have been made with the recipe's own model.
    """
    recipe = Recipe.cpu(len(samples)) if settings.recipe == "cpu" else Recipe.paper()
    if settings.weights == "coco":
        recipe = replace(recipe, model=ModelConfig.standard())
    recipe = recipe.for_objects(samples.object_share, samples.image_side)
    return replace(
        recipe,
        model=recipe.model.for_densest(samples.max_instances),
        steps=min(recipe.steps, settings.max_steps or recipe.steps),
    )


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
    serving model's 95 % interval, both measured on this round's validation images.
    """
    version = round_.steps["trained"]["version"]
    samples, config = samples_of(desk, round_, "validation")
    new, _ = load_checkpoint(desk.model_dir(version), label_map=config.label_map)
    metrics = evaluation.evaluate(new, samples, seed=desk.settings.seed)
    serving = state_of(desk.project, "model", "")
    verdict = {"version": version, "metrics": metrics.to_dict(), "serve": True, "reason": ""}
    if not serving:
        return {**verdict, "reason": "the first model is always served"}
    if metrics.images == 0:
        return {**verdict, "reason": "served unjudged: no validation image is labelled yet"}
    old = _serving_detector(desk, config.label_map)
    if old is None:
        return {**verdict, "reason": "served: the model before cannot be read, or has other labels"}
    before = evaluation.evaluate(old, samples, seed=desk.settings.seed)
    if evaluation.worse_beyond_interval(metrics, before):
        reason = (
            f"not served: mAP50 {metrics.map50:.3f} is below the serving model's 95 % interval"
            f" {before.interval[0]:.3f}-{before.interval[1]:.3f} on the same"
            f" {metrics.images} validation images"
        )
        return {**verdict, "serve": False, "reason": reason, "before": before.to_dict()}
    reason = f"mAP50 {metrics.map50:.3f}, before {before.map50:.3f}"
    return {**verdict, "reason": reason, "before": before.to_dict()}


def _serving_detector(desk: Desk, label_map: LabelMap) -> Detector | None:
    """The serving model, or None if it cannot be used for these labels (said in the log)."""
    serving = state_of(desk.project, "model", "")
    try:
        return load_checkpoint(desk.model_dir(serving), label_map=label_map)[0]
    except CheckpointError as error:
        logger.warning("Serving model of project %s: %s", desk.project_id, error)
        return None


def scoring_version(desk: Desk, round_: Round) -> str:
    """The version whose checkpoint scores the pool: the new one, or the serving one."""
    verdict = round_.steps.get("judged")
    if verdict is not None and verdict["serve"]:
        return str(verdict["version"])
    return str(state_of(desk.project, "model", ""))

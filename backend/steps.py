"""The steps of a round. Each is idempotent: killed anywhere, it can be run again from its start.

    synced → trained → judged → scored → selected → published → flipped → pruned

A step takes the desk and the round, writes its files, and returns a small JSON result that
`backend.rounds` records. What Label Studio holds counts, never what a webhook carried.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from backend import predictions, prune, task_queue
from backend.dataset import AnnotatedSamples, Snapshot, take_snapshot
from backend.desk import Desk, read_json, remove_tree, state_of, version_name, write_json
from backend.errors import ImageError, RoundError, StudioNotFound, StudioRejected
from backend.label_config import LabelConfig, parse_label_config
from backend.predictions import Region
from backend.regions import encode_prediction
from backend.settings import Settings
from backend.store import Round
from taudis import evaluation
from taudis.checkpoint import load_checkpoint, save_checkpoint
from taudis.errors import CheckpointError
from taudis.instances import Instances, LabelMap, Pool, Selection, Uncertainty
from taudis.mask_rcnn import Detection, Detector, ModelConfig
from taudis.pools import load_pool, save_pool
from taudis.scoring import score_pool
from taudis.select import Labelled, SelectionParams
from taudis.strategies import query
from taudis.training import Progress, Recipe, train

logger = logging.getLogger(__name__)

Result = dict[str, Any]
Report = Callable[[Mapping[str, Any]], None]
MIN_LABELLED = 1
SHOWN_PROBLEMS = 20


# --- synced -----------------------------------------------------------------------------------


def synced(desk: Desk, round_: Round, report: Report) -> Result:
    """Read what Label Studio holds: the labels, and the pool of unlabelled tasks."""
    folder = desk.round_dir(round_)
    project = desk.studio.project(desk.project_id)
    config = parse_label_config(project["label_config"])
    listing = desk.studio.tasks(desk.project_id)
    annotated = desk.studio.export_annotated(desk.project_id)
    snapshot = take_snapshot(desk.project_id, annotated, config, desk.settings.validation_fraction)
    labelled = {entry.task_id for entry in snapshot.entries}
    # The export is the later of the two reads: a task labelled in between belongs to it.
    pool = {t["id"]: t["data"] for t in listing if not t["is_labeled"] and t["id"] not in labelled}
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


# --- trained ----------------------------------------------------------------------------------


def trained(desk: Desk, round_: Round, report: Report) -> Result:
    """Train on the training split, from the initial weights, resuming a killed run."""
    samples, config = samples_of(desk, round_, "train")
    if len(samples) < MIN_LABELLED:
        raise RoundError(
            f"Expected at least {MIN_LABELLED} labelled image to train on, got {len(samples)}."
            " Label some tasks, then press Start Training again."
        )
    recipe = recipe_of(desk.settings, len(samples), samples.max_instances)
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
    version = version_name(round_)
    card = {
        "project": desk.project_id,
        "round": round_.number,
        "recipe": recipe.name,
        "parent": state_of(desk.project, "model", ""),
        "snapshot": load_snapshot(desk, round_)[0].to_json(),
    }
    save_checkpoint(desk.model_dir(version), detector, card=card)
    remove_tree(desk.round_dir(round_) / "training")
    return {
        "version": version,
        "images": len(samples),
        "mean_instances": samples.mean_instances,
        "recipe": recipe.name,
        "problems": list(samples.problems[:SHOWN_PROBLEMS]),
    }


def recipe_of(settings: Settings, labelled: int, densest: int) -> Recipe:
    """The recipe of the setting RECIPE, sized for the labels; COCO weights fit one model alone.

    Detections per image are raised above the densest labelled image, since a limit below it would
    cut the pool's instances where they are most. Any other file of weights must have been made with
    the recipe's own model.
    """
    recipe = Recipe.cpu(labelled) if settings.recipe == "cpu" else Recipe.paper()
    model = ModelConfig.standard() if settings.weights == "coco" else recipe.model
    return replace(
        recipe,
        model=model.for_densest(densest),
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


# --- judged -----------------------------------------------------------------------------------


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


# --- scored -----------------------------------------------------------------------------------


def scored(desk: Desk, round_: Round, report: Report) -> Result:
    """One pass over the unlabelled pool: what the selection needs, and every pre-annotation."""
    folder = desk.round_dir(round_)
    _, _, config = load_snapshot(desk, round_)
    tasks = {int(task): data for task, data in read_json(folder / "pool.json").items()}
    detector, _ = load_checkpoint(
        desk.model_dir(scoring_version(desk, round_)), label_map=config.label_map
    )
    set_aside: dict[int, str] = {}
    regions: dict[int, list[Region]] = {}

    def keep(task: int, detection: Detection) -> None:
        regions[task] = encode_prediction(
            detection, config, threshold=desk.settings.score_threshold
        )
        report({"step": "scored", "done": len(regions) + len(set_aside), "total": len(tasks)})

    images = read_images(desk, config, tasks, set_aside)
    pool = score_pool(detector, images, embedding=desk.settings.embedding, on_image=keep)
    save_pool(folder / "pool.npz", pool)
    write_regions(folder / "regions.sqlite3", regions)
    write_json(folder / "set_aside.json", {str(task): why for task, why in set_aside.items()})
    return {"images": len(pool), "instances": len(pool.instances), "set_aside": len(set_aside)}


def read_images(
    desk: Desk, config: LabelConfig, tasks: Mapping[int, Mapping[str, Any]], failed: dict[int, str]
) -> Iterator[tuple[int, np.ndarray[Any, np.dtype[np.uint8]]]]:
    """Decoded images of tasks, a few read ahead; those that cannot be had go to `failed`."""

    def load(task: int) -> np.ndarray[Any, np.dtype[np.uint8]] | str:
        try:
            return desk.images.load(config.image.address(tasks[task]), task=task)
        except ImageError as error:
            return str(error)

    with ThreadPoolExecutor(max_workers=4) as threads:
        todo = iter(sorted(tasks))
        ahead = [(task, threads.submit(load, task)) for task in islice(todo, 8)]
        while ahead:
            task, future = ahead.pop(0)
            ahead.extend((more, threads.submit(load, more)) for more in islice(todo, 1))
            image = future.result()
            if isinstance(image, str):
                failed[task] = image
            else:
                yield task, image


# --- selected ---------------------------------------------------------------------------------


def selected(desk: Desk, round_: Round, report: Report) -> Result:
    """Rank the whole pool by the query strategy and write the version's predictions."""
    folder = desk.round_dir(round_)
    pool, set_aside, strategy = _pool_of(desk, round_)
    selection = query(
        strategy,
        pool,
        budget=desk.settings.budget,
        labelled=Labelled(
            mean_instances=_seed_mean(desk, round_),
            image_embeddings=np.zeros((0, pool.image_embeddings.shape[1]), np.float32),
        ),
        params=selection_params(desk),
        seed=desk.settings.seed,
    )
    version = version_name(round_)
    regions = read_regions(folder / "regions.sqlite3")
    ranked = task_queue.rank_predictions(selection, pool.image_ids.tolist(), set_aside, regions)
    path = predictions.path_of(desk.data, desk.project_id, version)
    count = predictions.write(path, ranked)
    write_json(folder / "selection.json", describe(selection, pool))
    return {
        "version": version,
        "tasks": count,
        "strategy": selection.strategy,
        "warnings": list(selection.warnings),
        "diagnostics": dict(selection.diagnostics),
    }


def _pool_of(desk: Desk, round_: Round) -> tuple[Pool, dict[int, str], str]:
    """The scored pool; before the first model, the bare tasks in seeded random order."""
    folder = desk.round_dir(round_)
    if round_.kind == "first":
        tasks = np.array(sorted(map(int, read_json(folder / "pool.json"))), np.int64)
        return empty_pool(tasks), {}, "random"
    aside = {int(task): why for task, why in read_json(folder / "set_aside.json").items()}
    return load_pool(folder / "pool.npz"), aside, desk.settings.strategy


def _seed_mean(desk: Desk, round_: Round) -> float:
    """Mean instances per image of the seed set, frozen at the first training (Appendix C)."""
    frozen = state_of(desk.project, "seed_mean_instances")
    if frozen is None and "trained" in round_.steps:
        frozen = round_.steps["trained"]["mean_instances"]
        desk.store.update_project(desk.project_id, seed_mean_instances=frozen)
    return float(frozen or 1.0)


def selection_params(desk: Desk) -> SelectionParams:
    """The settings' hyper-parameters of the selection."""
    settings = desk.settings
    return SelectionParams(
        uncertainty=settings.uncertainty,
        alpha=settings.alpha,
        beta=settings.beta,
        sigma=settings.sigma,
        sigma_rule=settings.sigma_rule,
        remainder=settings.remainder,
        standardise=settings.standardise,
    )


def describe(selection: Selection, pool: Pool) -> Result:
    """A selection as data: order, votes, reasons, and what the cover looked like."""
    ids = pool.image_ids
    votes = selection.votes if len(selection.votes) else np.zeros(len(ids))
    return {
        "strategy": selection.strategy,
        "budget": selection.budget,
        "order": [int(ids[row]) for row in selection],
        "votes": [float(votes[row]) for row in selection],
        "reasons": list(selection.reasons),
        "diagnostics": dict(selection.diagnostics),
        "warnings": list(selection.warnings),
    }


# --- published, flipped -----------------------------------------------------------------------


def published(desk: Desk, round_: Round, report: Report) -> Result:
    """Post every unlabelled task's prediction under the fresh version, in one bulk request.

    A publish that was cut short leaves rows under a version that nobody is served; another attempt
    takes another name, because rows posted twice under one version would decide the order twice.
    """
    written = round_.steps["selected"]
    path = predictions.path_of(desk.data, desk.project_id, written["version"])
    ordered = list(predictions.in_order(path))
    try:
        plan = _post(desk, round_, ordered)
    except (StudioRejected, StudioNotFound):
        # Label Studio takes none of the rows if one task was deleted since they were read.
        alive = {int(task["id"]) for task in desk.studio.tasks(desk.project_id)}
        kept = [found for found in ordered if found.task in alive]
        if len(kept) == len(ordered):
            raise
        logger.info("Project %s: %s tasks are gone", desk.project_id, len(ordered) - len(kept))
        ordered = kept
        plan = _post(desk, round_, ordered)
    if plan.version != written["version"] or len(ordered) != written["tasks"]:
        predictions.write(predictions.path_of(desk.data, desk.project_id, plan.version), ordered)
    verdict = round_.steps.get("judged", {})
    desk.store.add_version(
        desk.lease,
        desk.project_id,
        plan.version,
        round_id=round_.id,
        model=scoring_version(desk, round_) if round_.kind != "first" else "",
        tasks=len(plan.rows),
        metrics=verdict.get("metrics", {}) if verdict.get("serve") else {},
    )
    return {"version": plan.version, "tasks": len(plan.rows), "filled": plan.filled}


def _post(desk: Desk, round_: Round, ordered: list[predictions.Prediction]) -> task_queue.QueuePlan:
    """One publish attempt, unless an earlier one is complete in Label Studio already."""
    version = _begin_attempt(desk, round_, len(ordered))
    plan = task_queue.plan(version, ordered)
    if plan.rows and desk.studio.model_versions(desk.project_id).get(version, 0) == 0:
        desk.store.renew(desk.lease)  # a worker that lost its lease stops here
        desk.studio.import_predictions(desk.project_id, list(plan.rows))
    return plan


def _begin_attempt(desk: Desk, round_: Round, tasks: int) -> str:
    """The version to post under: the last attempt's if it is complete, else a fresh one.

    The attempt is on disk before the post, so a kill in between cannot make two posts share a name.
    """
    marker = desk.round_dir(round_) / "publishing.json"
    last = int(read_json(marker)["attempt"]) if marker.exists() else 0
    if last:
        version = version_name(round_, last)
        if desk.studio.model_versions(desk.project_id).get(version, 0) >= tasks:
            return version
    write_json(marker, {"attempt": last + 1})
    return version_name(round_, last + 1)


def flipped(desk: Desk, round_: Round, report: Report) -> Result:
    """Switch everybody to the new version with one PATCH, unless a person decided otherwise."""
    step = round_.steps["published"]
    model = scoring_version(desk, round_) if round_.kind != "first" else ""
    if not step["tasks"]:
        desk.store.update_project(desk.project_id, model=model)
        return {"version": "", "flipped": False, "why": "every task is labelled"}
    held = why_not_flip(desk, step["version"])
    if held:
        desk.store.update_project(desk.project_id, model=model, drift=held)
        return {"version": step["version"], "flipped": False, "why": held}
    desk.store.renew(desk.lease)
    desk.studio.patch_project(desk.project_id, model_version=step["version"])
    desk.store.update_project(
        desk.project_id,
        serving=step["version"],
        model=model,
        filled=step["filled"],
        flipped_at=time.time(),
        drift="",
    )
    pinned = state_of(desk.project, "pinned", "")
    if pinned:  # a rollback came between our look and our PATCH: it wins
        desk.studio.patch_project(desk.project_id, model_version=pinned)
        desk.store.update_project(desk.project_id, serving=pinned)
        return {"version": step["version"], "flipped": False, "why": why_not_flip(desk, pinned)}
    return {"version": step["version"], "flipped": True, "why": ""}


def why_not_flip(desk: Desk, wanted: str) -> str:
    """Why the project must stay on its version: pinned, or chosen by a person. '' if it may move.

    A title of a connected backend is what Label Studio itself writes on connecting. The wanted
    version is there already if we were killed right after our PATCH, or if somebody chose it.
    """
    state = desk.project.state
    if state.get("pinned"):
        return f"pinned to {state['pinned']} by a rollback; `unpin` lets the order move on"
    current = desk.studio.project(desk.project_id).get("model_version") or ""
    titles = {row.get("title") for row in desk.studio.ml_backends(desk.project_id)}
    ours = {state.get("serving") or "", *(_names_published(desk))}
    if current in titles | {"", "None", wanted} or current == (state.get("serving") or ""):
        return ""
    newest = state.get("serving") or ""
    kind = "an older version of ours" if current in ours else "a version that is not ours"
    return (
        f"somebody chose {current!r} ({kind}) in Label Studio's settings, not {newest!r};"
        " left alone. Choose ours there, or run `rollback` / `unpin`, to go on."
    )


def _names_published(desk: Desk) -> set[str]:
    return {row.version for row in desk.store.versions(desk.project_id, pruned=True)}


# --- pruned -----------------------------------------------------------------------------------


def pruned(desk: Desk, round_: Round, report: Report) -> Result:
    """Let go of versions, checkpoints and working files that are older than the kept ones.

    Their predictions in Label Studio go little by little, by the worker's janitor.
    """
    return {"versions": prune.forget_old_versions(desk)}


# --- a round's own files ----------------------------------------------------------------------


def empty_pool(task_ids: np.ndarray[Any, np.dtype[np.int64]]) -> Pool:
    """A pool of images that no model has seen."""
    none = np.zeros(0, np.float32)
    instances = Instances(
        np.zeros(0, np.int64), np.zeros((0, 4), np.float32), none, np.zeros(0, np.int64),
        np.zeros((0, 2), np.float32), np.zeros((0, 1), np.float32),
    )  # fmt: skip
    return Pool(
        task_ids,
        np.zeros((len(task_ids), 2), np.int64),
        instances,
        Uncertainty(none, none, none),
        none,
        np.zeros((len(task_ids), 1), np.float32),
    )


def write_regions(path: Path, regions: Mapping[int, list[Region]]) -> None:
    """Pre-annotations of a round, before they have a rank."""
    predictions.write(
        path,
        (
            predictions.Prediction(task, rank, 0.0, "", found)
            for rank, (task, found) in enumerate(regions.items(), start=1)
        ),
    )


def read_regions(path: Path) -> Mapping[int, list[Region]]:
    """What `write_regions` wrote; nothing before the first model."""
    if not path.exists():
        return {}
    return {found.task: found.result for found in predictions.in_order(path)}

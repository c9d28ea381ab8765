"""scored, selected: from a model to a place in the order for every unlabelled image."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from backend import predictions, task_queue
from backend.desk import Desk, read_json, state_of, version_name, write_json
from backend.errors import ImageError
from backend.label_config import LabelConfig
from backend.predictions import Region
from backend.regions import encode_prediction
from backend.steps.common import Report, Result
from backend.steps.learn import load_snapshot, scoring_version
from backend.store import Round
from taudis.checkpoint import load_checkpoint
from taudis.instances import Instances, Pool, Selection, Uncertainty
from taudis.mask_rcnn import Detection
from taudis.pools import load_pool, save_pool
from taudis.scoring import score_pool
from taudis.select import Labelled, SelectionParams
from taudis.strategies import query

logger = logging.getLogger(__name__)


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

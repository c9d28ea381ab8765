"""scored, selected: from a model to a place in the order for every unlabelled image."""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from backend.errors import ImageError
from backend.images.decode import Pixels
from backend.label_studio import queue as task_queue
from backend.label_studio.label_config import LabelConfig
from backend.label_studio.left_out import of_task
from backend.label_studio.regions import encode_prediction
from backend.store import predictions
from backend.store.database import Round
from backend.store.predictions import Region
from backend.worker.common import Report, Result, record
from backend.worker.context import Desk, read_json, state_of, version_name, write_json
from backend.worker.train import load_snapshot, scoring_model
from taudis import scoring
from taudis.data.pool_reader import load_pool, save_pool
from taudis.detector.checkpoint import read_card
from taudis.detector.mask_rcnn import Detection, Detector
from taudis.errors import DataError
from taudis.evaluation.visible import CARD_KEY, thresholds_for
from taudis.selection.params import Labelled, SelectionParams
from taudis.selection.strategies import query
from taudis.types import Instances, Pool, Selection, Uncertainty

logger = logging.getLogger(__name__)

POOL_FILE = "pool.safetensors"
OLD_POOL_FILE = "pool.npz"
"""Of a round that an earlier version scored and did not finish."""

LABELLED_FILE = "labelled.safetensors"
"""The labelled images as the serving model sees them: a pool file without instances."""
STARTS_FROM_LABELLED = frozenset({"core_set"})
"""Query strategies that look at the labelled images too; for others no pass over them is paid."""

READ_AHEAD = 4
"""Images fetched and decoded while the model looks at others,"""
READ_AHEAD_BYTES = 64_000_000
"""and fewer where they are large: one of 4,000 x 3,000 px."""


def scored(desk: Desk, round_: Round, report: Report) -> Result:
    """One pass over the unlabelled pool: what the selection needs, and every pre-annotation.

    A second one over the labelled images where the strategy starts from them.
    """
    folder = desk.round_dir(round_)
    _, annotated, config = load_snapshot(desk, round_)
    tasks = {int(task): data for task, data in read_json(folder / "pool.json").items()}
    serving = scoring_model(desk, round_, config.label_map)
    chosen = read_card(desk.model_dir(serving.version)).get(CARD_KEY, {})
    thresholds = thresholds_for(config.label_map, chosen, desk.settings.score_threshold)
    wanted = bool(tasks) and desk.settings.strategy in STARTS_FROM_LABELLED
    labelled = {int(task["id"]): task["data"] for task in annotated} if wanted else {}
    total = len(tasks) + len(labelled)
    set_aside: dict[int, str] = {}
    done = itertools.count(1)

    def tell(images: int) -> None:
        report({"step": "scored", "done": images, "total": total})

    def keep(task: int, detection: Detection) -> None:
        regions = encode_prediction(detection, config, threshold=thresholds)
        place = next(done)
        add(predictions.Prediction(task, place, 0.0, "", regions))  # no rank yet: in order of id
        tell(place + len(set_aside))

    images = read_images(desk, config, tasks, set_aside)
    # Straight to the file: what stays in memory, little as it is, lies between the large blocks
    # that come and go with each image, and keeps the heap from giving them back.
    with predictions.writing(folder / "regions.sqlite3") as add:
        seen_images, instances = scoring.score_to_file(
            folder / POOL_FILE,
            serving.detector,
            images,
            embedding=desk.settings.embedding,
            on_image=keep,
            about=serving.version,
            embedding_dtype="float32",
        )
    write_json(folder / "set_aside.json", {str(task): why for task, why in set_aside.items()})
    left_out = record(
        desk, round_, "unlabelled", [of_task(task, why) for task, why in set_aside.items()]
    )

    # The file of a killed attempt may be of another model: it goes even where none replaces it.
    (folder / LABELLED_FILE).unlink(missing_ok=True)
    counted: Result = {}
    if wanted:
        seen = look_at_labelled(
            desk, serving.detector, config, labelled, lambda images: tell(len(tasks) + images)
        )
        names = serving.detector.label_map.names
        save_pool(folder / LABELLED_FILE, seen, label_names=names, model=serving.version)
        counted = {"labelled": len(labelled), "labelled_seen": len(seen)}
    return {
        "model": serving.version,
        "trouble": serving.trouble,
        "images": seen_images,
        "instances": instances,
        "set_aside": len(set_aside),
        "left_out": left_out.to_json(),
        **counted,
    }


def look_at_labelled(
    desk: Desk,
    detector: Detector,
    config: LabelConfig,
    tasks: Mapping[int, Mapping[str, Any]],
    tell: Callable[[int], None],
) -> Pool:
    """Labelled images as a pool without instances: ids, sizes, image embeddings [L,D'].

    Images that cannot be read are left out, with a log. `tell` gets the number of images done.
    """
    embedding, failed = desk.settings.embedding, dict[int, str]()
    bare = scoring.empty_pool(detector, embedding)
    seen = [bare]
    images = read_images(desk, config, tasks, failed)
    for part, _ in scoring.score_images(detector, images, embedding=embedding):
        one = {name: getattr(part, name) for name in ("image_ids", "sizes", "image_embeddings")}
        seen.append(replace(bare, **one))  # a pool's instances are many times larger
        tell(len(seen) - 1 + len(failed))
    for task, why in failed.items():
        logger.warning("Project %s: labelled task %s left out: %s", desk.project_id, task, why)
    return scoring.join_pools(seen)


def read_images(
    desk: Desk, config: LabelConfig, tasks: Mapping[int, Mapping[str, Any]], failed: dict[int, str]
) -> Iterator[tuple[int, Pixels]]:
    """Decoded images of tasks, a few read ahead; those that cannot be had go to `failed`.

    No more are read ahead than READ_AHEAD_BYTES hold of the largest so far.
    """

    def load(task: int) -> Pixels | str:
        try:
            return desk.images.load(config.image.address(tasks[task]), task=task)
        except ImageError as error:
            return str(error)

    todo, largest = iter(sorted(tasks)), 0
    ahead: deque[tuple[int, Future[Pixels | str]]] = deque()
    with ThreadPoolExecutor(max_workers=READ_AHEAD) as threads:
        while True:
            more = islice(todo, max(0, _room(largest) - len(ahead)))
            ahead.extend((task, threads.submit(load, task)) for task in more)
            if not ahead:
                return
            task, image = ahead[0][0], ahead.popleft()[1].result()
            if isinstance(image, str):
                failed[task] = image
            else:
                largest = max(largest, image.nbytes)
                yield task, image


def _room(largest: int) -> int:
    """How many images are read ahead when the largest so far has so many bytes (0: none yet)."""
    if not largest:
        return 2
    return max(1, min(READ_AHEAD, READ_AHEAD_BYTES // largest))


def selected(desk: Desk, round_: Round, report: Report) -> Result:
    """Rank the whole pool by the query strategy and write the version's predictions."""
    folder = desk.round_dir(round_)
    pool, set_aside, strategy = _pool_of(desk, round_)
    known, missing = labelled_of(desk, round_, strategy, pool)
    selection = query(
        strategy,
        pool,
        budget=desk.settings.budget,
        labelled=known,
        params=selection_params(desk),
        seed=desk.settings.seed,
    )
    if missing:
        logger.warning("Project %s, round %s: %s", desk.project_id, round_.number, missing)
        selection = replace(
            selection,
            diagnostics={**selection.diagnostics, "labelled_missing": missing},
            warnings=(*selection.warnings, missing),
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
    path = folder / POOL_FILE
    if not path.exists() and (folder / OLD_POOL_FILE).exists():
        path = folder / OLD_POOL_FILE
    return load_pool(path), aside, desk.settings.strategy


def labelled_of(desk: Desk, round_: Round, strategy: str, pool: Pool) -> tuple[Labelled, str]:
    """What the strategy may know of the labelled images; and why that is less than it asks for."""
    nothing = Labelled(mean_instances=_seed_mean(desk, round_))
    if strategy not in STARTS_FROM_LABELLED or not len(pool):
        return nothing, ""
    without = f"{strategy} went without the labelled images"
    path = desk.round_dir(round_) / LABELLED_FILE
    if not path.exists():
        why = "this round was scored by an earlier version or under another STRATEGY"
        return nothing, f"{without}: {why}; the next round looks at them"
    try:
        seen = load_pool(path)
    except DataError as error:
        return nothing, f"{without}: {error}"
    count = int(round_.steps["scored"].get("labelled", 0))
    if count and not len(seen):
        return nothing, f"{without}: none of the {count} can be read; the worker's log tells why"
    known = replace(nothing, image_embeddings=seen.image_embeddings, image_ids=seen.image_ids)
    missing = max(0, count - len(seen))
    why = f"{strategy} went without {missing} of {count} labelled images, which cannot be read"
    return known, why if missing else ""


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
        alpha_img=settings.alpha_img,
        sigma=settings.sigma,
        sigma_rule=settings.sigma_rule,
        remainder=settings.remainder,
        centre=settings.centre,
        standardise=settings.standardise,
        sketch=settings.sketch,
        edge_bytes=settings.edge_mb * 1_000_000,
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


def read_regions(path: Path) -> Mapping[int, list[Region]]:
    """The pre-annotations of a round, before they have a rank; none before the first model."""
    return predictions.StoredRegions(path) if path.exists() else {}

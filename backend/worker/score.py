"""scored: one pass of a model over the images of a round."""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import Any

from backend.errors import ImageError
from backend.images.decode import Pixels
from backend.label_studio.label_config import LabelConfig
from backend.label_studio.left_out import of_task
from backend.label_studio.regions import encode_prediction
from backend.store import predictions
from backend.store.database import Round
from backend.worker.common import Report, Result, record
from backend.worker.context import Desk, read_json, version_name, write_json
from backend.worker.train import load_snapshot, scoring_model
from taudis import scoring
from taudis.data.pool_reader import save_pool
from taudis.detector.checkpoint import read_card
from taudis.detector.mask_rcnn import Detector
from taudis.evaluation.visible import CARD_KEY, thresholds_for
from taudis.selection.strategies import STRATEGIES
from taudis.types import Detection, Pool

logger = logging.getLogger(__name__)

POOL_FILE = "pool.safetensors"
LABELLED_FILE = "labelled.safetensors"
"""The labelled images as the serving model sees them: a pool file without instances."""

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
    wanted = bool(tasks) and STRATEGIES[desk.settings.strategy].labelled_embeddings
    labelled = {int(task["id"]): task["data"] for task in annotated} if wanted else {}
    total = len(tasks) + len(labelled)
    set_aside: dict[int, str] = {}
    done = itertools.count(1)

    def tell(images: int) -> None:
        report({"step": "scored", "done": images, "total": total})

    def keep(task: int, detection: Detection) -> None:
        add(task, encode_prediction(detection, config, threshold=thresholds))
        tell(next(done) + len(set_aside))

    images = read_images(desk, config, tasks, set_aside)
    # Straight to the file: what stays in memory, little as it is, lies between the large blocks
    # that come and go with each image, and keeps the heap from giving them back.
    path = predictions.path_of(desk.data, desk.project_id, version_name(round_))
    with predictions.writing(path) as add:
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

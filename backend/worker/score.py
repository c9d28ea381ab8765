"""The step `scored`: run a model over the unlabelled images of a round.

It writes two files. The step `selected` makes the order from the pool file, which has the
detections. The predictions file has the regions that annotators will see. If the time limit ends
the scoring, a third file lists the images without scores (`backend.worker.anytime`).
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from backend.errors import ImageError
from backend.images.decode import Pixels
from backend.label_studio.label_config import LabelConfig
from backend.label_studio.left_out import of_task
from backend.label_studio.regions import encode_prediction
from backend.label_studio.regions.encode import Region
from backend.store import predictions
from backend.store.rounds import Round
from backend.worker.anytime import (
    MADE_BY_FILE,
    POOL_FILE,
    REST_FILE,
    UNREADABLE_FILE,
    ScoredBefore,
    TimeLimit,
    made_by,
    scored_before,
    scoring_order,
)
from backend.worker.common import Report, Result, record
from backend.worker.context import RoundContext, read_json, remove, version_name, write_json
from backend.worker.score_by_ray import scored_parts
from backend.worker.serving import Serving, embedding_of, is_new, scoring_model
from backend.worker.sync import load_snapshot
from taudis import scoring
from taudis.data.pool_reader import save_pool
from taudis.detector.card import read_card
from taudis.detector.registry import TrainedDetector
from taudis.evaluation.visible import CARD_KEY, thresholds_for
from taudis.selection.least_score import without_low_scores
from taudis.selection.strategies import STRATEGIES
from taudis.selection.variants import OBJECT_SCORE
from taudis.time_left import TimeLeft
from taudis.types import FloatArray, Pool

logger = logging.getLogger(__name__)

LABELLED_FILE = "labelled.safetensors"
"""The pool file of the labelled images, for strategies that start from them.

Its instances are the objects that the model finds there, if the strategy reads them.
"""

READ_AHEAD = 4  # images fetched and decoded while the model runs on another image
READ_AHEAD_BYTES = 64_000_000  # limit for large images: allows one image of 4,000 x 3,000 px


def score(context: RoundContext, round_: Round, report: Report) -> Result:
    """Run the model over the unlabelled images until the time limit.

    If the strategy needs the labelled images, the model then runs over all of them.
    """
    folder = context.round_dir(round_)
    _, annotated, config = load_snapshot(context, round_)
    tasks = {int(task): data for task, data in read_json(folder / "pool.json").items()}
    promoted = context.load_project().state.promoted  # read first: a later one waits for a round
    serving = scoring_model(context, round_, config.label_map)
    strategy = STRATEGIES[context.settings.strategy]
    wanted = bool(tasks) and strategy.reads_labelled
    labelled = {int(task["id"]): task["data"] for task in annotated} if wanted else {}
    made = made_by(context, serving.version, read_json(folder / "config.json"))
    before = scored_before(context, round_, tasks, made)
    order = scoring_order(context, tasks.keys() - before.tasks, last=before.unreadable)
    todo = {task: tasks[task] for task in order}
    limit = TimeLimit(context.settings.score_seconds)
    tell = ScoringProgress(report, limit, len(todo), len(labelled))
    found = _score_pool(context, round_, serving, config, todo, before, limit, tell)
    write_json(folder / MADE_BY_FILE, made)
    # A killed attempt may have left another model's file, which no new file may replace.
    remove(folder / LABELLED_FILE)
    if wanted:
        tell(len(todo))
        seen = look_at_labelled(
            context,
            serving.detector,
            config,
            labelled,
            lambda images: tell(len(todo) + images),
            objects=strategy.labelled_instances,
        )
        names = serving.detector.label_map.names
        save_pool(folder / LABELLED_FILE, seen, label_names=names, model=serving.version)
        found |= {"labelled": len(labelled), "labelled_seen": len(seen)}
    result = {"model": serving.version, "stand_in": serving.stand_in, **found}
    return result if is_new(round_) else {**result, "promoted": promoted}


class ScoringProgress:
    """Reports how many images are done, and the estimated remaining seconds.

    Args:
        report: receives the progress of the round.
        limit: ends the scoring of the pool.
        pool: images of the pool.
        labelled: labelled images, which are scored after the pool, without a limit.
    """

    def __init__(self, report: Report, limit: TimeLimit, pool: int, labelled: int) -> None:
        self._report, self._limit = report, limit
        self._pool, self._labelled = pool, labelled
        self._time_left = TimeLeft()

    def __call__(self, done: int) -> None:
        """Report that `done` images are done."""
        total = self._pool + self._labelled
        progress: dict[str, Any] = {"step": "scored", "done": done, "total": total}
        if done == self._pool:  # also if the limit ended the pool: the others were not scored
            self._time_left = TimeLeft(done)
        each = self._time_left.after(done, done + 1)
        if each is not None:
            pool = min(each * max(0, self._pool - done), self._limit.left)
            progress["eta_s"] = pool + each * min(self._labelled, total - done)
        self._report(progress)


# long: half of it are arguments, its own and those of the pool file
def _score_pool(
    context: RoundContext,
    round_: Round,
    serving: Serving,
    config: LabelConfig,
    tasks: Mapping[int, Mapping[str, Any]],
    before: ScoredBefore,
    limit: TimeLimit,
    tell: Callable[[int], None],
) -> Result:
    """Write the pool file and the regions of the unlabelled images. Returns the counts.

    `tasks` are scored in their order, and `before` is copied. `tell` receives the number of images
    done.
    """
    thresholds = _thresholds(context, serving, config)
    unreadable, scored = dict[int, str](), set[int]()

    def keep(task: int, regions: list[Region]) -> None:
        add(task, regions)
        scored.add(task)
        tell(len(scored) + len(unreadable))

    # Each image is written at once. Small objects kept in memory between the large blocks of each
    # image would fragment the heap, so the blocks could not be freed.
    path = predictions.path_of(context.data, context.project_id, version_name(round_))
    finish = partial(encode_prediction, config=config, threshold=thresholds)
    pixels = read_images(context, config, tasks, unreadable, stop=limit.is_up)
    with (
        predictions.writing(path) as add,
        closing(scored_parts(context, serving, pixels, finish, unreadable)) as parts,
    ):
        before.copy_regions(add)
        images, instances = scoring.write_parts(
            context.round_dir(round_) / POOL_FILE,
            serving.detector,
            parts,
            before=before.parts(),
            embedding=embedding_of(serving.detector, context.settings.embedding),
            on_part=keep,
            about=serving.version,
            embedding_dtype="float32",
        )
    counts = {"images": images, "instances": instances}
    return {**counts, **_note_the_others(context, round_, tasks, scored, unreadable, before)}


def _note_the_others(
    context: RoundContext,
    round_: Round,
    tasks: Iterable[int],
    scored: set[int],
    unreadable: Mapping[int, str],
    before: ScoredBefore,
) -> Result:
    """Write which images could not be read, and which were not reached in time. Returns counts.

    An image that an earlier round could not read stays unreadable if this round had no time to
    retry it. As a part of the rest, it would start one round after another.
    """
    known = {task: why for task, why in before.unreadable.items() if task not in scored}
    known |= unreadable
    rest = [task for task in tasks if task not in scored and task not in known]
    write_json(context.round_dir(round_) / UNREADABLE_FILE, known)
    write_json(context.round_dir(round_) / REST_FILE, rest)
    rows = [of_task(task, why) for task, why in known.items()]
    left_out = record(context, round_, "unlabelled", rows).to_json()
    counts: Result = {"unreadable": len(known), "left_out": left_out}
    if rest or before.rows:  # a pool that was scored completely in this round has neither count
        counts |= {"rest": len(rest), "taken_over": len(before.rows)}
    return counts


def _thresholds(context: RoundContext, serving: Serving, config: LabelConfig) -> FloatArray:
    """The lowest score [K] at which annotators see a detection, for each label."""
    chosen = read_card(context.model_dir(serving.version)).get(CARD_KEY, {})
    return thresholds_for(config.label_map, chosen, context.settings.score_threshold)


def look_at_labelled(
    context: RoundContext,
    detector: TrainedDetector,
    config: LabelConfig,
    tasks: Mapping[int, Mapping[str, Any]],
    tell: Callable[[int], None],
    *,
    objects: bool = False,
) -> Pool:
    """The labelled images as a pool: ids, sizes, image embeddings [L,D'], no instances.

    objects: include the instances that represent objects. Unreadable images are left out and
    logged. `tell` receives the number of images done.
    """
    embedding, unreadable = embedding_of(detector, context.settings.embedding), dict[int, str]()
    bare = scoring.empty_pool(detector, embedding)
    seen = [bare]
    images = read_images(context, config, dict(sorted(tasks.items())), unreadable)
    for part, _ in scoring.score_images(detector, images, embedding=embedding):
        image = {name: getattr(part, name) for name in ("image_ids", "sizes", "image_embeddings")}
        # Keeping all instances would take many times the memory.
        kept = without_low_scores(part, OBJECT_SCORE)[0] if objects else replace(bare, **image)
        seen.append(kept)
        tell(len(seen) - 1 + len(unreadable))
    for task, why in unreadable.items():
        logger.warning("Project %s: labelled task %s left out: %s", context.project_id, task, why)
    return scoring.join_pools(seen)


def read_images(
    context: RoundContext,
    config: LabelConfig,
    tasks: Mapping[int, Mapping[str, Any]],
    unreadable: dict[int, str],
    *,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[int, Pixels]]:
    """Task ids and decoded images in the order of `tasks`, with a few images read ahead.

    If an image cannot be read, the reason is added to `unreadable` under its task id. Images read
    ahead take at most READ_AHEAD_BYTES, estimated from the largest image so far. The iterator ends
    when `stop` returns True.
    """

    def load(task: int) -> Pixels | str:
        try:
            return context.images.load(config.image.address(tasks[task]), task=task)
        except ImageError as error:
            return str(error)

    todo, largest = iter(tasks), 0
    ahead: deque[tuple[int, Future[Pixels | str]]] = deque()
    with ThreadPoolExecutor(max_workers=READ_AHEAD) as threads:
        while True:
            more = islice(todo, max(0, _room(largest) - len(ahead)))
            # With the caller's context variables, log lines of the threads have the round's id.
            ahead.extend((task, threads.submit(copy_context().run, load, task)) for task in more)
            if not ahead or stop():
                return
            task, image = ahead[0][0], ahead.popleft()[1].result()
            if isinstance(image, str):
                unreadable[task] = image
            else:
                largest = max(largest, image.nbytes)
                yield task, image


def _room(largest: int) -> int:
    """How many images are read ahead if the largest image so far has `largest` bytes (0: none)."""
    if not largest:
        return 2
    return max(1, min(READ_AHEAD, READ_AHEAD_BYTES // largest))

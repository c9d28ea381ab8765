"""Chooses which part of the pool a round scores, and in which order.

Annotators should not wait until a large pool is scored. A round therefore scores for at most
SCORE_SECONDS, starting at the head of the served order. The new order has the scored images first,
then the rest (the unscored images) in their previous order. The next round reuses the scores that
the same model made and continues with the rest. docs/decisions/0021-anytime-rounds.md says why.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

import taudis
from backend.errors import StoreError
from backend.settings import Settings
from backend.store import predictions
from backend.store.rounds import Round
from backend.worker.arms import first_at_random
from backend.worker.context import RoundContext, read_json, version_name
from backend.worker.made import nothing_to_order
from taudis.data.pool_reader import load_pool
from taudis.errors import DataError
from taudis.selection.params import Labelled
from taudis.selection.strategies import STRATEGIES, query
from taudis.types import Pool

logger = logging.getLogger(__name__)

POOL_FILE = "pool.safetensors"
"""The scores and embeddings of all instances that the model found in the unlabelled images."""
UNREADABLE_FILE = "unreadable.json"
"""Task id -> the reason why its image cannot be read."""
REST_FILE = "rest.json"
"""Ids of the tasks that the round had no time to score, in their previous order."""
MADE_BY_FILE = "made_by.json"
"""Everything besides the image that the scores depend on (see `made_by`)."""
IMAGES_AT_A_TIME = 512  # read from an earlier pool file into memory together


# --- scoring order and time limit -----------------------------------------------------------------


def scoring_order(
    context: RoundContext, tasks: Iterable[int], last: Container[int] = ()
) -> list[int]:
    """The unlabelled tasks in the order in which a round scores them.

    1. The head of the random arm, if there is a control arm.
    2. The served order from its head. A strategy that needs nothing from the model
       (`ranks_unseen`) can rank the tasks now, so its new order replaces the served one.
    3. Tasks without a place in that order, by id.
    4. The tasks of `last`.
    """
    ids = sorted(tasks)
    settings = context.settings
    if ranks_unseen(settings.strategy):
        ranks = {task: rank for rank, task in enumerate(unseen_order(settings, ids))}
    else:
        ranks = served_ranks(context)
    ahead, behind = first_at_random(context, ids), len(ranks) + 1
    return sorted(ids, key=lambda t: (t in last, t not in ahead, ranks.get(t, behind), t))


def ranks_unseen(strategy: str) -> bool:
    """Whether a strategy ranks images without detections or embeddings."""
    found = STRATEGIES[strategy]
    return not (found.detections or found.image_embeddings or found.labelled_embeddings)


def unseen_order(settings: Settings, ids: Sequence[int]) -> list[int]:
    """The order by a strategy for which `ranks_unseen` is true."""
    found = query(
        settings.strategy,
        empty_pool(np.array(ids, np.int64)),
        budget=settings.budget,
        labelled=Labelled(mean_instances=1.0),
        params=settings.selection_params,
        seed=settings.seed,
    )
    return [ids[row] for row in found]


def served_ranks(context: RoundContext) -> dict[int, int]:
    """Task id -> rank in the served order; {} if no order is served or its file is unreadable."""
    served = context.load_project().state.serving
    if not served:
        return {}
    try:
        return predictions.ranks(predictions.path_of(context.data, context.project_id, served))
    except StoreError as error:
        logger.warning("Project %s: images are scored by id: %s", context.project_id, error)
        return {}


class TimeLimit:
    """The time limit for scoring. It starts at the first call of `is_up`; None: no limit.

    Attributes:
        left: the seconds that were left at the last call, at least 0; infinity without a limit.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = inf if seconds is None else seconds
        self._begun: float | None = None
        self.left = self._seconds

    def is_up(self) -> bool:
        """Whether the time is up. The first call returns False, so each round scores an image."""
        if self._begun is None:
            self._begun = monotonic()
            return False
        self.left = max(0.0, self._seconds - (monotonic() - self._begun))
        return self.left == 0


# --- scores of an earlier round -------------------------------------------------------------------


def made_by(context: RoundContext, model: str, label_config: str) -> dict[str, Any]:
    """Everything besides the image itself that its scores and regions depend on."""
    return {
        "model": model,
        "labels": label_config,
        "embedding": context.settings.embedding,
        "threshold": context.settings.score_threshold,
        "release": taudis.__version__,
    }


@dataclass(frozen=True)
class ScoredBefore:
    """The images that an earlier round scored and that are still unlabelled."""

    pool: Pool | None = None
    rows: tuple[int, ...] = ()  # of the pool
    regions: Path | None = None  # the predictions file
    unreadable: Mapping[int, str] = field(default_factory=dict)
    """Task id -> why that round could not read the image. This round retries it last."""

    @property
    def tasks(self) -> list[int]:
        """Task ids of the scored images, in the order of `rows`."""
        return [] if self.pool is None else self.pool.image_ids[list(self.rows)].tolist()

    def parts(self) -> Iterator[Pool]:
        """The rows `rows` of the pool, at most IMAGES_AT_A_TIME images in each part."""
        if self.pool is not None:
            for first in range(0, len(self.rows), IMAGES_AT_A_TIME):
                rows = self.rows[first : first + IMAGES_AT_A_TIME]
                yield self.pool.subset(np.array(rows, np.int64))

    def copy_regions(self, add: Callable[[int, bytes], None]) -> None:
        """Call `add` with each task id and its regions as JSON."""
        if self.regions is not None:
            with predictions.Stored.opened(self.regions) as stored:
                for task in self.tasks:
                    add(task, stored.found(task))


def scored_before(
    context: RoundContext, round_: Round, tasks: Mapping[int, Any], made: Mapping[str, Any]
) -> ScoredBefore:
    """The scores that this round can reuse from the newest earlier round with the same `made_by`.

    Empty if that round scored the whole pool in at most half of SCORE_SECONDS, or without a limit:
    the pool is then scored again. `tasks` maps the unlabelled tasks to their data.
    """
    for earlier in context.store.rounds(context.project_id, limit=10):
        if earlier.id == round_.id or "scored" not in earlier.steps:
            continue
        folder = context.round_dir(earlier)
        try:
            if read_json(folder / MADE_BY_FILE) != made:
                continue
            if not _is_large(earlier.steps["scored"], context.settings.score_seconds):
                return ScoredBefore()
            return _usable(context, earlier, folder, tasks)
        except (OSError, ValueError, DataError, StoreError) as error:
            logger.warning(
                "Project %s: nothing is taken over from round %s: %s",
                context.project_id, earlier.number, error,
            )  # fmt: skip
    return ScoredBefore()


def _is_large(scored: Mapping[str, Any], limit: float | None) -> bool:
    """Whether a pool takes more than one round, or over half of the time `limit`, to score."""
    if scored.get("rest") or scored.get("taken_over"):
        return True
    return limit is not None and 2 * float(scored.get("seconds", 0.0)) > limit


def _usable(
    context: RoundContext, earlier: Round, folder: Path, tasks: Mapping[int, Any]
) -> ScoredBefore:
    """The rows of an earlier round whose tasks are still unlabelled and have the same data.

    Raises:
        OSError, ValueError, DataError, StoreError: a file of that round cannot be read.
    """
    version = version_name(earlier)
    regions = predictions.path_of(context.data, context.project_id, version)
    with predictions.Stored.opened(regions):
        pass  # raises if the file is missing or unreadable
    pool = load_pool(folder / POOL_FILE)
    seen = read_json(folder / "pool.json")
    same = {task for task, data in tasks.items() if seen.get(str(task)) == data}
    rows = tuple(row for row, task in enumerate(pool.image_ids.tolist()) if task in same)
    tried = {int(task): why for task, why in read_json(folder / UNREADABLE_FILE).items()}
    unreadable = {task: why for task, why in tried.items() if task in same}
    return ScoredBefore(pool, rows, regions, unreadable)


def empty_pool(task_ids: np.ndarray[Any, np.dtype[np.int64]]) -> Pool:
    """A pool of images without detections, with embeddings of zeros [I,1]."""
    return Pool.without_detections(task_ids, np.zeros((len(task_ids), 1), np.float32))


# --- the rest -------------------------------------------------------------------------------------


def rest_of(context: RoundContext, round_: Round) -> list[int]:
    """The tasks that a round had no time to score, in their previous order."""
    path = context.round_dir(round_) / REST_FILE
    return [int(task) for task in read_json(path)] if path.exists() else []


def unscored(context: RoundContext) -> int:
    """The number of images in the served order that its model had no time to score.

    0 while the served order is not the newest: a rollback or a person's choice holds it, so
    annotators would not see the result of another round. 0 also once every task is labelled.
    """
    if nothing_to_order(context):
        return 0
    newest = next(iter(context.store.versions(context.project_id)), None)
    if newest is None or newest.version != context.load_project().state.serving:
        return 0
    return int(context.store.round(newest.round).steps.get("scored", {}).get("rest", 0))


def in_words(round_: Round) -> str:
    """A sentence that says how much of the pool a round scored; '' if it scored the whole pool."""
    scored = round_.steps.get("scored", {})
    rest, before = scored.get("rest", 0), scored.get("taken_over", 0)
    done = scored.get("images", 0) + scored.get("unreadable", 0)
    taken = f" ({before} of them by the same model in an earlier round)" if before else ""
    if not rest:
        return f"all {done} images are scored{taken}" if before else ""
    place = "keep their old order behind these"
    if not round_.steps.get("selected", {}).get("behind", rest):
        place = "have their places by the same strategy, which reads no scores"
    return (
        f"{done} of {done + rest} images are scored{taken}; {rest} {place}, without"
        " pre-annotations, until the next round goes on with them"
    )

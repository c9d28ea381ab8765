"""The step `embedded`: embed the images of a project without a model, for a useful first order.

The ImageNet backbone embeds every image, and the step `selected` ranks the embeddings. Images are
embedded in seeded random order, so an interrupted run leaves a random sample. The run ends early if
a training is due, or after LONGEST_SECONDS; the other images then get random places. Embeddings are
kept with the project, so no image is embedded twice, even after later imports or a killed worker.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from backend.errors import ImageError
from backend.label_studio.label_config import LabelConfig
from backend.label_studio.left_out import of_task
from backend.store.rounds import Round
from backend.worker.anytime import POOL_FILE, REST_FILE, UNREADABLE_FILE
from backend.worker.common import Report, Result, record
from backend.worker.context import RoundContext, read_json, write_json
from backend.worker.embeddings import FILE, KeptEmbeddings
from backend.worker.score import LABELLED_FILE, read_images
from backend.worker.sync import load_snapshot
from backend.worker.triggers import backing_off, changed_tasks, last_training
from taudis.data.pool_reader import save_pool
from taudis.detector.image_embedding import ImageEmbedder
from taudis.detector.memory import give_back_free_pages
from taudis.errors import WeightsError
from taudis.selection.vote import seeded_hash
from taudis.time_left import TimeLeft
from taudis.types import IntArray, Pool

logger = logging.getLogger(__name__)

LONGEST_SECONDS = 1_200.0
"""Time limit of one run. 10,000 images of 0.2 Mpx take 4 minutes of one core."""
CHUNK = 64  # images between two checks whether the order is due
SAVE_SECONDS = 30.0

Tasks = Mapping[int, Mapping[str, Any]]


def embed(context: RoundContext, round_: Round, report: Report) -> Result:
    """Embed the images of all tasks, and write the files that the step `selected` ranks."""
    strategy = context.settings.first_order
    if strategy == "random":
        return {"strategy": strategy}
    try:
        embedder = ImageEmbedder.packaged(context.imagenet_dir)
    except WeightsError as error:
        logger.warning("Project %s: the first order is random: %s", round_.project, error)
        return {"strategy": "random", "why": f"FIRST_ORDER={strategy} could not be used: {error}"}
    embedding_run = _EmbeddingRun(context, round_, embedder, report)
    embedding_run.run()
    return {"strategy": strategy, **embedding_run.write()}


class _EmbeddingRun:
    """Embeds the images of a project: first the labelled images, then the pool."""

    def __init__(
        self, context: RoundContext, round_: Round, embedder: ImageEmbedder, report: Report
    ) -> None:
        self.context, self.round, self.embedder, self.report = context, round_, embedder, report
        _, annotated, self.config = load_snapshot(context, round_)
        pool = read_json(context.round_dir(round_) / "pool.json")
        self.pool: Tasks = {int(task): data for task, data in pool.items()}
        self.labelled: Tasks = {int(task["id"]): task["data"] for task in annotated}
        path = context.data / "rounds" / str(context.project_id) / FILE
        self.tasks: Tasks = {**self.labelled, **self.pool}
        self.kept = KeptEmbeddings(path, embedder, _addresses(self.tasks, self.config))
        self.unreadable: dict[int, str] = {}
        self.why = ""  # the reason why the run ended early
        self.started = self.saved = time.monotonic()
        self.time_left = TimeLeft()
        self.embedded = 0  # images embedded in this run

    def run(self) -> None:
        """Embed the images without a kept embedding, until all are done or the order is due."""
        pool = seeded_order(sorted(self.pool), self.context.settings.seed)
        # With overlap, Label Studio still serves annotated tasks: they are in both groups.
        once = dict.fromkeys([*sorted(self.labelled), *pool])
        todo = [task for task in once if task not in self.kept]
        self._report_progress(len(todo))
        for first in range(0, len(todo), CHUNK):
            self.why = self._due()
            if self.why:
                break
            some = {task: self.tasks[task] for task in todo[first : first + CHUNK]}
            for task, image in read_images(self.context, self.config, some, self.unreadable):
                self.kept.add(task, image)
                self.embedded += 1
                self._report_progress(len(todo))
            give_back_free_pages()
            if time.monotonic() > self.saved + SAVE_SECONDS:
                self.kept.save()
                self.saved = time.monotonic()
        self.kept.save()

    def _report_progress(self, todo: int) -> None:
        """Report progress over all images. `todo`: images without a kept embedding at the start."""
        total = len(self.tasks)
        done = self.embedded + len(self.unreadable)
        seconds = self.time_left.after(done, todo)
        left = {} if seconds is None else {"eta_s": seconds}
        self.report({"step": "embedded", "done": total - todo + done, "total": total, **left})

    def _due(self) -> str:
        """Why the order is due now, in words; '' if the run may continue."""
        if time.monotonic() - self.started > LONGEST_SECONDS:
            return f"the first order was due after {LONGEST_SECONDS / 60:.0f} minutes"
        events = self.context.store.pending_events()
        if any(e.kind == "train" and e.project == self.round.project for e in events):
            return "Start Training was pressed"
        if backing_off(self.context, "train"):
            return ""
        changed = changed_tasks(self.context, last_training(self.context), thorough=False).count
        wanted = self.context.settings.changes_per_round
        return f"{changed} labelled tasks changed" if changed >= wanted else ""

    def write(self) -> Result:
        """Write the round's files: embeddings, unreadable images, the rest. Returns the counts."""
        folder = self.context.round_dir(self.round)
        seen = [task for task in sorted(self.pool) if task in self.kept]
        known = [task for task in sorted(self.labelled) if task in self.kept]
        save_pool(folder / POOL_FILE, self._pool_of(seen))
        save_pool(folder / LABELLED_FILE, self._pool_of(known))
        unreadable = {task: why for task, why in self.unreadable.items() if task in self.pool}
        write_json(folder / UNREADABLE_FILE, unreadable)
        rest = sorted(self.pool.keys() - set(seen) - unreadable.keys())
        write_json(folder / REST_FILE, seeded_order(rest, self.context.settings.seed))
        rows = [of_task(task, why) for task, why in unreadable.items()]
        for task in sorted(self.unreadable.keys() - unreadable.keys()):
            logger.warning("Labelled task %s left out: %s", task, self.unreadable[task])
        return {
            "images": len(seen),
            "unreadable": len(unreadable),
            "labelled": len(self.labelled),
            "labelled_seen": len(known),
            "left_out": record(self.context, self.round, "unlabelled", rows).to_json(),
            "why": _later_in_words(len(rest), len(self.pool), self.why),
        }

    def _pool_of(self, tasks: list[int]) -> Pool:
        """The kept embeddings of tasks as a pool without detections."""
        vectors = np.zeros((len(tasks), self.embedder.width), np.float32)
        for row, task in enumerate(tasks):
            vectors[row] = self.kept[task]
        return Pool.without_detections(np.array(tasks, np.int64), vectors)


def _addresses(tasks: Tasks, config: LabelConfig) -> dict[int, str]:
    """Task -> address of its image, without the tasks whose data has no image address."""
    found = {}
    for task, data in tasks.items():
        with suppress(ImageError):
            found[task] = config.image.address(data)
    return found


def _later_in_words(later: int, total: int, why: str) -> str:
    """A sentence if images have no embedding yet; else ''."""
    if not later:
        return ""
    return f"{later} of {total} unlabelled images have random places, not looked at: {why}"


def seeded_order(tasks: list[int], seed: int) -> list[int]:
    """Task ids in seeded random order."""
    ids: IntArray = np.array(tasks, np.int64)
    return [int(task) for task in ids[np.argsort(seeded_hash(ids, seed), kind="stable")]]

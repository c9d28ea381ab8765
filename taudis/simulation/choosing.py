"""The images that a strategy chooses in a round, with the model of the round before."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from taudis.data.pool_reader import load_pool
from taudis.selection.params import Labelled
from taudis.selection.variants import embeddings_of_objects
from taudis.simulation.corrections import corrections
from taudis.simulation.model_store import Model, ModelStore
from taudis.simulation.presets import Preset
from taudis.simulation.row_format import Corrections
from taudis.simulation.split import derived_seed
from taudis.types import Pool, Selection


@dataclass(frozen=True)
class Choice:
    """The images that a strategy chose, with the other fields of its row."""

    chosen: list[int]  # image ids, best first
    selection: dict[str, Any]  # diagnostics
    corrections: Corrections  # of the chosen images
    cpu_seconds: dict[str, float]  # by part of the work
    pool: str | None  # key of the pool that was read; rows with the same pool share its CPU time

    def to_dict(self) -> dict[str, Any]:
        """The choice as JSON values."""
        return {
            "chosen": self.chosen,
            "selection": self.selection,
            "corrections": asdict(self.corrections),
            "cpu_seconds": self.cpu_seconds,
            "pool": self.pool,
        }


def selection_seed(seed: int, number: int) -> int:
    """The seed of the query strategies for a seed of the run and a round; the same for all."""
    return derived_seed("select", seed, number)


def choose_images(store: ModelStore, model: Model, preset: Preset, number: int) -> Choice:
    """The images that a strategy adds in round `number` to the labelled images of `model`.

    The pool is scored by `model`, or by the model of all training images (`Preset.chooser`).
    Raises BusyError while another process makes the model or its pool, and SelectionError for
    parameters that the strategy does not support.
    """
    chooser = store.all_labels(model.seed) if preset.chooser == "all" else model
    pool, scored = _pool(store, model, preset, chooser)
    known, scored_labelled = _labelled(store, model, preset, chooser)
    began = time.process_time()
    selection = preset.query(
        pool,
        budget=store.grid.budget,
        labelled=known,
        params=preset.params,
        seed=selection_seed(model.seed, number),
    )
    selected = time.process_time() - began
    chosen = pool.image_ids[selection.order[: selection.budget]].tolist()

    detector, began = store.detector(model), time.process_time()
    found = corrections(
        (target, detector.detect([image])[0])
        for image, target in (store.data.pairs(chosen)[row] for row in range(len(chosen)))
    )
    return Choice(
        chosen=chosen,
        selection=_described(selection, pool),
        corrections=found,
        cpu_seconds={
            "score": scored,
            "score_labelled": scored_labelled,
            "select": selected,
            "correct": time.process_time() - began,
        },
        pool=f"{chooser.key}/{preset.embedding}" if preset.reads_pool else None,
    )


def _pool(store: ModelStore, model: Model, preset: Preset, chooser: Model) -> tuple[Pool, float]:
    """The pool for the strategy, scored by `chooser`, and the CPU seconds of its scoring."""
    if not preset.reads_pool:
        ids = np.array([n for n in store.data.train_ids if n not in model.labelled], np.int64)
        blank = Pool.without_detections(ids, np.zeros((len(ids), 1), np.float32))
        return blank, 0.0
    if chooser == model:
        path, seconds = store.pool(model, preset.embedding)
        return load_pool(path), seconds
    path, seconds = store.pool(chooser, preset.embedding, labelled=True)
    return _part_of(load_pool(path), model, labelled=False), seconds


def _part_of(every: Pool, model: Model, *, labelled: bool) -> Pool:
    """The images of a pool that are labelled for a model, or those that are not."""
    inside = np.isin(every.image_ids, sorted(model.labelled))
    return every.subset(np.flatnonzero(inside == labelled))


def _labelled(
    store: ModelStore, model: Model, preset: Preset, chooser: Model
) -> tuple[Labelled, float]:
    """The facts about labelled images for the strategy, and the CPU seconds of their scoring.

    The mean number of objects is that of the seed set in every round (appendix C).
    """
    ids = store.seed_set(model.seed)
    mean = store.data.objects(ids) / len(ids)
    count = len(model.labelled)
    if not preset.query.reads_labelled:
        return Labelled(mean, images=count), 0.0
    path, seconds = store.pool(chooser, preset.embedding, labelled=True)
    known = load_pool(path)
    if chooser != model:
        known, seconds = _part_of(known, model, labelled=True), 0.0  # `_pool` counts this file
    vectors = np.asarray(known.image_embeddings, np.float32)
    objects = embeddings_of_objects(known)
    return Labelled(mean, vectors, known.image_ids, objects, count), seconds


def _described(selection: Selection, pool: Pool) -> dict[str, Any]:
    """The diagnostics of a selection, for its row."""
    images = np.unique(pool.instances.image_index[selection.candidates])
    below = int(selection.diagnostics.get("detections_below") or 0)
    return {
        "pool_images": len(pool),
        "pool_detections": len(pool.instances) - below,
        "candidates": len(selection.candidates),
        "images_with_candidates": len(images),
        **selection.diagnostics,
        "warnings": list(selection.warnings),
    }

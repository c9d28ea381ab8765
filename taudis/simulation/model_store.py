"""The models of a run on disk, each trained, evaluated and scored once for all rows that need it.

A model is identified by its training seed and its training images. So strategies that labelled the
same images share a model. Its folder has these files, each written atomically:

    training/                   states of the training while it runs
    checkpoint/                 the trained detector
    evaluation.json             its figures on the test images, for the row
    mask.safetensors            the pool of the unlabelled training images
    mask.json                   the CPU seconds of its scoring
    mask-labelled.safetensors   the pool of the labelled images, for strategies that read them

The names begin with `box` for embeddings r_n of the box branch. A file that exists is never made
again. `clear` removes the large files and keeps the evaluation.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taudis.detector.card import read_card
from taudis.detector.checkpoint import load_checkpoint, save_checkpoint
from taudis.detector.registry import TrainedDetector
from taudis.errors import TrainingStopped
from taudis.evaluation.metrics import evaluate
from taudis.files import remove_drafts, write_json
from taudis.scoring import score_to_file
from taudis.simulation.claims import Claims
from taudis.simulation.data_set import DataSet
from taudis.simulation.grid import Grid
from taudis.simulation.jobs import Job
from taudis.simulation.split import derived_seed, seed_set
from taudis.training.train import Progress, train
from taudis.training.training_state import clear_states
from taudis.types import Embedding

HEAVY = ("checkpoint", "training", "mask.safetensors", "box.safetensors",
         "mask-labelled.safetensors", "box-labelled.safetensors")  # fmt: skip
OnStep = Callable[[int, int], None]
"""Called with (steps done, all steps) while a model trains."""


class BusyError(Exception):
    """Another process is making the needed file: do other work and try again later."""


@dataclass(frozen=True)
class Model:
    """A model of a run, trained or not."""

    round: int | None  # 0 for a seed set, None for all training images
    seed: int  # seed of the run
    labelled: frozenset[int]  # image ids

    @classmethod
    def of(cls, job: Job, labelled: Iterable[int]) -> Model:
        """The model of a job's row."""
        number = {"seed_set": 0, "all": None, "round": job.round}[job.kind]
        return cls(number, job.seed, frozenset(labelled))

    @property
    def training_seed(self) -> int:
        """The seed of its training: the same for all strategies with the same seed and round."""
        return derived_seed("train", self.seed, "all" if self.round is None else self.round)

    @property
    def key(self) -> str:
        """The name of its folder."""
        text = json.dumps([self.training_seed, sorted(self.labelled)])
        return hashlib.sha256(text.encode()).hexdigest()[:20]


def no_steps(done: int, steps: int) -> None:
    """An `OnStep` that reports nothing."""


class ModelStore:
    """Makes the models of a run and keeps them in a folder."""

    def __init__(self, folder: Path, claims: Claims, grid: Grid, data: DataSet) -> None:
        self.folder, self.claims, self.grid, self.data = folder, claims, grid, data
        self.on_step: OnStep = no_steps
        self._loaded: tuple[str, TrainedDetector] | None = None

    def at(self, model: Model) -> Path:
        """The folder of a model."""
        return self.folder / model.key

    def seed_set(self, seed: int) -> list[int]:
        """The ids of the images that are labelled at the start, for all strategies of a seed."""
        return seed_set(self.data.train_ids, self.grid.seed_images, seed)

    def all_labels(self, seed: int) -> Model:
        """The model of all training images."""
        return Model(None, seed, frozenset(self.data.train_ids))

    @contextmanager
    def _claimed(self, name: str) -> Iterator[None]:
        """Hold a claim in a `with` block. Raises BusyError if another process has it."""
        if not self.claims.take(name):
            raise BusyError(name)
        try:
            yield
        finally:
            self.claims.release(name)

    def evaluation(self, model: Model) -> dict[str, Any]:
        """The figures of a model on the test images; trains and evaluates it if needed.

        Raises BusyError while another process makes it.
        """
        path = self.at(model) / "evaluation.json"
        if not path.exists():
            with self._claimed(f"model-{model.key}"):
                if not path.exists():
                    self._train(model)
                    self._evaluate(model, path)
        return _read(path)

    def detector(self, model: Model) -> TrainedDetector:
        """The model, ready for detection; trains it if needed.

        It is always read from its checkpoint, so that a resumed run gets the same results. Raises
        BusyError, and CheckpointError for a damaged checkpoint.
        """
        checkpoint = self.at(model) / "checkpoint"
        if not checkpoint.exists():
            with self._claimed(f"model-{model.key}"):
                self._train(model)
        if self._loaded is None or self._loaded[0] != model.key:
            found, _ = load_checkpoint(
                checkpoint, label_map=self.data.label_map, device=self.grid.device
            )
            self._loaded = model.key, found.fast()
        return self._loaded[1]

    def pool(
        self, model: Model, embedding: Embedding, *, labelled: bool = False
    ) -> tuple[Path, float]:
        """The pool file of the images that are unlabelled for a model, and its CPU seconds.

        labelled: of the images that it was trained on instead. Raises BusyError while another
        process makes it.
        """
        name = f"{embedding}-labelled" if labelled else embedding
        path, cost = self.at(model) / f"{name}.safetensors", self.at(model) / f"{name}.json"
        if not (path.exists() and cost.exists()):
            with self._claimed(f"pool-{model.key}-{name}"):
                if not (path.exists() and cost.exists()):
                    detector = self.detector(model)
                    self._score(model, path, cost, detector, embedding, labelled)
        return path, float(_read(cost)["cpu_seconds"])

    def clear(self, key: str) -> None:
        """Remove the large files of a model, once no row needs them any more."""
        for name in HEAVY:
            path = self.folder / key / name
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def _train(self, model: Model) -> None:
        """Train a model and write its checkpoint, unless it exists."""
        folder = self.at(model)
        if (folder / "checkpoint").exists():
            return
        folder.mkdir(parents=True, exist_ok=True)
        name, began = f"model-{model.key}", time.process_time()

        def report(progress: Progress) -> None:
            self.on_step(progress.step, progress.steps)

        try:
            detector = train(
                self.data.training_images(model.labelled),
                self.data.label_map,
                self.grid.recipe,
                seed=model.training_seed,
                weights=self.grid.weights,
                resume_dir=folder / "training",
                progress=report,
                stop=lambda: self.claims.is_lost(name),
                device=self.grid.device,
            )
        except TrainingStopped:
            raise BusyError(name) from None
        spent = time.process_time() - began
        save_checkpoint(folder / "checkpoint", detector, card={"cpu_seconds": spent})
        clear_states(folder / "training")

    def _evaluate(self, model: Model, path: Path) -> None:
        """Evaluate a trained model and write its figures."""
        detector, began = self.detector(model), time.process_time()
        metrics = evaluate(detector, self.data.test, bootstrap=1).to_dict()
        found = {
            **{name: metrics[name] for name in ("map50", "map", "per_label")},
            "test_images": metrics["images"],
            "cpu_seconds": {
                "train": read_card(self.at(model) / "checkpoint")["cpu_seconds"],
                "evaluate": time.process_time() - began,
            },
        }
        remove_drafts(path)
        write_json(path, found)

    def _score(
        self,
        model: Model,
        path: Path,
        cost: Path,
        detector: TrainedDetector,
        embedding: Embedding,
        labelled: bool,
    ) -> None:
        """Write a pool and its CPU seconds."""
        began = time.process_time()
        ids = [number for number in self.data.train_ids if (number in model.labelled) == labelled]
        images, instances = score_to_file(
            path,
            detector,
            ((number, self.data.image(number)) for number in ids),
            embedding=embedding,
            about=f"model {model.key}, {embedding} embeddings",
        )
        spent = time.process_time() - began
        remove_drafts(cost)
        write_json(cost, {"images": images, "instances": instances, "cpu_seconds": spent})


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found

"""Detections in labelled images by models that were not trained on them (cross-validation)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol, Self

from taudis.detector.checkpoint import load_checkpoint, save_checkpoint
from taudis.detector.device import device_of_this_process
from taudis.detector.registry import TrainedDetector
from taudis.evaluation.label_errors import HeldOutImage
from taudis.evaluation.matching import EvaluatedImage
from taudis.training.recipes import Recipe
from taudis.training.samples import Samples
from taudis.training.train import Progress, train
from taudis.training.training_state import clear_states
from taudis.types import LabelMap

OnStep = Callable[[int, Progress], None]
"""Called after each training step, with the number of the fold (from 0) and the progress."""


class LabelledSamples(Samples, Protocol):
    """Labelled images that can be divided into folds."""

    def subset(self, rows: Iterable[int]) -> Self:
        """The images at the given rows, in this order."""
        ...

    def identity(self) -> object:
        """A value for `json.dumps` that differs for other images or other labels."""
        ...


# long: the signature and the docstring take most of it
def held_out_images(
    samples: LabelledSamples,
    label_map: LabelMap,
    recipe: Recipe,
    folds: Sequence[Sequence[int]],
    *,
    seed: int,
    weights: str,
    folder: Path,
    weights_dir: Path | None = None,
    on_step: OnStep | None = None,
) -> Iterator[HeldOutImage]:
    """The images of all folds, each with the detections of the model that the other folds trained.

    Args:
        samples: the labelled images.
        label_map: their labels.
        recipe: of all models; they train for all its steps.
        folds: rows of `samples`; at least two folds, without common rows.
        seed: of the trainings.
        weights: the initial weights (`train`).
        folder: for the models and the states of their trainings. A second call with the same
            images, labels and settings reuses them (`name_of_model`).
        weights_dir: keeps converted initial weights (`train`).
        on_step: called after each training step.

    Raises:
        TrainingError, WeightsError, CheckpointError: as `train` and `load_checkpoint` do.
        DataError: a sample is broken.
    """
    for number, rows in enumerate(folds):
        others = [row for fold in folds if fold is not rows for row in fold]
        part = samples.subset(sorted(others))
        checkpoint = folder / name_of_model(part, label_map, recipe, seed + number, weights)
        if not checkpoint.exists():
            states = checkpoint.with_name(f"{checkpoint.name}.training")
            detector = train(
                part, label_map, dataclasses.replace(recipe, evaluate_every=0), seed=seed + number,
                weights=weights, weights_dir=weights_dir, resume_dir=states,
                progress=partial(on_step, number) if on_step else None,
            )  # fmt: skip
            save_checkpoint(checkpoint, detector, card={"held_out": len(rows), "seed": seed})
            clear_states(states)
        device = device_of_this_process()
        detector = load_checkpoint(checkpoint, label_map=label_map, device=device)[0].fast()
        for row in rows:
            yield held_out_image(detector, samples, row)


def name_of_model(
    samples: LabelledSamples, label_map: LabelMap, recipe: Recipe, seed: int, weights: str
) -> str:
    """The folder of a model: 16 hexadecimal digits, a hash of everything its training depends on.

    So a run with other folds, labels or settings never uses a model that was trained on its images.
    """
    what = [samples.identity(), label_map.names, dataclasses.asdict(recipe), seed, weights]
    text = json.dumps(what, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def held_out_image(detector: TrainedDetector, samples: Samples, row: int) -> HeldOutImage:
    """A labelled image with a detector's detections. Raises DataError for a broken sample."""
    image, target = samples[row]
    detection = detector.detect([image])[0]
    evaluated = EvaluatedImage.of(target, detection)
    return HeldOutImage(row, evaluated, detection.instances.class_probs)

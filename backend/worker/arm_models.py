"""Trains the model of one arm of the queue, for the comparison with the other arm's model."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from backend.images.decode import Pixels
from backend.worker.common import Report
from backend.worker.context import RoundContext, remove
from backend.worker.dataset import AnnotatedSamples
from backend.worker.train import recipe_of
from taudis.detector.card import read_card
from taudis.detector.checkpoint import load_checkpoint, save_checkpoint
from taudis.detector.device import device_of_this_process
from taudis.detector.registry import TrainedDetector
from taudis.errors import CheckpointError
from taudis.training.recipes import Recipe
from taudis.training.train import Progress
from taudis.training.train import train as train_detector
from taudis.types import IntArray, Target

logger = logging.getLogger(__name__)


class Part:
    """A subset of the labelled images as training samples."""

    def __init__(self, samples: AnnotatedSamples, tasks: Sequence[int]) -> None:
        wanted = set(tasks)
        self._samples = samples
        self._rows = [row for row, task in enumerate(samples.task_ids) if task in wanted]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[Pixels, Target]:
        """The image, RGB uint8 [H,W,3], and its target. Raises IndexError beyond the last."""
        return self._samples[self._rows[index]]

    def identity(self) -> object:
        """A value that differs for other tasks or annotations."""
        return [self._samples.identity(), self._rows]

    def labels_at(self, index: int) -> IntArray:
        """The labels [n] of an image's instances."""
        return self._samples.labels_at(self._rows[index])


def recipe_for(context: RoundContext, samples: AnnotatedSamples, images: int) -> Recipe:
    """The recipe for both arms, chosen from the statistics of all compared images.

    `images`: the number of training images of each arm's model.
    """
    return recipe_of(context.settings, replace(samples.statistics, images=images))


# long: the arguments of the training, one a line.
def arm_model(
    context: RoundContext,
    folder: Path,
    samples: AnnotatedSamples,
    tasks: Sequence[int],
    recipe: Recipe,
    *,
    stop: Callable[[], bool],
    report: Report,
    before: int = 0,
) -> TrainedDetector:
    """The model of an arm, with the detector settings of serving. Trains it unless `folder` has it.

    Training starts from the initial weights and runs to the last step of the recipe. No validation
    image chooses the step, because the choice could favour one arm by chance.

    Args:
        context: the project's context.
        folder: the checkpoint's folder; the training state is saved beside it.
        samples: labelled images.
        tasks: ids of the samples to train on.
        recipe: the same for both arms.
        stop: returns True when the training must stop now and resume later.
        report: receives the progress over both trainings.
        before: number of arm models that are already trained.

    Raises:
        TrainingStopped: `stop` returned True. The next call resumes the training.
        TrainingError: the training diverged, or memory is short.
    """
    settings, labels = context.settings, samples.config.label_map
    made: dict[str, Any] = {
        "recipe": asdict(recipe),
        "tasks": sorted(tasks),
        "seed": settings.seed,
        "initial_weights": settings.weights,
    }
    state = folder.with_name(f"{folder.name}-training")

    def tell(progress: Progress) -> None:
        known = {
            "step": "compared",
            "done": before * progress.steps + progress.step,
            "total": 2 * progress.steps,
        }
        if progress.eta_s is not None:
            left = progress.eta_s / max(1, progress.steps - progress.step) * progress.steps
            known["eta_s"] = progress.eta_s + (1 - before) * left
        report(known)

    if not _is_there(folder, made):
        remove(folder)
        detector = train_detector(
            Part(samples, tasks),
            labels,
            recipe,
            seed=settings.seed,
            weights=settings.weights,
            weights_dir=context.imagenet_dir,
            resume_dir=state,
            progress=tell,
            stop=stop,
        )
        save_checkpoint(folder, detector, card=made)
        remove(state)
    device = device_of_this_process()
    return load_checkpoint(folder, label_map=labels, device=device)[0].fast()


def _is_there(folder: Path, made: dict[str, Any]) -> bool:
    """Whether an arm's checkpoint exists, is complete, and was made from the inputs `made`."""
    if not folder.exists():
        return False
    try:
        card = read_card(folder)
    except CheckpointError as error:
        logger.warning("Training an arm again: %s", error)
        return False
    return all(card.get(key) == value for key, value in json.loads(json.dumps(made)).items())

"""Trains a detector (appendix C). A training can be killed and resumed with the same result.

A step depends only on the seed, the number of the step and the weights. So on a CPU, a resumed
training ends with exactly the same weights as an uninterrupted one.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN

from taudis.detector.checkpoint import model_of_checkpoint
from taudis.detector.device import device_of_this_process
from taudis.detector.gradients import fast_gradients
from taudis.detector.mask_rcnn import has_bf16
from taudis.detector.memory import is_out_of_memory
from taudis.detector.registry import TrainedDetector, architecture_of, build_model
from taudis.errors import TrainingError, TrainingStopped
from taudis.files import SUMS, sha256_of
from taudis.time_left import TimeLeft
from taudis.training.recipes import Recipe
from taudis.training.samples import Loader, Samples, Stream, identity_of_samples
from taudis.training.training_state import TrainingState, identity_of, load_state, save_state
from taudis.types import LabelMap

__all__ = ["Evaluation", "Progress", "Recipe", "Samples", "train", "uses_bf16"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """The progress of a training, reported after each step."""

    step: int  # steps done
    steps: int  # all steps
    loss: float  # of the last step
    images_per_s: float  # since this process started or resumed the training
    eta_s: float | None  # estimated remaining seconds, by the last minute; None in the first step
    waiting: float = 0.0  # share of the time in which steps waited for examples, 0..1
    best: float | None = None  # best evaluation on the validation split so far


def uses_bf16(precision: str, device: str) -> bool:
    """Whether training uses bfloat16: if requested, or for 'auto' if the hardware has it."""
    if precision != "auto":
        return precision == "bf16"
    return has_bf16(device)


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimiser, with a group for the backbone's parameters and a group for the others.

    The "scale" of a group is its learning rate / that of the recipe.
    """
    prefix = architecture_of(recipe.model).backbone_prefix
    named = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
    inside = [value for name, value in named if name.startswith(prefix)]
    outside = [value for name, value in named if not name.startswith(prefix)]
    groups: list[dict[str, Any]] = [
        {"params": outside, "scale": 1.0},
        {"params": inside, "scale": recipe.backbone_lr},
    ]
    groups = [group for group in groups if group["params"]]  # the whole backbone may be frozen
    lr, decay = recipe.lr, recipe.weight_decay
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=lr, weight_decay=decay, fused=True)
    return torch.optim.SGD(groups, lr=lr, momentum=recipe.momentum, weight_decay=decay)


def _freeze(model: nn.Module, recipe: Recipe) -> None:
    """Exclude the backbone's finest stages, `recipe.frozen_stages` of them, from training."""
    if not recipe.frozen_stages:
        return
    if not isinstance(model, MaskRCNN):
        raise TrainingError(
            f"Recipe {recipe.name}: frozen_stages are those of a Mask R-CNN. Set them to 0."
        )
    body = model.backbone.body
    ends = list(body.return_layers)
    for name, child in body.named_children():
        child.requires_grad_(False)
        if name == ends[recipe.frozen_stages - 1]:
            return


class _Trainer:
    """The model and its optimiser; `step` does one optimisation step."""

    def __init__(self, detector: TrainedDetector, recipe: Recipe, seed: int) -> None:
        self.detector, self.recipe, self.seed = detector, recipe, seed
        self.bf16 = uses_bf16(recipe.precision, detector.device)
        self.model: nn.Module = detector.model.to(memory_format=torch.channels_last)
        _freeze(self.model, recipe)
        self.optimizer = _optimizer(self.model, recipe)

    def step(self, loader: Loader, state: TrainingState) -> float:
        """One optimisation step; returns the loss. Raises TrainingError if it diverged."""
        device = self.detector.device
        images, targets = loader.batch(state.seen, state.batch)
        torch.manual_seed(int(np.random.default_rng([self.seed, state.step, 2]).integers(2**62)))
        for group in self.optimizer.param_groups:
            group["lr"] = group["scale"] * self.recipe.lr_at(state.step)
        self.model.train()
        is_known = device == "cpu" and isinstance(self.model, MaskRCNN)
        forms = fast_gradients(self.model) if is_known else nullcontext()
        with forms, torch.autocast(device.split(":")[0], torch.bfloat16, enabled=self.bf16):
            losses = self.model(
                [self._on_device(image) for image in images],
                [{name: self._on_device(value) for name, value in t.items()} for t in targets],
            )
        loss: Tensor = torch.stack([value.float() for value in losses.values()]).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            raise TrainingError(
                f"Training diverged: loss {loss.item()}, gradient norm {norm.item()} at step"
                f" {state.step + 1} of {self.recipe.steps}. Lower the learning rate (now"
                f" {self.recipe.lr}) or check the labels."
            )
        self.optimizer.step()
        return float(loss.item())

    def _on_device(self, tensor: Tensor) -> Tensor:
        """The tensor on the training device; a GPU copies it while it computes."""
        if not self.detector.device.startswith("cuda"):
            return tensor
        return tensor.pin_memory().to(self.detector.device, non_blocking=True)

    def step_or_halve(self, loader: Loader, state: TrainingState) -> tuple[float, int]:
        """A step, with half the batch if memory is short. Returns (loss, batch size used)."""
        while True:
            try:
                return self.step(loader, state), state.batch
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                if state.batch == 1:
                    raise TrainingError(
                        "Training needs more memory than there is, even one image at a time. Use"
                        " a smaller crop or model, or a machine with more memory."
                    ) from error
            # Outside of the handler, so that the tensors of the failed step are freed first.
            self.optimizer.zero_grad(set_to_none=True)
            state = replace(state, batch=state.batch // 2)
            logger.warning("Out of memory: the batch is now %d.", state.batch)


def _check(samples: Samples, recipe: Recipe, seed: int) -> None:
    if len(samples) == 0:
        raise TrainingError("Training needs at least one labelled image, got none.")
    if recipe.steps < 1 or recipe.batch < 1:
        raise TrainingError(f"Recipe {recipe.name}: expected steps and batch of 1 or more.")
    if seed < 0:
        raise TrainingError(f"seed: expected 0 or more, got {seed}.")


Evaluation = Callable[[TrainedDetector], float]
"""A detector's figure on the validation split; higher is better, NaN without validation images."""


# long: the signature and the docstring take half of it
def train(
    samples: Samples,
    label_map: LabelMap,
    recipe: Recipe,
    *,
    seed: int,
    weights: str = "none",
    weights_dir: Path | None = None,
    start: Path | None = None,
    resume_dir: Path | None = None,
    batch: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    evaluate: Evaluation | None = None,
    device: str | None = None,
) -> TrainedDetector:
    """Train a detector on labelled images; images without instances are true negatives.

    start: a checkpoint whose model is trained further, with its label predictors, instead of
    initial weights.
    resume_dir: the state is saved there every `checkpoint_every` steps. A run with the same seed,
    recipe, weights and samples, label for label, continues from it. The state remains after the
    training, in case the process dies before it saves the detector; `clear_states` removes it.
    batch: most images per step, for little memory; also applies to a resumed run.
    progress: called after each step. stop: if it returns True, the state is saved and
    TrainingStopped is raised.
    evaluate: with `recipe.evaluate_every`, evaluates the detector from the middle of the training
    on. Training ends early after `patience` evaluations without a better figure. The best detector
    is returned.
    device: None is a GPU if there is one.

    Raises TrainingError without samples, for a loss or weights that are not finite, or if memory is
    short with batch 1; DataError for a broken sample; WeightsError for initial weights;
    CheckpointError for a `start` that is damaged or has another architecture or other labels.
    """
    _check(samples, recipe, seed)
    if batch is not None and batch < 1:
        raise TrainingError(f"batch: expected 1 or more, got {batch}.")
    device = device or device_of_this_process()
    if start is None:
        model = build_model(
            recipe.model, len(label_map), seed=seed, weights=weights, weights_dir=weights_dir
        ).to(device)
    else:
        weights = f"{start.name}:{sha256_of(start / SUMS)}"
        model = model_of_checkpoint(start, recipe.model, label_map).to(device)
    made = architecture_of(recipe.model)
    detector = made.detector(model, recipe.model, label_map, device)
    gpu = device.startswith("cuda")
    stream = Stream(samples, recipe, len(label_map), seed)
    with (
        torch.random.fork_rng(devices=[torch.device(device).index or 0] if gpu else []),
        Loader(stream, last=recipe.steps * recipe.batch, workers=4 if gpu else 1) as loader,
    ):
        what = identity_of_samples(samples) if resume_dir is not None else None
        identity = identity_of(recipe, label_map, seed, _content_of(weights), what)
        run = _Run(_Trainer(detector, recipe, seed), loader, identity, resume_dir, evaluate)
        run.resume()
        run.limit(recipe.batch if batch is None else batch)
        run.finish(progress, stop)
    model.eval()
    return detector


def _content_of(weights: str) -> str:
    """The name of initial weights; of a file or a checkpoint folder with its hash."""
    path = Path(weights)
    if path.is_dir() and (path / SUMS).is_file():
        path = path / SUMS
    return f"{weights}:{sha256_of(path)}" if path.is_file() else weights


def _check_finite(model: nn.Module) -> None:
    """Raise TrainingError if a weight is not finite; the last step can cause it unnoticed."""
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise TrainingError(
                f"Training diverged: {name} holds numbers that are not finite. Lower the learning"
                " rate or check the labels."
            )


class _Run:
    """A training, from its start or its last saved state to its end."""

    def __init__(
        self,
        trainer: _Trainer,
        loader: Loader,
        identity: str,
        resume_dir: Path | None,
        evaluate: Evaluation | None,
    ) -> None:
        self.trainer, self.loader, self.recipe = trainer, loader, trainer.recipe
        self.identity, self.resume_dir, self.evaluate = identity, resume_dir, evaluate
        self.state = TrainingState(step=0, seen=0, batch=self.recipe.batch)
        self.best_weights: dict[str, Tensor] = {}

    def resume(self) -> None:
        """Continue from the last saved state of this training, if there is one."""
        if self.resume_dir is not None:
            model, optimizer = self.trainer.model, self.trainer.optimizer
            found = load_state(self.resume_dir, self.identity, model, optimizer)
            if found is not None:
                self.state, self.best_weights = found

    def limit(self, batch: int) -> None:
        """Use at most `batch` images per step."""
        self.state = replace(self.state, batch=min(self.state.batch, batch))

    def keep(self) -> None:
        """Save the state, if a folder for it was given."""
        if self.resume_dir is not None:
            model, optimizer = self.trainer.model, self.trainer.optimizer
            save_state(
                self.resume_dir, self.identity, self.state, model, optimizer, self.best_weights
            )

    def finish(
        self, progress: Callable[[Progress], None] | None, stop: Callable[[], bool] | None
    ) -> None:
        """Do the remaining steps, up to the recipe's last step or to an early end."""
        recipe, started, images = self.recipe, time.monotonic(), 0
        time_left = TimeLeft(self.state.step)
        while self.state.step < recipe.steps and not self._over():
            if stop is not None and stop():
                self.keep()
                raise TrainingStopped(
                    f"Stopped on request after step {self.state.step} of {recipe.steps}."
                )
            loss, batch = self.trainer.step_or_halve(self.loader, self.state)
            step = self.state.step + 1
            self.state = replace(self.state, step=step, seen=self.state.seen + batch, batch=batch)
            images += batch
            self._evaluate()
            if progress is not None:
                spent = max(time.monotonic() - started, 1e-9)
                left = time_left.after(step, recipe.steps)
                waiting = self.loader.waited / spent
                progress(
                    Progress(
                        step, recipe.steps, loss, images / spent, left, waiting, self.state.best
                    )
                )
            if step % recipe.checkpoint_every == 0 and step < recipe.steps:
                self.keep()
        if self.best_weights and self.state.best_step != self.state.step:
            logger.info("The weights after step %d were the best.", self.state.best_step)
            self.trainer.model.load_state_dict(self.best_weights)
        _check_finite(self.trainer.model)

    def _evaluate(self) -> None:
        """Evaluate the detector if this step is due, and keep the best weights."""
        every, step = self.recipe.evaluate_every, self.state.step
        due = every and (step % every == 0 or step == self.recipe.steps)
        if self.evaluate is None or not due or 2 * step < self.recipe.steps:
            return
        score = self.evaluate(self.trainer.detector)
        if math.isfinite(score) and (self.state.best is None or score > self.state.best):
            self.state = replace(self.state, best=score, best_step=step)
            weights = self.trainer.model.state_dict()
            self.best_weights = {name: value.detach().clone() for name, value in weights.items()}

    def _over(self) -> bool:
        """Whether training ends early, after no better evaluation within the recipe's patience."""
        recipe, state = self.recipe, self.state
        if not recipe.evaluate_every or state.best is None:
            return False
        return state.step - state.best_step >= recipe.patience * recipe.evaluate_every

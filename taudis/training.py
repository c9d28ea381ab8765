"""Appendix C: the training recipe, resumable and reproducible.

A step is a function of (seed, step, weights): examples and torch's generator are keyed by seed and
step, so that a resumed run equals an uninterrupted one bit for bit on the CPU.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from taudis.augment import example, prepare
from taudis.errors import TrainingError, TrainingStopped
from taudis.instances import LabelMap, Target
from taudis.mask_rcnn import Detector, Image, ModelConfig, build_model
from taudis.memory import is_out_of_memory
from taudis.training_state import TrainingState, identity_of, load_state, save_state

logger = logging.getLogger(__name__)

CACHE_BYTES = 512 * 2**20
"""Decoded and resized samples kept in memory, so that an epoch does not decode again."""


WHOLE_SIZE = 192
"""Longer side, px, at which whole images are still learnt from in minutes on a CPU."""


class Samples(Protocol):
    """Labelled images: anything with a length and (image, target) pairs."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Image, Target]: ...


@dataclass(frozen=True)
class Recipe:
    """How a model is trained; one line each with its reason."""

    name: str
    steps: int
    model: ModelConfig = field(default_factory=ModelConfig.small)
    optimizer: Literal["adamw", "sgd"] = "adamw"  # from scratch, far ahead of SGD in few steps
    lr: float = 1e-3
    momentum: float = 0.9  # sgd
    weight_decay: float = 0.05
    batch: int = 4
    crop: int | None = 128  # px at the working size; None trains on whole images
    turns: bool = True  # quarter turns and flips: right for overhead pictures, not for street views
    warmup: int = 50  # steps of a linearly growing rate: from scratch, a full rate diverges
    schedule: Literal["cosine", "steps"] = "cosine"
    milestones: tuple[int, ...] = ()  # "steps": the rate is divided by 10 at each
    clip: float = 5.0  # gradient norm
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # auto: bf16 where the hardware has it
    checkpoint_every: int = 100  # steps a killed worker repeats at most

    @classmethod
    def cpu(cls, labelled: int | None = None) -> Recipe:
        """The measured recipe for two shared cores; steps grow with the labelled images.

        5 steps a labelled image at first, half a step from 52 on, 900 at most: 12 images train in
        about 35 s of one core, 72 in about 115 s.
        """
        count = 60 if labelled is None else labelled
        return cls(name="cpu", steps=max(1, min(40 + 5 * count, 274 + count // 2, 900)))

    def for_objects(self, share: float, side: float) -> Recipe:
        """Whole images, at WHOLE_SIZE px at most, where a crop would cut typical objects.

        Args:
            share: longer side of an object over that of its image, for the label whose typical
                (median) object is largest; 0..1.
            side: longer side of a typical image, px.

        On facades (512 px; a "facade" fills the image), 60 labelled images, 400 steps: crops
        of 128 px at full size reached 0.001 mAP50, whole images at 192 px 0.108 (one seed).
        """
        if self.crop is None or share * min(side, self.model.max_size) <= self.crop:
            return self
        model = replace(self.model, max_size=min(self.model.max_size, WHOLE_SIZE))
        return replace(self, crop=None, model=model)

    @classmethod
    def paper(cls) -> Recipe:
        """Appendix C for COCO: a GPU machine and COCO-like images."""
        return cls(
            name="paper",
            steps=25_000,
            model=ModelConfig.standard(),
            optimizer="sgd",
            lr=0.12,
            momentum=0.997,
            weight_decay=1e-4,
            batch=128,
            crop=None,
            turns=False,
            warmup=500,
            schedule="steps",
            milestones=(15_000, 20_000),
            checkpoint_every=500,
        )

    def lr_at(self, step: int) -> float:
        """The learning rate of a step (0-based)."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        if self.schedule == "steps":
            return self.lr * 0.1 ** sum(step >= at for at in self.milestones)
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.lr * 0.5 * (1 + math.cos(math.pi * done))


@dataclass(frozen=True)
class Progress:
    """Where a training run stands, after each step."""

    step: int  # steps done
    steps: int
    loss: float  # of the last step
    images_per_s: float  # of this process, since it started or resumed
    eta_s: float


def uses_bf16(precision: str, device: str) -> bool:
    """Whether training runs in bfloat16: asked for, or native to this CPU or GPU."""
    if precision != "auto":
        return precision == "bf16"
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported())
    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))


class _Prepared:
    """Samples checked, without crowds, at the working size; kept while memory allows."""

    def __init__(self, samples: Samples, config: ModelConfig, labels: int) -> None:
        self.samples, self.config, self.labels = samples, config, labels
        self.cache: dict[int, tuple[Image, Target]] = {}
        self.free = CACHE_BYTES

    def __getitem__(self, index: int) -> tuple[Image, Target]:
        if index in self.cache:
            return self.cache[index]
        pair = prepare(*self.samples[index], self.config, self.labels)
        cost = pair[0].nbytes + pair[1].masks.nbytes
        if cost <= self.free:
            self.cache[index] = pair
            self.free -= cost
        return pair

    def batch(
        self, recipe: Recipe, state: TrainingState, seed: int
    ) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
        """The examples of a step: a stream of shuffled epochs, keyed by seed and place."""
        count, images, targets = len(self.samples), [], []
        for place in range(state.seen, state.seen + state.batch):
            order = np.random.default_rng([seed, place // count, 0]).permutation(count)
            rng = np.random.default_rng([seed, place, 1])
            image, target = self[int(order[place % count])]
            pixels, truth = example(image, target, crop=recipe.crop, turns=recipe.turns, rng=rng)
            images.append(pixels)
            targets.append(truth)
        return images, targets


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    parameters = [value for value in model.parameters() if value.requires_grad]
    lr, decay = recipe.lr, recipe.weight_decay
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=lr, weight_decay=decay, fused=True)
    return torch.optim.SGD(parameters, lr=lr, momentum=recipe.momentum, weight_decay=decay)


class _Trainer:
    """Model, optimiser and where they stand; one method a step."""

    def __init__(self, detector: Detector, recipe: Recipe, seed: int) -> None:
        self.detector, self.recipe, self.seed = detector, recipe, seed
        self.bf16 = uses_bf16(recipe.precision, detector.device)
        self.model: nn.Module = detector.model.to(memory_format=torch.channels_last)
        self.optimizer = _optimizer(self.model, recipe)

    def step(self, prepared: _Prepared, state: TrainingState) -> float:
        """One optimisation step; returns the loss. Raises TrainingError when it diverged."""
        device = self.detector.device
        torch.manual_seed(int(np.random.default_rng([self.seed, state.step, 2]).integers(2**62)))
        images, targets = prepared.batch(self.recipe, state, self.seed)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.lr_at(state.step)
        self.model.train()
        with torch.autocast(device.split(":")[0], torch.bfloat16, enabled=self.bf16):
            losses = self.model(
                [image.to(device) for image in images],
                [{name: value.to(device) for name, value in t.items()} for t in targets],
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

    def step_or_halve(self, prepared: _Prepared, state: TrainingState) -> tuple[float, int]:
        """A step, with half the batch where memory is short; returns (loss, batch used)."""
        while True:
            try:
                return self.step(prepared, state), state.batch
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                if state.batch == 1:
                    raise TrainingError(
                        "Training needs more memory than there is, even one image at a time. Use"
                        " a smaller crop or model, or a machine with more memory."
                    ) from error
            # outside the handler, so that the failed step's tensors are freed first
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


def train(
    samples: Samples,
    label_map: LabelMap,
    recipe: Recipe,
    *,
    seed: int,
    weights: str = "none",
    resume_dir: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    device: str | None = None,
) -> Detector:
    """Train a detector on labelled images; images without instances are true negatives.

    With `resume_dir`, the state is kept there every `checkpoint_every` steps and a run of the same
    seed, recipe, labels, weights and sample count goes on from it. It stays when training ends, so
    that a run killed before its detector was saved need not start anew: `clear_states` removes it.
    `progress` is called after each step. When `stop` answers True the state is kept and
    TrainingStopped is raised. `device`: None takes a GPU where there is one.

    Raises TrainingError without samples, on a loss that is not finite, or when memory is short at
    batch 1; DataError for a broken sample; WeightsError for initial weights.
    """
    _check(samples, recipe, seed)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    model = build_model(recipe.model, len(label_map), seed=seed, weights=weights).to(device)
    detector = Detector(model, recipe.model, label_map, device)
    gpus = [torch.device(device).index or 0] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices=gpus):
        trainer = _Trainer(detector, recipe, seed)
        state = TrainingState(step=0, seen=0, batch=recipe.batch)
        identity = identity_of(recipe, label_map, seed, weights, len(samples))
        if resume_dir is not None:
            state = load_state(resume_dir, identity, model, trainer.optimizer) or state
        _run(trainer, _Prepared(samples, recipe.model, len(label_map)), state, identity,
             resume_dir, progress, stop)  # fmt: skip
    model.eval()
    return detector


def _run(
    trainer: _Trainer,
    prepared: _Prepared,
    state: TrainingState,
    identity: str,
    resume_dir: Path | None,
    progress: Callable[[Progress], None] | None,
    stop: Callable[[], bool] | None,
) -> None:
    """The steps that are left, from `state` to the recipe's last."""
    recipe, started, first, images = trainer.recipe, time.monotonic(), state.step, 0
    while state.step < recipe.steps:
        if stop is not None and stop():
            if resume_dir is not None:
                save_state(resume_dir, identity, state, trainer.model, trainer.optimizer)
            raise TrainingStopped(f"Stopped on request after step {state.step} of {recipe.steps}.")
        loss, batch = trainer.step_or_halve(prepared, state)
        state = TrainingState(state.step + 1, state.seen + batch, batch)
        images += batch
        if progress is not None:
            spent = max(time.monotonic() - started, 1e-9)
            eta = spent / (state.step - first) * (recipe.steps - state.step)
            progress(Progress(state.step, recipe.steps, loss, images / spent, eta))
        due = state.step % recipe.checkpoint_every == 0 and state.step < recipe.steps
        if resume_dir is not None and due:
            save_state(resume_dir, identity, state, trainer.model, trainer.optimizer)

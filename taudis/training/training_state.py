"""Saves and loads the state of a running training: weights, optimiser, number of steps done.

Each state is a sealed folder (`taudis.files`), so a truncated or changed file is detected. An older
state is removed after the newer one is complete. If no state can be used, a warning is logged and
the training starts from the beginning.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from taudis.errors import CheckpointError
from taudis.files import verify_sealed, write_sealed
from taudis.types import LabelMap

if TYPE_CHECKING:
    from taudis.training.recipes import Recipe

logger = logging.getLogger(__name__)

PREFIX, TENSORS, CARD = "state-", "state.safetensors", "state.json"


@dataclasses.dataclass(frozen=True)
class TrainingState:
    """The progress of a training, from which a resumed run continues."""

    step: int  # steps done
    seen: int  # examples used
    batch: int  # smaller than the recipe's if memory was short
    best: float | None = None  # best evaluation on the validation split
    best_step: int = 0  # steps done at the best evaluation


def identity_of(
    recipe: Recipe, label_map: LabelMap, seed: int, weights: str, samples: object
) -> str:
    """A hash of everything that determines a training; a run continues only with an equal hash.

    samples: a value for `json.dumps` that differs for other images or labels.
    """
    everything = [dataclasses.asdict(recipe), label_map.names, seed, weights, samples]
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()


def _tensors(
    model: nn.Module, optimizer: torch.optim.Optimizer, best: dict[str, Tensor]
) -> dict[str, Tensor]:
    found = {f"model.{name}": value for name, value in model.state_dict().items()}
    found |= {f"best.{name}": value for name, value in best.items()}
    for index, parameter in enumerate(_parameters(optimizer)):
        for name, value in optimizer.state[parameter].items():
            if value is not None:  # None for SGD without momentum
                found[f"optimizer.{index}.{name}"] = value
    return {name: value.detach().cpu().contiguous() for name, value in found.items()}


def save_state(
    resume_dir: Path,
    identity: str,
    state: TrainingState,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    best: dict[str, Tensor],
) -> None:
    """Write the state to a new folder in `resume_dir`, then remove older states.

    best: the weights of the best evaluation so far, {} before the first evaluation.
    """

    def write(folder: Path) -> None:
        save_file(_tensors(model, optimizer, best), folder / TENSORS)
        card = {"identity": identity, **dataclasses.asdict(state)}
        (folder / CARD).write_text(json.dumps(card), encoding="utf-8")

    folder = resume_dir / f"{PREFIX}{state.step:09d}"
    write_sealed(folder, write)
    for other in resume_dir.glob(f"*{PREFIX}*"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)


def load_state(
    resume_dir: Path, identity: str, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[TrainingState, dict[str, Tensor]] | None:
    """Restore model and optimiser from `resume_dir`; None without a usable state.

    Returns the state and the weights of the best evaluation. A state of another run, or a damaged
    one, is not used; a warning is logged.
    """
    for folder in sorted(resume_dir.glob(f"{PREFIX}*"), reverse=True):
        try:
            verify_sealed(folder, (CARD, TENSORS))
        except CheckpointError as error:
            logger.warning("Training state not used: %s", error)
            continue
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        if card.pop("identity") == identity:
            return _restore(folder, TrainingState(**card), model, optimizer)
        logger.warning("Training state not used: %s belongs to another run.", folder)
    return None


def _restore(
    folder: Path, state: TrainingState, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[TrainingState, dict[str, Tensor]]:
    tensors = load_file(folder / TENSORS)
    model.load_state_dict(_under("model.", tensors))
    parameters = _parameters(optimizer)
    for key, value in tensors.items():
        part, _, rest = key.partition(".")
        if part == "optimizer":
            index, _, name = rest.partition(".")
            parameter = parameters[int(index)]
            same = value.shape == parameter.shape  # else it is Adam's step count, kept on the CPU
            kept = torch.empty_like(parameter).copy_(value) if same else value
            optimizer.state[parameter][name] = kept
    logger.info("Training goes on from step %d.", state.step)
    return state, _under("best.", tensors)


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """The parameters of all groups, in their order."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def clear_states(resume_dir: Path) -> None:
    """Remove the states of a finished training, if there are any."""
    if not resume_dir.is_dir():
        return
    for folder in resume_dir.glob(f"*{PREFIX}*"):
        shutil.rmtree(folder, ignore_errors=True)

"""Checkpoints: a folder with safetensors weights, a JSON card and SHA-256 sums.

A checkpoint is written atomically, and every byte is verified before use. (`torch.load` does not
detect changed bytes, and its files can run code.)
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from taudis.detector.card import (
    CARD_FILE,
    FORMAT,
    WEIGHTS_FILE,
    card_text,
    code_version,
    read_card,
)
from taudis.detector.mask2former import Mask2Former, with_queries_of
from taudis.detector.mask2former_config import Mask2FormerConfig
from taudis.detector.memory import is_out_of_memory
from taudis.detector.registry import (
    Config,
    TrainedDetector,
    architecture_of,
    fitting,
    read_config,
)
from taudis.errors import CheckpointError, DataError, PackageError
from taudis.files import write_sealed
from taudis.types import LabelMap


def save_checkpoint(folder: Path, detector: TrainedDetector, *, card: dict[str, Any]) -> None:
    """Write the detector to `folder` and replace an existing checkpoint there.

    card: any JSON values, such as recipe, metrics and parent. Labels, model configuration and
    versions are added to it. Raises OSError if it cannot be written, and CheckpointError for a card
    with other values than JSON's.
    """
    full = {
        **card,
        "format": FORMAT,
        "labels": list(detector.label_map.names),
        "model": dataclasses.asdict(detector.config),
        "code_version": code_version(),
        "torch_version": str(torch.__version__),
    }
    text = card_text(full)
    state = {name: v.detach().cpu().contiguous() for name, v in detector.model.state_dict().items()}

    def write(draft: Path) -> None:
        save_file(state, draft / WEIGHTS_FILE)
        (draft / CARD_FILE).write_text(text, encoding="utf-8")

    write_sealed(folder, write)


def check_start(folder: Path, config: Config, label_map: LabelMap) -> Config:
    """Check that the training of a model of `config` can continue from the checkpoint in `folder`.

    Labels and architecture must be those of its card. Only the number of queries of a Mask2Former
    may differ: all queries of the checkpoint are kept, and missing ones start untrained. Returns
    the configuration to train: `config`, with at least as many queries as the checkpoint.

    Raises CheckpointError for a damaged checkpoint, other labels or another architecture.
    """
    card = read_card(folder)
    _check_labels(folder, card, label_map)
    made, wanted_one = _config_of(folder, card), architecture_of(config)
    if architecture_of(made) is not wanted_one:
        raise CheckpointError(
            f"{folder / CARD_FILE}: another architecture: expected a {wanted_one.name}, got a"
            f" {architecture_of(made).name}."
        )
    goal = config
    if isinstance(config, Mask2FormerConfig) and isinstance(made, Mask2FormerConfig):
        goal = config.goes_on_from(made)
        made = made.goes_on_from(goal)  # so that the number of queries is not compared below
    for name in wanted_one.fields:
        was, wanted = getattr(made, name), getattr(goal, name)
        if was != wanted:
            raise CheckpointError(
                f"{folder / CARD_FILE}: another architecture: expected a model of {name} {wanted},"
                f" got {was}."
            )
    return goal


def model_of_checkpoint(folder: Path, config: Config, label_map: LabelMap) -> nn.Module:
    """The model in `folder` with the thresholds of `config`, to continue its training.

    Raises the errors of `check_start`, and CheckpointError for a `config` with fewer queries than
    the checkpoint.
    """
    goal, labels = check_start(folder, config, label_map), len(label_map)
    if goal != config:
        raise CheckpointError(
            f"{folder / CARD_FILE}: expected a model of at least the checkpoint's queries, got"
            " fewer. Train the configuration that `check_start` returns."
        )
    if not isinstance(config, Mask2FormerConfig):
        return _with_weights(folder, config, labels)
    made = _config_of(folder, read_card(folder))
    own = dataclasses.replace(config, network=fitting(made, Mask2FormerConfig).network)
    model = cast(Mask2Former, _with_weights(folder, own, labels))
    return with_queries_of(model, config, labels)


def _check_labels(folder: Path, card: dict[str, Any], label_map: LabelMap) -> None:
    """Raise CheckpointError unless the card is of a model for these labels, in this order."""
    if tuple(card["labels"]) != label_map.names:
        raise CheckpointError(
            f"{folder / CARD_FILE}: expected a model for the labels {list(label_map.names)}, got"
            f" one for {card['labels']}. Train a model for the new labels."
        )


def _config_of(folder: Path, card: dict[str, Any]) -> Config:
    try:
        return read_config(card["model"])
    except DataError as error:
        raise CheckpointError(f"{folder / WEIGHTS_FILE}: does not fit the card: {error}") from error


def _with_weights(folder: Path, config: Config, labels: int) -> nn.Module:
    """A model of `config` with the weights in `folder`, on the CPU."""
    try:
        return architecture_of(config).restore(config, labels, load_file(folder / WEIGHTS_FILE))
    except PackageError as error:
        raise CheckpointError(f"{folder}: {error}") from error
    except (DataError, RuntimeError) as error:
        if is_out_of_memory(error):  # the file itself may be good
            raise
        raise CheckpointError(f"{folder / WEIGHTS_FILE}: does not fit the card: {error}") from error


def load_checkpoint(
    folder: Path, *, label_map: LabelMap | None = None, device: str = "cpu"
) -> tuple[TrainedDetector, dict[str, Any]]:
    """The detector in `folder` and its card, after every byte is verified.

    label_map: the expected labels, names and order; None: any. Raises CheckpointError with the name
    of the file if it is missing, truncated, changed, or made for other labels.
    """
    card = read_card(folder)
    labels = LabelMap(tuple(card["labels"]))
    if label_map is not None:
        _check_labels(folder, card, label_map)
    config = _config_of(folder, card)
    model = _with_weights(folder, config, len(labels))
    model = model.to(device).eval()
    return architecture_of(config).detector(model, config, labels, device), card

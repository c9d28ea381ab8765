"""Checkpoints: a folder of safetensors weights, a JSON card and SHA-256 sums, written at once.

Every byte is verified before a checkpoint is used. (`torch.load` does not detect changed bytes, and
a file for it can run code.)
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import nn

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
from taudis.detector.weights import CARD_FILE, WEIGHTS_FILE
from taudis.errors import CheckpointError, DataError, PackageError
from taudis.files import verify_sealed, write_sealed
from taudis.types import LabelMap

FORMAT = 1
"""Version of the card's layout."""
OURS = ("format", "labels", "model", "code_version", "torch_version")
"""Entries of a card that describe the weights: written with them, never changed."""


def code_version() -> str:
    """The version of this code: the installed package's, or that of the source tree."""
    try:
        return metadata.version("taudis-label-studio")
    except metadata.PackageNotFoundError:
        from taudis import __version__

        return __version__


def save_checkpoint(folder: Path, detector: TrainedDetector, *, card: dict[str, Any]) -> None:
    """Write the detector to `folder`; a checkpoint that was there is replaced.

    `card` is stored with it (recipe, metrics, parent: any JSON); labels, model configuration and
    versions are added. Raises OSError where the disk does not take it, and
    CheckpointError for a card that JSON cannot hold.
    """
    full = {
        **card,
        "format": FORMAT,
        "labels": list(detector.label_map.names),
        "model": dataclasses.asdict(detector.config),
        "code_version": code_version(),
        "torch_version": str(torch.__version__),
    }
    text = _card_text(full)
    state = {name: v.detach().cpu().contiguous() for name, v in detector.model.state_dict().items()}

    def write(draft: Path) -> None:
        save_file(state, draft / WEIGHTS_FILE)
        (draft / CARD_FILE).write_text(text, encoding="utf-8")

    write_sealed(folder, write)


def _card_text(card: dict[str, Any]) -> str:
    try:
        return json.dumps(card, indent=2, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"card: expected what JSON can hold, got: {error}.") from error


def amend_card(folder: Path, **more: Any) -> dict[str, Any]:
    """Add keys to the card of a checkpoint, or replace their values; returns the whole card.

    For entries that are known after the training: metrics, thresholds. The weights stay the same
    file. Calling it again changes nothing. A crash leaves the old card or the new one, sealed.
    Raises CheckpointError for a damaged checkpoint, for a key that describes the weights (OURS),
    and for values that JSON cannot hold; OSError where the disk does not take it.
    """
    forbidden = sorted(set(more) & set(OURS))
    if forbidden:
        raise CheckpointError(f"card: {forbidden} describe the weights and cannot be amended.")
    card = read_card(folder)
    text = _card_text({**card, **more})
    amended: dict[str, Any] = json.loads(text)
    if amended == card:
        return card

    def write(draft: Path) -> None:
        try:
            os.link(folder / WEIGHTS_FILE, draft / WEIGHTS_FILE)
        except OSError:  # a file system without hard links
            shutil.copyfile(folder / WEIGHTS_FILE, draft / WEIGHTS_FILE)
        (draft / CARD_FILE).write_text(text, encoding="utf-8")

    write_sealed(folder, write)
    return amended


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a checkpoint, all its files verified. Raises CheckpointError naming the file."""
    verify_sealed(folder, (CARD_FILE, WEIGHTS_FILE))
    card: dict[str, Any] = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
    if card.get("format") != FORMAT:
        raise CheckpointError(
            f"{folder / CARD_FILE}: expected format {FORMAT}, got {card.get('format')!r}. It was"
            " written by another version: train again."
        )
    return card


def check_start(folder: Path, config: Config, label_map: LabelMap) -> Config:
    """Check that a model of `config` can be trained on from the checkpoint in `folder`.

    Labels and architecture are those of its card. A Mask2Former may have another number of queries:
    missing ones start untrained, and the checkpoint's stay. Returns the configuration to train:
    `config`, with as many queries as the checkpoint at least.

    Raises CheckpointError naming the file: damaged, for other labels, or of another architecture.
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
        made = made.goes_on_from(goal)  # the number of queries is no difference
    for name in wanted_one.fields:
        was, wanted = getattr(made, name), getattr(goal, name)
        if was != wanted:
            raise CheckpointError(
                f"{folder / CARD_FILE}: another architecture: expected a model of {name} {wanted},"
                f" got {was}."
            )
    return goal


def model_of_checkpoint(folder: Path, config: Config, label_map: LabelMap) -> nn.Module:
    """The model in `folder` with the thresholds of `config`, to be trained on.

    Raises what `check_start` raises, and CheckpointError for a `config` of fewer queries than the
    checkpoint has.
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
        if is_out_of_memory(error):  # nothing is wrong with the file
            raise
        raise CheckpointError(f"{folder / WEIGHTS_FILE}: does not fit the card: {error}") from error


def load_checkpoint(
    folder: Path, *, label_map: LabelMap | None = None, device: str = "cpu"
) -> tuple[TrainedDetector, dict[str, Any]]:
    """The detector in `folder` and its card, after every byte was verified.

    Raises CheckpointError naming the file: missing, cut, changed, or made for other labels than
    `label_map` (names and order) where that is given.
    """
    card = read_card(folder)
    labels = LabelMap(tuple(card["labels"]))
    if label_map is not None:
        _check_labels(folder, card, label_map)
    config = _config_of(folder, card)
    model = _with_weights(folder, config, len(labels))
    model = model.to(device).eval()
    return architecture_of(config).detector(model, config, labels, device), card

"""The card of a checkpoint: a JSON file that describes the model and its training.

This file does not import torch, so a command that only reads cards starts within a second.
"""

from __future__ import annotations

import json
import os
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

from taudis.errors import CheckpointError
from taudis.files import verify_sealed, write_sealed

WEIGHTS_FILE = "weights.safetensors"
CARD_FILE = "card.json"
FORMAT = 1
"""Version of the card's layout."""
OURS = ("format", "labels", "model", "code_version", "torch_version")
"""Entries of a card that describe the weights; they cannot be changed later."""


def code_version() -> str:
    """The version of the installed package, or of the source tree if it is not installed."""
    try:
        return metadata.version("taudis-label-studio")
    except metadata.PackageNotFoundError:
        from taudis import __version__

        return __version__


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a checkpoint, after all its files are verified.

    Raises CheckpointError with the name of a damaged file.
    """
    verify_sealed(folder, (CARD_FILE, WEIGHTS_FILE))
    card: dict[str, Any] = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
    if card.get("format") != FORMAT:
        raise CheckpointError(
            f"{folder / CARD_FILE}: expected format {FORMAT}, got {card.get('format')!r}. It was"
            " written by another version: train again."
        )
    return card


def amend_card(folder: Path, **more: Any) -> dict[str, Any]:
    """Add keys to the card of a checkpoint, or replace their values; returns the whole card.

    This is for entries that are known after the training, such as metrics and thresholds. The
    weights file does not change. A second call with the same values changes nothing. A crash leaves
    a valid checkpoint with the old or the new card. Raises CheckpointError for a damaged
    checkpoint, a key in OURS, and values that JSON does not have; OSError if it cannot be written.
    """
    forbidden = sorted(set(more) & set(OURS))
    if forbidden:
        raise CheckpointError(f"card: {forbidden} describe the weights and cannot be amended.")
    card = read_card(folder)
    text = card_text({**card, **more})
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


def card_text(card: dict[str, Any]) -> str:
    """The text of a card's file. Raises CheckpointError for values that JSON does not have."""
    try:
        return json.dumps(card, indent=2, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"card: expected what JSON can hold, got: {error}.") from error

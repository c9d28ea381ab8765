"""The card of a checkpoint: what is known of a model besides its weights, as JSON.

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
"""Entries of a card that describe the weights: written with them, never changed."""


def code_version() -> str:
    """The version of this code: the installed package's, or that of the source tree."""
    try:
        return metadata.version("taudis-label-studio")
    except metadata.PackageNotFoundError:
        from taudis import __version__

        return __version__


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
    """The text of a card's file. Raises CheckpointError for a card that JSON cannot hold."""
    try:
        return json.dumps(card, indent=2, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"card: expected what JSON can hold, got: {error}.") from error

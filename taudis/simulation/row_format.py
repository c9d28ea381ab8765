"""The format of the rows that `simulate` writes and `compare` reads (docs/experiments.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

FORMAT = 1
"""Version of rows and of grid.json."""

Kind = Literal["seed_set", "round", "all"]
"""The model of a row: of the seed set (before round 1), of a round, or of all training images."""
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Corrections:
    """Numbers of regions in the chosen images, by what a person does to correct pre-annotations."""

    accepted: int  # left unchanged
    reshaped: int
    added: int  # drawn, because no region fits the object
    removed: int

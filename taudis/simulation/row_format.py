"""The format of rows, which `simulate` writes and `compare` reads; docs/experiments.md has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

FORMAT = 1
"""Version of rows and of grid.json."""

Kind = Literal["seed_set", "round", "all"]
"""A model of the seed set (round 0 of every strategy), of a round, of all training images."""
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Corrections:
    """What a person who corrects pre-annotations does with their regions in the chosen images."""

    accepted: int  # left as they are
    reshaped: int
    added: int  # drawn, since no region fits
    removed: int

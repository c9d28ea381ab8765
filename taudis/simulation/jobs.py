"""The jobs of a grid. Each job makes one row: it trains and evaluates a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from taudis.errors import DataError
from taudis.simulation.row_format import KINDS, Kind


@dataclass(frozen=True)
class Job:
    """A model to train and evaluate: of a seed set, of a round, or of all training images."""

    kind: Kind
    seed: int
    strategy: str | None = None  # for kind "round", else None
    round: int | None = None  # 1..R for kind "round", else None

    @property
    def name(self) -> str:
        """STRATEGY/SEED/ROUND, seed_set/SEED or all/SEED; `find` is the inverse."""
        if self.kind == "round":
            return f"{self.strategy}/{self.seed}/{self.round}"
        return f"{self.kind}/{self.seed}"

    @property
    def before(self) -> Job | None:
        """The job of the round before, whose model chooses the images of this one."""
        if self.kind != "round" or self.round is None:
            return None
        if self.round == 1:
            return Job("seed_set", self.seed)
        return Job("round", self.seed, self.strategy, self.round - 1)

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Job:
        """The job of a row. Raises KeyError, TypeError or ValueError if it is not a row."""
        kind = row["kind"]
        if kind not in KINDS:
            raise ValueError(f"kind {kind!r}")
        if kind == "round":
            return cls(kind, int(row["seed"]), str(row["strategy"]), int(row["round"]))
        return cls(kind, int(row["seed"]))

    @classmethod
    def find(cls, name: str, jobs: Iterable[Job]) -> Job:
        """The job with this name in `jobs`. Raises DataError if there is none."""
        known = {job.name: job for job in jobs}
        if name not in known:
            few = ", ".join(list(known)[:5]) or "no row"
            raise DataError(
                f"expected the name of a row, STRATEGY/SEED/ROUND, seed_set/SEED or all/SEED, such"
                f" as {few}; got {name!r}."
            )
        return known[name]


def jobs_of(
    strategies: Sequence[str], seeds: Sequence[int], rounds: int, *, all_labels: bool
) -> list[Job]:
    """The jobs of a grid in the order in which a single process runs them.

    The models of the signal gate come first (seed sets and all labels). The rounds follow seed by
    seed and round by round, so that few models wait on the disk for the next round.
    """
    found = [Job("seed_set", seed) for seed in seeds]
    found += [Job("all", seed) for seed in seeds if all_labels]
    found += [
        Job("round", seed, strategy, number)
        for seed in seeds
        for number in range(1, rounds + 1)
        for strategy in strategies
    ]
    return found


def read_seeds(text: str) -> list[int]:
    """The seeds in a text such as 0-4 or 0,2,5-7, ascending. Raises DataError."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        try:
            low, high = int(first), int(last) if dash else int(first)
        except ValueError:
            low, high = 1, 0
        if not 0 <= low <= high <= low + 9_999:
            raise DataError(f"--seeds: expected whole numbers such as 0-4 or 0,2, got {text!r}.")
        found.update(range(low, high + 1))
    return sorted(found)

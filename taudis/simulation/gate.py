"""The signal gate: a test whether more labels improve the model on a data set under a recipe.

A comparison of strategies is meaningful only if the model of all labels is better than the model of
the seed set by more than SPREADS standard deviations over seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

SPREADS = 2.0
"""Standard deviations by which the model of all labels must exceed that of the seed set."""


@dataclass(frozen=True)
class OverSeeds:
    """mAP50 of one kind of model over its seeds."""

    mean: float | None  # None without a seed
    sd: float | None  # sample standard deviation; None below two seeds
    seeds: int

    @classmethod
    def of(cls, map50: Sequence[float]) -> OverSeeds:
        """From one mAP50 per seed."""
        mean = float(np.mean(map50)) if map50 else None
        sd = float(np.std(map50, ddof=1)) if len(map50) > 1 else None
        return cls(mean, sd, len(map50))

    def to_dict(self) -> dict[str, float | int | None]:
        """The figures as JSON, rounded to 4 decimals."""
        mean, sd = (None if each is None else round(each, 4) for each in (self.mean, self.sd))
        return {"mean": mean, "sd": sd, "seeds": self.seeds}

    def __str__(self) -> str:
        """The mean with its standard deviation, as text. Needs at least one seed."""
        sd = "unknown" if self.sd is None else f"{self.sd:.3f}"
        seeds = "1 seed" if self.seeds == 1 else f"{self.seeds} seeds"
        return f"{self.mean:.3f} (standard deviation {sd}, {seeds})"


@dataclass(frozen=True)
class Signal:
    """The models of the seed set and of all labels, and the verdict of the gate."""

    seed_set: OverSeeds
    all_labels: OverSeeds

    @property
    def passed(self) -> bool | None:
        """Whether more labels improve the model, by the larger of both standard deviations.

        None if a kind of model has fewer than two seeds. With the deviation of one kind only, the
        gate would pass far more often by chance.
        """
        low, high = self.seed_set, self.all_labels
        if low.mean is None or high.mean is None or low.sd is None or high.sd is None:
            return None
        return high.mean - low.mean > SPREADS * max(low.sd, high.sd)

    @property
    def figures(self) -> str:
        """Both figures, as text. Needs at least one seed of each kind."""
        return f"mAP50 {self.seed_set} with the seed set, {self.all_labels} with all labels"

    @property
    def warning(self) -> str:
        """A warning for a comparison of the rows; empty if the gate passed."""
        if self.passed:
            return ""
        if self.passed is None:
            return (
                "the signal gate was not run, so it is not known whether more labels improve the"
                " model. Let `simulate` run --all-labels on at least two seeds."
            )
        return (
            f"the signal gate failed: {self.figures}. It passes if the second mAP50 is above the"
            f" first by more than {SPREADS:g} times the larger standard deviation. More labels"
            " hardly improve this model, so these rows cannot show which strategy is better. Run a"
            " grid with fewer --seed-images, more --steps or pretrained --weights."
        )

    def to_dict(self) -> dict[str, object]:
        """The gate as JSON."""
        return {
            "passed": self.passed,
            "seed_set": self.seed_set.to_dict(),
            "all": self.all_labels.to_dict(),
        }


def signal(seed_set: Sequence[float], all_labels: Sequence[float]) -> Signal:
    """The gate for mAP50 of the seed set and of all labels, one value per seed in each."""
    return Signal(OverSeeds.of(seed_set), OverSeeds.of(all_labels))


def signal_of_rows(rows: Iterable[Mapping[str, Any]]) -> Signal:
    """The gate for the rows of a run; rows of rounds are ignored."""
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(row["kind"], []).append(row["map50"])
    return signal(found.get("seed_set", []), found.get("all", []))


def closed_at_once(rows: Iterable[Mapping[str, Any]]) -> float | None:
    """The share of the mAP50 gap, seed set to all labels, that the first round of `random` closes.

    If it is near 1, no strategy can be better than random: the steps or the data limit the model,
    not the choice of images. It may be above 1 or below 0. All means are over the seeds that have
    the three models. None without such a seed, or without a gap.
    """
    models: dict[str, dict[int, float]] = {"seed_set": {}, "all": {}, "random": {}}
    for row in rows:
        first = (row.get("strategy"), row.get("round")) == ("random", 1)
        kind = "random" if row["kind"] == "round" and first else row["kind"]
        if kind in models:
            models[kind][row["seed"]] = row["map50"]
    seeds = set.intersection(*(set(found) for found in models.values()))
    if not seeds:
        return None
    low, high, first_round = (
        float(np.mean([models[kind][seed] for seed in seeds]))
        for kind in ("seed_set", "all", "random")
    )
    return (first_round - low) / (high - low) if high > low else None

"""The rule of the default strategy, as docs/results/README.md fixed it before the test's rows.

`taudis` or the chosen entry becomes the default if three things hold on the sets of the parts
`test` and `test_again`, both divisions of a set counted together:

- its area over images is above that of `foreground_random` on the paired seeds of all sets, with p
  below P after Holm's correction for these two strategies
- its area over objects is not below that of `foreground_random` beyond the 95 % interval
- on no set is its area over images below random's beyond the 95 % interval

There is no p and no verdict before all planned rows of the candidates exist, because each earlier
look would be an additional test.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.study import CHOSEN, PARTS
from taudis.simulation.comparison import pair_areas
from taudis.simulation.curves import Curve
from taudis.simulation.jobs import read_seeds
from taudis.simulation.paired_curves import Choice, paired_curves
from taudis.simulation.result_rows import ResultRow
from taudis.simulation.statistics import Interval, holm, mean_interval, paired_p

CANDIDATES = ("taudis", CHOSEN)
P = 0.05
SETS: Mapping[str, tuple[str, ...]] = {
    first.data: (first.name, second.name)
    for first, second in zip(PARTS["test"].grids, PARTS["test_again"].grids, strict=True)
}
"""Folder of a set -> the names of its two divisions."""
REDUNDANT: Mapping[str, tuple[str, ...]] = {
    "highway_cam": SETS["highway_cam"], "tools_bench": ("tools_bench-400_steps",),
}  # fmt: skip
"""Sets of frames that resemble each other, and their grids. Diversity should help most there."""
ROUNDS = {grid.name: grid.rounds for part in PARTS.values() for grid in part.grids}
SEEDS = sum(len(read_seeds(PARTS[part].seeds)) for part in ("test", "test_again"))
"""Planned paired seeds of a set, both divisions together."""


@dataclass(frozen=True)
class RuleResult:
    """The figures of a candidate for the rule; None if rows are missing."""

    images: Interval | None  # area over images minus foreground_random's, all paired seeds
    p: float | None  # p of `images` after Holm's correction; None unless the rows are complete
    seeds: int
    complete: bool  # whether all planned rows of all candidates exist
    objects: Interval | None  # area over objects minus foreground_random's
    random: Mapping[str, Interval | None]  # set -> area over images minus random's

    @property
    def meets(self) -> bool | None:
        """Whether the rule is met; None before all planned rows exist."""
        if not self.complete or self.images is None or self.objects is None or self.p is None:
            return None
        gains = (self.images.middle or 0.0) > 0 and self.p < P
        below = [each is not None and (each.high or 0.0) < 0
                 for each in (self.objects, *self.random.values())]  # fmt: skip
        return gains and not any(below)


def pairs(rows: Iterable[ResultRow], name: str, reference: str) -> tuple[list[Curve], list[Curve]]:
    """The curves of a strategy and of the reference, grid by grid, on the seeds both finished."""
    found: tuple[list[Curve], list[Curve]] = ([], [])
    by_data: dict[str, list[ResultRow]] = {}
    for row in rows:
        by_data.setdefault(row.data, []).append(row)
    for own in by_data.values():
        if not {name, reference} <= {row.strategy for row in own}:
            continue
        kept = [row for row in own if row.strategy in (None, name, reference)]
        last = ROUNDS[kept[0].data]
        done = [
            {row.seed for row in kept if (row.strategy, row.round) == (who, last)}
            for who in (name, reference)
        ]
        if not done[0] & done[1]:
            continue
        one = paired_curves(kept, Choice(reference=reference, finished_only=True))[0]
        for curves, who in zip(found, (name, reference), strict=True):
            curves += [one.curves[who][seed] for seed in one.seeds]
    return found


def more(rows: Iterable[ResultRow], name: str, reference: str, axis: str) -> list[float]:
    """For each seed that both have finished: the strategy's area minus the reference's, by grid."""
    return pair_areas(*pairs(rows, name, reference), axis)[1]


class Less(NamedTuple):
    """A strategy's area minus the reference's on one set, and the number of paired seeds."""

    images: Interval | None
    objects: Interval | None
    seeds: int
    p: float | None  # of `images`, by the paired test, without a correction


BOTH = "both sets together"


def on_redundant_sets(rows: Iterable[ResultRow], name: str, reference: str) -> dict[str, Less]:
    """Set, or BOTH -> area of a strategy minus the reference's, over images and over objects."""
    known = list(rows)
    found: dict[str, Less] = {}
    groups = {**REDUNDANT, BOTH: tuple(grid for grids in REDUNDANT.values() for grid in grids)}
    for data, grids in groups.items():
        own = [row for row in known if row.data in grids]
        images, objects = (more(own, name, reference, axis) for axis in ("images", "objects"))
        p = paired_p(images) if images else None
        found[data] = Less(_interval(images), _interval(objects), len(images), p)
    return found


def by_rule(rows: Iterable[ResultRow]) -> dict[str, RuleResult]:
    """The figures of every candidate, from the rows of the test."""
    grids = {name for pair in SETS.values() for name in pair}
    known = [row for row in rows if row.data in grids]
    of_set = {data: [row for row in known if row.data in pair] for data, pair in SETS.items()}
    images = {name: more(known, name, "foreground_random", "images") for name in CANDIDATES}
    random = {
        name: {data: more(rows, name, "random", "images") for data, rows in of_set.items()}
        for name in CANDIDATES
    }
    complete = all(
        len(images[name]) == SEEDS * len(SETS)
        and all(len(each) == SEEDS for each in random[name].values())
        for name in CANDIDATES
    )
    corrected = holm({name: paired_p(each) for name, each in images.items()}) if complete else {}
    return {
        name: RuleResult(
            _interval(images[name]), corrected.get(name), len(images[name]), complete,
            _interval(more(known, name, "foreground_random", "objects")),
            {data: _interval(each) for data, each in random[name].items()},
        )
        for name in CANDIDATES
    }  # fmt: skip


def _interval(values: list[float]) -> Interval | None:
    return mean_interval(values) if values else None

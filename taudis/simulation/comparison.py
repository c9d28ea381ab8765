"""The comparison of strategies on one data set: labels saved, area under the curve, paired tests.

Everything is paired by seed: a strategy and the reference start from the same seed set. The rules:

    target        the reference's mAP50 after its last round, on the same seed
    labels saved  1 - labels that the strategy needs / labels that the reference needs
    area          of both curves, up to the labels that both have reached on that seed
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from taudis.simulation.curves import AXES, Curve
from taudis.simulation.data_sets import DataSet
from taudis.simulation.statistics import (
    Interval,
    Signal,
    holm,
    mean_interval,
    median_at_most,
    median_interval,
    paired_p,
    signal,
    smallest_p,
)

FEW_SEEDS = 5
"""Below, the range of the seeds itself covers a median in less than 90 % of all cases."""


@dataclass(frozen=True)
class Saved:
    """The share of the reference's labels that a strategy saves, in one axis."""

    interval: Interval  # of the median over seeds; negative: it needs more
    at_most: float  # the highest that the median can be, if seeds are censored
    not_reached: int  # seeds on which the strategy never reaches the target: censored
    of_mean_curve: float | None  # read off the mean curves; None: the target is not reached


@dataclass(frozen=True)
class Area:
    """The area under a strategy's curve, in one axis, up to the labels that both have reached."""

    area: Interval  # of the mean over seeds
    more: Interval  # than the reference's area, of the mean over seeds
    p: float  # of a paired sign-flip test of `more`
    p_holm: float  # corrected for the strategies that are compared


@dataclass(frozen=True)
class StrategyResult:
    """One strategy against the reference, by axis."""

    name: str
    final: Interval  # mAP50 after the last round, mean over seeds
    labels: dict[str, float]  # by axis: labels after the last round, mean over seeds
    saved: dict[str, Saved]
    area: dict[str, Area]


@dataclass(frozen=True)
class Comparison:
    """All strategies of one data set against the reference."""

    data: DataSet
    signal: Signal
    reference_final: Interval
    reference_labels: dict[str, float]
    reference_area: dict[str, Interval]
    most_to_save: dict[
        str, float
    ]  # by axis: share saved by a strategy that needs the seed set only
    strategies: tuple[StrategyResult, ...]  # largest gain in area over images first

    @property
    def seeds(self) -> int:
        """Paired seeds."""
        return len(self.data.seeds)

    @property
    def smallest_p(self) -> float:
        """The smallest corrected p that so many seeds and strategies allow."""
        return smallest_p(self.seeds, len(self.strategies))


def compare(data: DataSet) -> Comparison:
    """Compare every strategy of a data set with its reference."""
    reference = _curves(data, data.reference)
    names = [name for name in data.curves if name != data.reference]
    p = {axis: {name: _area_p(data, name, axis) for name in names} for axis in AXES}
    p_holm = {axis: holm(p[axis]) for axis in AXES}
    results = [
        StrategyResult(
            name=name,
            final=_final(_curves(data, name)),
            labels=_labels(_curves(data, name)),
            saved={axis: _saved(_curves(data, name), reference, axis) for axis in AXES},
            area={
                axis: _area(_curves(data, name), reference, axis, p[axis][name], p_holm[axis][name])
                for axis in AXES
            },
        )
        for name in names
    ]
    return Comparison(
        data=data,
        signal=signal(list(data.seed_set.values()), list(data.all_labels.values())),
        reference_final=_final(reference),
        reference_labels=_labels(reference),
        reference_area={axis: mean_interval(_own_areas(reference, axis)) for axis in AXES},
        most_to_save={axis: _most_to_save(reference, axis) for axis in AXES},
        strategies=tuple(sorted(results, key=_gain, reverse=True)),
    )


def _curves(data: DataSet, name: str) -> list[Curve]:
    """The curves of a strategy, in the order of the seeds."""
    return [data.curves[name][seed] for seed in data.seeds]


def _gain(result: StrategyResult) -> float:
    """The mean gain in area over images."""
    return result.area["images"].more.middle or 0.0


def _final(curves: Sequence[Curve]) -> Interval:
    """mAP50 after the last round."""
    return mean_interval([float(curve.map50[-1]) for curve in curves])


def _labels(curves: Sequence[Curve]) -> dict[str, float]:
    """Labels after the last round, by axis, mean over seeds."""
    mean = Curve.mean(curves)
    return {axis: float(mean.labels[axis][-1]) for axis in AXES}


def _own_areas(curves: Sequence[Curve], axis: str) -> list[float]:
    """The area under each whole curve."""
    return [curve.area(axis, float(curve.labels[axis][-1])) for curve in curves]


def share_saved(curve: Curve, reference: Curve, axis: str) -> tuple[float, bool]:
    """The share of the reference's labels that a curve saves on one seed, and if it is censored.

    Censored: the curve never reaches the target; the share is at most the number that is returned,
    which counts all labels of the curve.
    """
    target = float(reference.map50[-1])
    full = reference.needed(axis, target)
    if not full:  # a curve reaches its own last point; 0 labels: an empty seed set reaches it
        return 0.0, False
    needed = curve.needed(axis, target)
    if needed is None:
        return 1 - float(curve.labels[axis][-1]) / full, True
    return 1 - needed / full, False


def _saved(curves: Sequence[Curve], reference: Sequence[Curve], axis: str) -> Saved:
    """Labels saved over all seeds."""
    shares = [share_saved(*pair, axis) for pair in zip(curves, reference, strict=True)]
    values = [share for share, _ in shares]
    censored = [is_censored for _, is_censored in shares]
    mean, never = share_saved(Curve.mean(curves), Curve.mean(reference), axis)
    return Saved(
        interval=median_interval(values, censored),
        at_most=median_at_most(values),
        not_reached=sum(censored),
        of_mean_curve=None if never else mean,
    )


def _most_to_save(reference: Sequence[Curve], axis: str) -> float:
    """The share that is saved where the seed set reaches the target, mean over seeds."""
    shares = []
    for curve in reference:
        full = curve.needed(axis, float(curve.map50[-1]))
        shares.append(1 - float(curve.labels[axis][0]) / full if full else 0.0)
    return sum(shares) / len(shares)


def _pair_areas(
    curves: Sequence[Curve], reference: Sequence[Curve], axis: str
) -> tuple[list[float], list[float]]:
    """Of each seed the area of a strategy, and how much more it is than the reference's."""
    areas, more = [], []
    for one, other in zip(curves, reference, strict=True):
        until = min(float(one.labels[axis][-1]), float(other.labels[axis][-1]))
        areas.append(one.area(axis, until))
        more.append(areas[-1] - other.area(axis, until))
    return areas, more


def _area_p(data: DataSet, name: str, axis: str) -> float:
    """The p of a strategy's gain in area."""
    return paired_p(_pair_areas(_curves(data, name), _curves(data, data.reference), axis)[1])


def _area(
    curves: Sequence[Curve], reference: Sequence[Curve], axis: str, p: float, p_holm: float
) -> Area:
    """Area and gain over all seeds."""
    areas, more = _pair_areas(curves, reference, axis)
    return Area(mean_interval(areas), mean_interval(more), p, p_holm)

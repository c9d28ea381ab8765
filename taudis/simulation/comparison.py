"""The comparison of strategies on one data set: labels saved, area under the curve, paired tests.

Everything is paired by seed: a strategy and the reference start from the same seed set. The rules:

    target        the reference's mAP50 after its last round
    labels saved  1 - labels that the strategy needs / labels that the reference needs, both read
                  off the mean curves of the seeds; beside it, read off each seed's own curves
    area          of both curves of a seed, up to the labels that both have reached

n: number of seeds; P: points of a curve; R: resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from taudis.simulation.curves import AXES, Curve, first_crossing
from taudis.simulation.gate import Signal, signal
from taudis.simulation.paired_curves import PairedCurves
from taudis.simulation.statistics import (
    Interval,
    holm,
    mean_interval,
    median_interval,
    paired_p,
    resampled_interval,
    smallest_p,
)
from taudis.types import BoolArray, FloatArray, IntArray

FEW_SEEDS = 5
"""Below, the range of the seeds itself covers a median in less than 90 % of all cases."""


@dataclass(frozen=True)
class Saved:
    """The share of the reference's labels that a strategy saves, in one axis.

    Negative: it needs more. None in an interval: the target is not reached, so it is not known.
    """

    interval: Interval  # of the mean curves
    at_most: float  # the most that the mean curves can save, where the target is not reached
    by_seed: Interval  # of the median over seeds
    not_reached: int  # seeds on which the strategy never reaches the target: censored


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

    data: PairedCurves
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


def compare(data: PairedCurves) -> Comparison:
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
            saved={axis: labels_saved(_curves(data, name), reference, axis) for axis in AXES},
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


def _curves(data: PairedCurves, name: str) -> list[Curve]:
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
    """The share of the reference's labels that one curve saves, and if it is censored.

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


def labels_saved(curves: Sequence[Curve], reference: Sequence[Curve], axis: str) -> Saved:
    """The share of the reference's labels that a strategy saves. Curves in the order of seeds."""

    def lowest(rows: IntArray) -> FloatArray:
        shares, censored = _shares_of_means(curves, reference, axis, rows)
        return np.where(censored, -np.inf, shares)

    def highest(rows: IntArray) -> FloatArray:
        return _shares_of_means(curves, reference, axis, rows)[0]

    by_seed = [share_saved(*pair, axis) for pair in zip(curves, reference, strict=True)]
    censored = [is_censored for _, is_censored in by_seed]
    return Saved(
        interval=resampled_interval(len(curves), lowest, highest),
        at_most=float(highest(np.arange(len(curves))[None])[0]),
        by_seed=median_interval([share for share, _ in by_seed], censored),
        not_reached=sum(censored),
    )


def _shares_of_means(
    curves: Sequence[Curve], reference: Sequence[Curve], axis: str, rows: IntArray
) -> tuple[FloatArray, BoolArray]:
    """What the mean curves of resamples save [R], and which are censored [R]; see `share_saved`.

    rows: seeds of each resample [R,n]; a seed's two curves stay together.
    """
    labels, map50 = _means(curves, axis, rows)
    other_labels, other_map50 = _means(reference, axis, rows)
    target = other_map50[:, -1]
    full = first_crossing(other_labels, other_map50, target)
    needed = first_crossing(labels, map50, target)
    censored = np.isinf(needed) & (full > 0)
    spent = np.where(censored, labels[:, -1], needed)
    return np.where(full > 0, 1 - spent / np.where(full > 0, full, 1), 0.0), censored


def _means(curves: Sequence[Curve], axis: str, rows: IntArray) -> tuple[FloatArray, FloatArray]:
    """Labels and mAP50 [R,P] of the mean curves of resamples [R,n]."""
    labels = np.stack([curve.labels[axis] for curve in curves])  # [n,P]
    map50 = np.stack([curve.map50 for curve in curves])
    return labels[rows].mean(axis=1), map50[rows].mean(axis=1)


def _most_to_save(reference: Sequence[Curve], axis: str) -> float:
    """The share that is saved where the seed set reaches the target, mean over seeds."""
    shares = []
    for curve in reference:
        full = curve.needed(axis, float(curve.map50[-1]))
        shares.append(1 - float(curve.labels[axis][0]) / full if full else 0.0)
    return sum(shares) / len(shares)


def pair_areas(
    curves: Sequence[Curve], reference: Sequence[Curve], axis: str
) -> tuple[list[float], list[float]]:
    """Of each seed the area of a strategy, and how much more it is than the reference's."""
    areas, more = [], []
    for one, other in zip(curves, reference, strict=True):
        until = min(float(one.labels[axis][-1]), float(other.labels[axis][-1]))
        areas.append(one.area(axis, until))
        more.append(areas[-1] - other.area(axis, until))
    return areas, more


def _area_p(data: PairedCurves, name: str, axis: str) -> float:
    """The p of a strategy's gain in area."""
    return paired_p(pair_areas(_curves(data, name), _curves(data, data.reference), axis)[1])


def _area(
    curves: Sequence[Curve], reference: Sequence[Curve], axis: str, p: float, p_holm: float
) -> Area:
    """Area and gain over all seeds."""
    areas, more = pair_areas(curves, reference, axis)
    return Area(mean_interval(areas), mean_interval(more), p, p_holm)

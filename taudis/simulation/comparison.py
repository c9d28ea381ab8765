"""The comparison of strategies on one data set: labels saved, area under the curve, paired tests.

Everything is paired by seed: a strategy and the reference start from the same seed set.

    target        the reference's mAP50 after its last round
    labels saved  1 - labels that the strategy needs / labels that the reference needs to reach the
                  target, both from the mean curves over seeds; also from the curves of each seed
    area          under the curve of a seed, up to the labels that both strategies have reached

Labels are counted on three axes: images, objects and seconds (`AXES`).
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
"""With fewer seeds, even the range of the seeds covers the median in less than 90 % of cases."""


@dataclass(frozen=True)
class Saved:
    """The share of the reference's labels that a strategy saves, on one axis.

    Negative: the strategy needs more labels. None in an interval: unknown, because the target is
    not reached.
    """

    interval: Interval  # from the mean curves
    at_most: float  # upper bound from the mean curves, for a target that is not reached
    by_seed: Interval  # of the median over seeds
    not_reached: int  # seeds on which the strategy never reaches the target (censored)


@dataclass(frozen=True)
class Area:
    """The area under a strategy's curve on one axis, up to the labels that both have reached."""

    area: Interval  # mean over seeds
    more: Interval  # area minus the reference's area, mean over seeds
    p: float  # p of a paired sign-flip test of `more`
    p_holm: float  # p after Holm's correction for the number of strategies


@dataclass(frozen=True)
class StrategyResult:
    """A strategy compared with the reference, by axis."""

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
    # By axis: the share that a strategy would save if the seed set alone reached the target.
    most_to_save: dict[str, float]
    strategies: tuple[StrategyResult, ...]  # the largest gain in area over images first

    @property
    def seeds(self) -> int:
        """Number of paired seeds."""
        return len(self.data.seeds)

    @property
    def smallest_p(self) -> float:
        """The smallest corrected p that is possible with these numbers of seeds and strategies."""
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
    """The area under each curve up to its last point."""
    return [curve.area(axis, float(curve.labels[axis][-1])) for curve in curves]


def share_saved(curve: Curve, reference: Curve, axis: str) -> tuple[float, bool]:
    """(share of the reference's labels that a curve saves, whether it is censored).

    Censored: the curve never reaches the target. The returned share is then an upper bound, which
    counts all labels of the curve as needed.
    """
    target = float(reference.map50[-1])
    full = reference.needed(axis, target)
    if not full:  # never None, as the curve reaches its last point; 0 for an empty seed set
        return 0.0, False
    needed = curve.needed(axis, target)
    if needed is None:
        return 1 - float(curve.labels[axis][-1]) / full, True
    return 1 - needed / full, False


def labels_saved(curves: Sequence[Curve], reference: Sequence[Curve], axis: str) -> Saved:
    """The share of the reference's labels that a strategy saves. Both curves: in seed order."""

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
    """`share_saved` of the mean curves of resamples: (shares [R], whether each is censored [R]).

    rows: seeds of each resample [R,n]. The same resample is used for both strategies.
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
    """The share that is saved if the seed set alone reaches the target, by the mean curve.

    As in `labels_saved`: the curve of one seed reaches its noisy last mAP50 too early.
    """
    labels, map50 = _means(reference, axis, np.arange(len(reference))[None])
    full = float(first_crossing(labels, map50, map50[:, -1])[0])
    return 1 - float(labels[0, 0]) / full if full else 0.0


def pair_areas(
    curves: Sequence[Curve], reference: Sequence[Curve], axis: str
) -> tuple[list[float], list[float]]:
    """For each seed: the area of a strategy, and this area minus that of the reference."""
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
    """The area of a strategy and its gain, over all seeds."""
    areas, more = pair_areas(curves, reference, axis)
    return Area(mean_interval(areas), mean_interval(more), p, p_holm)

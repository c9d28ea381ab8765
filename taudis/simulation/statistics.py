"""Intervals over seeds, paired tests and Holm's correction.

docs/comparing.md gives the reasons for these methods and the measured coverage of the intervals.
n: number of seeds.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from taudis.types import FloatArray, IntArray

LEVEL = 0.95
RESAMPLES = 9_999
SEED = 0
"""Seed of the resamples; it is fixed, so the same rows always give the same interval."""
EQUAL = 1e-9
"""Values that differ by less are equal: differences are subject to rounding."""
_UNKNOWN = -1e12
"""Replaces a value without a lower bound, since resampling needs finite numbers."""
OfSeeds = Callable[[IntArray], FloatArray]
"""A statistic: from resamples, rows of seeds [R,n], to its values [R]."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval; None for a number that the rows do not determine."""

    low: float | None
    middle: float | None
    high: float | None

    def to_list(self) -> list[float | None]:
        """The three numbers, rounded to 4 decimals."""
        return [
            None if each is None else round(each, 4) for each in (self.low, self.middle, self.high)
        ]


def mean_interval(values: Sequence[float]) -> Interval:
    """The mean over seeds, with a BCa interval at a level that is corrected for few seeds.

    Plain bootstrap intervals of a mean are too narrow for few seeds: with five seeds they cover
    83 % instead of 95 %. So the level is that of Hesterberg's (2015) expanded interval.
    With one seed there is no interval.
    """
    found = np.asarray(values, np.float64)
    middle = float(found.mean())
    if len(found) < 2:
        return Interval(None, middle, None)
    low, high = _bootstrap(found, np.mean, "BCa", _expanded_level(len(found)))
    return Interval(low, middle, high)


def median_interval(values: Sequence[float], at_most: Sequence[bool]) -> Interval:
    """The median over seeds, with a percentile interval.

    values: one per seed. at_most: whether a value is only an upper bound (censored). The median and
    the low end are None if they depend on such a value; `high` is then an upper bound. BCa is not
    used, because the jackknife of its acceleration fails for a median. With one seed there is no
    interval.
    """
    highest = np.asarray(values, np.float64)
    lowest = np.where(np.asarray(at_most, bool), _UNKNOWN, highest)
    middle = _known(float(np.median(lowest)))
    if len(highest) < 2:
        return Interval(None, middle, None)
    low, _ = _bootstrap(lowest, np.median, "percentile", LEVEL)
    _, high = _bootstrap(highest, np.median, "percentile", LEVEL)
    return Interval(_known(low), middle, high)


def resampled_interval(seeds: int, lowest: OfSeeds, highest: OfSeeds) -> Interval:
    """A statistic of all seeds together, with an expanded percentile interval over seeds.

    lowest, highest: bounds of the statistic for resamples. They are equal unless the statistic is
    censored: then `lowest` is -inf. The middle and the low end are None if they are unknown; `high`
    is then an upper bound. BCa is not used, because its acceleration cannot be computed from
    unknown values. With one seed there is no interval.
    """
    middle = _known(float(_finite(lowest, np.arange(seeds))))
    if seeds < 2:
        return Interval(None, middle, None)
    rows, level = np.arange(seeds), _expanded_level(seeds)
    low, _ = _ends(rows, lambda each, axis: _finite(lowest, each), "percentile", level)
    _, high = _ends(rows, lambda each, axis: _finite(highest, each), "percentile", level)
    return Interval(_known(low), middle, high)


def _finite(statistic: OfSeeds, rows: IntArray) -> FloatArray:
    """The statistic of resamples [...,n], with `_UNKNOWN` instead of -inf."""
    flat = statistic(rows.reshape(-1, rows.shape[-1]))
    return np.maximum(flat, _UNKNOWN).reshape(rows.shape[:-1])


def _known(value: float) -> float | None:
    """The number, or None if it was computed from `_UNKNOWN`."""
    return None if value < _UNKNOWN / 1e6 else value


def _expanded_level(n: int) -> float:
    """The bootstrap level for n seeds, whose normal quantiles match those of Student's t.

    Each tail is Phi(-sqrt(n / (n - 1)) * t(0.975, n - 1)) (Hesterberg 2015), but at least half of
    1 / RESAMPLES. For fewer than 4 seeds, the interval is therefore the range of the seeds.
    """
    reach = math.sqrt(n / (n - 1)) * float(stats.t.ppf((1 + LEVEL) / 2, n - 1))
    return 1 - max(2 * float(stats.norm.cdf(-reach)), 1 / RESAMPLES)


def _bootstrap(
    values: FloatArray, statistic: Any, method: Any, level: float
) -> tuple[float, float]:
    """The ends of a bootstrap interval. If all values are equal, its width is 0."""
    if np.ptp(values) <= EQUAL:
        return float(values.min()), float(values.max())
    low, high = _ends(values, statistic, method, level)
    if not (math.isfinite(low) and math.isfinite(high)):
        return _ends(values, statistic, "percentile", level)
    return low, high


def _ends(data: Any, statistic: Any, method: Any, level: float) -> tuple[float, float]:
    """The ends of scipy's bootstrap interval; NaN if BCa has too few different values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            (data,),
            statistic,
            n_resamples=RESAMPLES,
            vectorized=True,
            confidence_level=level,
            method=method,
            random_state=np.random.default_rng(SEED),
        ).confidence_interval
    return float(found.low), float(found.high)


def paired_p(differences: Sequence[float]) -> float:
    """The two-sided p of paired differences, by a sign-flip test of their mean.

    Up to 13 seeds, all patterns of signs are tried; with more seeds, 9,999 random patterns. With
    one seed p is 1, because both patterns are equally far from 0.
    """
    found = np.asarray(differences, np.float64)
    if len(found) < 2 or not found.any():
        return 1.0
    test = stats.permutation_test(
        (found,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        random_state=np.random.default_rng(SEED),
    )
    return float(test.pvalue)


def smallest_p(n: int, tests: int = 1) -> float:
    """The smallest p of `paired_p` for n seeds, after Holm's correction for `tests` tests."""
    return min(1.0, tests * max(2.0 ** (1 - n), 2 / (RESAMPLES + 1)))


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction of the p of several tests, by name (Holm 1979).

    The k-th smallest of m is multiplied by m - k + 1. Corrected values never fall as k rises.
    """
    corrected: dict[str, float] = {}
    highest = 0.0
    for place, name in enumerate(sorted(p, key=lambda each: p[each])):
        highest = max(highest, min(1.0, (len(p) - place) * p[name]))
        corrected[name] = highest
    return corrected

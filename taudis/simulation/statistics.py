"""Intervals over seeds, paired tests and Holm's correction.

docs/comparing.md says why these, and measures how often the intervals cover. n: number of seeds.
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
"""Of the resamples: the same rows always give the same interval."""
EQUAL = 1e-9
"""Values so near each other are equal: differences of the same numbers are rounded."""
_UNKNOWN = -1e12
"""Stands for a value without a lower bound among the numbers that are resampled."""
OfSeeds = Callable[[IntArray], FloatArray]
"""A statistic of resamples: rows of seeds [R,n] to [R]."""


@dataclass(frozen=True)
class Interval:
    """An estimate with the 95 % interval around it; None where the rows do not tell."""

    low: float | None
    middle: float | None
    high: float | None

    def to_list(self) -> list[float | None]:
        """The three numbers, rounded to 4 decimals."""
        return [
            None if each is None else round(each, 4) for each in (self.low, self.middle, self.high)
        ]


def mean_interval(values: Sequence[float]) -> Interval:
    """The mean of one value a seed, with a BCa interval at the level that fits so few seeds.

    Plain bootstrap intervals of a mean are too narrow for few seeds (five: 83 % instead of 95 %).
    The quantiles are therefore those of Hesterberg (2015)'s expanded interval.
    One seed: no interval.
    """
    found = np.asarray(values, np.float64)
    middle = float(found.mean())
    if len(found) < 2:
        return Interval(None, middle, None)
    low, high = _bootstrap(found, np.mean, "BCa", _expanded_level(len(found)))
    return Interval(low, middle, high)


def median_interval(values: Sequence[float], at_most: Sequence[bool]) -> Interval:
    """The median of one value a seed, with a percentile interval over seeds.

    at_most: which values are only known to be at most so high (censored). An end of the interval,
    or the median, is None where it rests on such a value from above only; `high` is then an upper
    bound. BCa does not apply: its acceleration is a jackknife, which fails for a median. One seed:
    no interval.
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

    lowest, highest: the statistic of resamples, rows of seeds [R,n] to [R]; they differ where it is
    only known to be at most `highest` (censored: `lowest` is -inf). The middle and the low end are
    None where they are not known; `high` is then an upper bound. BCa does not apply: a jackknife
    value that is not known has no acceleration. One seed: no interval.
    """
    middle = _known(float(_finite(lowest, np.arange(seeds))))
    if seeds < 2:
        return Interval(None, middle, None)
    rows, level = np.arange(seeds), _expanded_level(seeds)
    low, _ = _ends(rows, lambda each, axis: _finite(lowest, each), "percentile", level)
    _, high = _ends(rows, lambda each, axis: _finite(highest, each), "percentile", level)
    return Interval(_known(low), middle, high)


def _finite(statistic: OfSeeds, rows: IntArray) -> FloatArray:
    """The statistic of resamples [...,n], a finite number also where it is not known."""
    flat = statistic(rows.reshape(-1, rows.shape[-1]))
    return np.maximum(flat, _UNKNOWN).reshape(rows.shape[:-1])


def _known(value: float) -> float | None:
    """None for a number that rests on a value without a lower bound."""
    return None if value < _UNKNOWN / 1e6 else value


def _expanded_level(n: int) -> float:
    """The level whose normal quantiles are as far out as Student's t on n seeds.

    Hesterberg (2015): tails of Phi(-sqrt(n / (n - 1)) * t(0.975, n - 1)), here at least as large as
    the resamples can tell (below 4 seeds they cannot: the interval is the range of the seeds).
    """
    reach = math.sqrt(n / (n - 1)) * float(stats.t.ppf((1 + LEVEL) / 2, n - 1))
    return 1 - max(2 * float(stats.norm.cdf(-reach)), 1 / RESAMPLES)


def _bootstrap(
    values: FloatArray, statistic: Any, method: Any, level: float
) -> tuple[float, float]:
    """The ends of a bootstrap interval; equal values give an interval of no width."""
    if np.ptp(values) <= EQUAL:
        return float(values.min()), float(values.max())
    low, high = _ends(values, statistic, method, level)
    if not (math.isfinite(low) and math.isfinite(high)):
        return _ends(values, statistic, "percentile", level)
    return low, high


def _ends(data: Any, statistic: Any, method: Any, level: float) -> tuple[float, float]:
    """The ends of scipy's bootstrap interval; NaN where BCa has too few different values."""
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
    """The two-sided p of paired differences by a sign-flip test of their mean.

    Every pattern of signs is tried up to 13 seeds, 9,999 random ones beyond. One seed: 1, since
    both of its patterns are as far from 0.
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
    """The smallest p that `paired_p` can give for n seeds, after Holm's correction for `tests`."""
    return min(1.0, tests * max(2.0 ** (1 - n), 2 / (RESAMPLES + 1)))


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction of the p of several tests, by name (Holm 1979).

    The k-th smallest of m is multiplied by m - k + 1; no corrected p is below one before it.
    """
    corrected: dict[str, float] = {}
    highest = 0.0
    for place, name in enumerate(sorted(p, key=lambda each: p[each])):
        highest = max(highest, min(1.0, (len(p) - place) * p[name]))
        corrected[name] = highest
    return corrected

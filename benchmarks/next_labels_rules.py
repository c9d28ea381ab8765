"""The predictions of the gain of the next labels that `benchmarks.next_labels` compares."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
from scipy import optimize, stats

from taudis.evaluation.next_labels import SHAPES, CurveSoFar, Expected, Shapes, expected_gain
from taudis.types import FloatArray

Rule = Callable[[CurveSoFar, int], Expected]
NO_INTERVAL = (math.nan, math.nan)


def last_step(curve: CurveSoFar, more: int) -> Expected:
    """The gain of the last labels, with an interval from the standard deviation of the steps."""
    rises = np.diff(curve.images)
    share = more / rises[-1]
    gain = float(curve.gains[-1] * share)
    steps = len(curve.gains)
    if steps < 2:
        return Expected(more, steps + 1, gain, NO_INTERVAL, NO_INTERVAL, math.nan, "too few")
    spread = float((curve.gains / rises * rises[-1]).std(ddof=1)) * share
    reach = float(stats.t.ppf(0.975, steps - 1)) * spread
    around = (gain - reach, gain + reach)
    return Expected(more, steps + 1, gain, around, around, math.nan)


def least_squares(curve: CurveSoFar, more: int) -> Expected:
    """An inverse power law by least squares, with weights that grow with the labels.

    This is the method of Figueroa et al. 2012, with an interval by the delta method. It needs four
    models; the steps are summed to a curve.
    """
    models = len(curve.images)
    nothing = Expected(more, models, math.nan, NO_INTERVAL, NO_INTERVAL, math.nan, "too few")
    ratio = curve.images / curve.images[-1]
    height = np.append(0.0, np.cumsum(curve.gains)) + curve.level - curve.gains.sum()
    fitted = _fit(ratio, height) if models >= 4 else None
    if fitted is None:
        return nothing
    best, covariance = fitted
    ahead = 1 + more / curve.images[-1]

    def gain(at: FloatArray) -> float:
        return float(_power_law(ahead, *at) - _power_law(1.0, *at))

    slope = optimize.approx_fprime(best, gain, 1e-6)
    spread = math.sqrt(max(float(slope @ covariance @ slope), 0.0))
    if not math.isfinite(spread):
        return nothing
    left = height - _power_law(ratio, *best)
    noise = math.sqrt(float(left @ left) / (models - 3))
    middle, reach = gain(best), float(stats.t.ppf(0.975, models - 3))
    inner, outer = (
        (middle - reach * each, middle + reach * each)
        for each in (spread, math.hypot(spread, math.sqrt(2) * noise))
    )
    return Expected(more, models, middle, inner, outer, noise)


def _fit(ratio: FloatArray, height: FloatArray) -> tuple[FloatArray, FloatArray] | None:
    """(a, b and c of the power law, their covariance); None if the fit fails."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            best, covariance = optimize.curve_fit(
                _power_law,
                ratio,
                height,
                p0=(min(1.0, height[-1] + 0.1), 0.1, 0.5),
                sigma=np.sqrt(1 / ratio),
                bounds=((0, 0, 0.01), (1, 10, 3)),
            )
        except (RuntimeError, ValueError):
            return None
    return best, covariance


def _power_law(ratio: FloatArray | float, a: float, b: float, c: float) -> FloatArray:
    found: FloatArray = a - b * np.power(ratio, -c)
    return found


def posterior(shapes: Shapes) -> Rule:
    """The product's prediction with these shapes."""
    return lambda curve, more: expected_gain(curve, more, shapes)


RULES: dict[str, Rule] = {
    "last step": last_step,
    "least squares": least_squares,
    "without bends": posterior(Shapes(SHAPES.exponents, np.zeros(1))),
    "logarithm": posterior(Shapes(np.zeros(1), SHAPES.bends)),
    "never falling": posterior(Shapes(SHAPES.exponents, SHAPES.bends, falling=False)),
    "now": expected_gain,
}
"""Name -> prediction. "now" is the product's; the three before it differ from it in one point."""

"""The expected gain in mAP50 of the next labels, from the learning curve so far.

P models, E measured steps. A step is the difference in mAP50 of two models on the same validation
images. mAP50s on different validation sets are never compared, so the validation set may grow.

The curve is f(n) = y + s g(n / N) + h(n), with g(r) = (1 - r^-c) / c and N the newest model's
number of labelled images. Without h it is an inverse power law, a - b n^-c with a = y + s / c:
the usual model (Figueroa et al. 2012, doi 10.1186/1472-6947-12-8). c = 0 is the logarithm,
y + s ln(n / N), and c = -1 a straight line. Mahmood et al. 2022 (arXiv 2207.01725) compare such
families. s is the gain for each factor e of labels at N.

No family fits all learning curves (Viering and Loog 2023, arXiv 2103.10948). So h bends the curve.
It is 0 at N, and its slope over ln n is a random walk from N in both directions, with standard
deviation q per unit of ln n. So models far from N tell little about the slope at N.

A model's mAP50 differs from f by normal noise of standard deviation t, from the training and from
the choice of labelled images. Two steps with a model in common share the noise of this model. They
also share the validation error that is common to their validation sets, one of which includes the
other.

The result is the posterior of s, c, q and t on a grid. Domhan et al. (IJCAI 2015) sample a similar
posterior. docs/when_to_stop.md has the measured coverage of the intervals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from taudis.errors import DataError
from taudis.types import FloatArray, IntArray

LEAST = 3
"""Least number of models. Two give a slope; only a third shows the noise between trainings."""
FARTHEST = 1.0
"""Most new labels per existing label. The intervals have not been checked beyond."""
WIDEST = 0.2
"""Largest width of a useful interval, mAP50."""
SHARE = 0.95
"""Probability that an interval contains the gain."""
SLOPE = 0.2
"""Scale of the Cauchy prior of s, mAP50: with probability 1/2, |s| is below this."""
STEEPEST = 2.0
"""Largest s, mAP50."""
SLACK = 0.1
"""The curve stays within -SLACK..1 + SLACK, mAP50. The slack is for the error of its level."""
NOISES = np.geomspace(0.004, 0.1, 8)
"""Values of t, mAP50."""
USUAL_NOISE, NOISE_FACTOR = 0.015, 2.5
"""The prior of ln t is normal, with mean ln USUAL_NOISE and standard deviation ln NOISE_FACTOR."""
BENDS = np.array([0.03, 0.1, 0.3, 1.0])
"""Values of q, mAP50. 0 is not among them: for many models the intervals would be too narrow."""
SLOPES = 121
"""Number of values of s above 0, and of values below 0."""
DRAWS = 2000
"""Number of draws from the posterior; they are spaced evenly in probability, not random."""
NORMAL = np.array([NormalDist().inv_cdf((row + 0.5) / DRAWS) for row in range(DRAWS)])
"""DRAWS values of a standard normal variable, spaced evenly in probability."""


@dataclass(frozen=True)
class Shapes:
    """The prior of the shape of a curve."""

    exponents: FloatArray  # values of c, all equally likely
    bends: FloatArray  # values of q, all equally likely
    falling: bool = True  # whether s may be negative: more labels lower mAP50


SHAPES = Shapes(np.linspace(-1.0, 2.0, 9), BENDS)


@dataclass(frozen=True, eq=False)
class CurveSoFar:
    """The measured steps of a learning curve.

    Raises DataError if the arrays do not fit each other or have impossible values.
    """

    images: FloatArray  # [P] labelled images of each model, above 0; the newest model is last
    level: float  # mAP50 of the newest model, 0..1
    before: IntArray  # [E] row of the first model of each step
    after: IntArray  # [E] row of the second
    gains: FloatArray  # [E] mAP50 of the second minus that of the first, on the same images
    errors: FloatArray  # [E] standard error of each gain over validation images; 0: part of t

    def __post_init__(self) -> None:
        models, steps = len(self.images), {len(self.before), len(self.after), len(self.gains)}
        if steps != {len(self.errors)}:
            raise DataError(f"Expected as many gains and errors as steps, got {sorted(steps)}.")
        rows = np.concatenate([self.before, self.after])
        if ((rows < 0) | (rows >= models)).any() or (self.before == self.after).any():
            raise DataError(f"Expected steps between two of {models} models, got {rows.tolist()}.")
        numbers = np.concatenate([self.images, self.gains, self.errors, [self.level]])
        if not np.isfinite(numbers).all() or (self.images <= 0).any() or (self.errors < 0).any():
            raise DataError(
                "Expected finite numbers, images above 0 and errors from 0 on, got"
                f" {numbers.tolist()}."
            )

    @classmethod
    def of_levels(
        cls, images: Sequence[float], map50: Sequence[float], error: float = 0.0
    ) -> CurveSoFar:
        """A curve of models that were all evaluated on the same images.

        Args:
            images: number of labelled images of each model [P], in the order of training.
            map50: mAP50 of each model [P].
            error: standard error, over test images, of the difference between two models.
        """
        if len(images) != len(map50) or not len(images):
            raise DataError(
                f"Expected an mAP50 for each of one or more numbers of images, got {len(map50)}"
                f" for {len(images)}."
            )
        rows = np.arange(len(images))
        gains = np.diff(np.asarray(map50, float))
        errors = np.full(len(gains), error)
        level = float(map50[-1])
        return cls(np.asarray(images, float), level, rows[:-1], rows[1:], gains, errors)


@dataclass(frozen=True)
class Expected:
    """The expected gain of `more` labelled images, in mAP50; NaN if `reason` is set."""

    more: int  # labelled images beyond those of the newest model
    models: int  # number of models in the curve
    gain: float  # mean gain of the curve, without the noise of trainings
    interval: tuple[float, float]  # contains the gain of the curve with probability SHARE
    measured: tuple[float, float]  # same for the measured difference of next and newest model
    noise: float  # standard deviation between trainings, posterior mean
    reason: str = ""  # why there is no useful prediction and what it needs; '' if there is one


def expected_gain(curve: CurveSoFar, more: int, shapes: Shapes = SHAPES) -> Expected:
    """The expected gain of the next `more` labelled images.

    Raises:
        DataError: `more` is below 1.
    """
    if more < 1:
        raise DataError(f"Expected 1 or more further labelled images, got {more}.")
    reason = _not_enough(curve, more)
    if reason:
        nothing = (math.nan, math.nan)
        return Expected(more, len(curve.images), math.nan, nothing, nothing, math.nan, reason)
    gains, measured, noise = _Grid.of(curve, more, shapes).draws()
    interval = shortest(gains)
    return Expected(
        more,
        len(curve.images),
        float(gains.mean()),
        interval,
        shortest(measured),
        noise,
        _too_wide(curve, interval, noise),
    )


def _not_enough(curve: CurveSoFar, more: int) -> str:
    """The reason why the curve is too short for a prediction; '' if it is not."""
    models = len(curve.images)
    if models < LEAST or len(curve.gains) < LEAST - 1:
        wanted = LEAST - min(models, len(curve.gains) + 1)
        return (
            f"expected {LEAST} or more evaluated trainings that were compared with the one before,"
            f" got {LEAST - wanted}: {wanted} more round{'s' if wanted > 1 else ''} that train"
            f"{'' if wanted > 1 else 's'} will do"
        )
    if len(np.unique(curve.images)) < 2:
        return "all trainings had equally many labels: label more images, then train again"
    newest = int(curve.images[-1])
    if more > FARTHEST * newest:
        return f"{more} more labels are too far ahead of {newest}: ask for {newest} at most"
    return ""


def _too_wide(curve: CurveSoFar, interval: tuple[float, float], noise: float) -> str:
    """The reason why the interval is too wide, and what narrows it; '' if it is narrow enough."""
    low, high = interval
    if high - low <= WIDEST:
        return ""
    if float(np.median(curve.errors)) > math.sqrt(2) * noise:
        needed = "label more validation images, or raise VALIDATION_FRACTION"
    else:
        needed = "more rounds narrow it"
    return f"the interval, {low:+.3f} to {high:+.3f}, is wider than {WIDEST}: {needed}"


@dataclass(frozen=True, eq=False)
class _Grid:
    """The posterior on a grid: K pairs of q and t, C exponents, S slopes."""

    curve: CurveSoFar
    ahead: float  # labelled images of the next model / those of the newest model
    bends: FloatArray  # [K] q
    noises: FloatArray  # [K] t
    reach: FloatArray  # [C] gain of a curve of slope 1 until the next model
    rises: FloatArray  # [C,E] gain of this curve in each step
    slopes: FloatArray  # [C,S] s

    @classmethod
    def of(cls, curve: CurveSoFar, more: int, shapes: Shapes) -> _Grid:
        """The grid for a curve."""
        ahead = 1 + more / curve.images[-1]
        ratio = np.append(curve.images / curve.images[-1], ahead)
        heights = np.array([growth(ratio, c) for c in shapes.exponents])  # [C,P+1]
        bends, noises = (each.ravel() for each in np.meshgrid(shapes.bends, NOISES))
        rises = heights[:, curve.after] - heights[:, curve.before]
        fall = np.maximum(-heights[:, :-1].min(axis=1), 0)
        slopes = _slopes(curve.level, fall, heights[:, -1], falling=shapes.falling)
        return cls(curve, ahead, bends, noises, heights[:, -1], rises, slopes)

    def draws(self) -> tuple[FloatArray, FloatArray, float]:
        """Draws [DRAWS] of the curve's gain and of the measured gain, and the mean of t."""
        covariance, with_next, of_next = _covariance(self.curve, self.bends, self.noises)
        inverse = np.linalg.inv(covariance)
        shares = self._shares(inverse, np.linalg.slogdet(covariance)[1])
        rows = np.searchsorted(np.cumsum(shares.ravel()), (np.arange(DRAWS) + 0.5) / DRAWS)
        k, c, s = np.unravel_index(np.minimum(rows, shares.size - 1), shares.shape)
        normal = np.random.default_rng(0).permutation(NORMAL)
        bent = self.bends * math.sqrt(math.log(self.ahead) ** 3 / 3)  # standard deviation of h
        gains = self.slopes[c, s] * self.reach[c] + bent[k] * normal
        # The expected noise of the newest model, given the steps so far.
        weights = np.einsum("kef,kf->ke", inverse, with_next)
        luck = (weights @ self.curve.gains)[k] - self.slopes[c, s] * (weights @ self.rises.T)[k, c]
        spread = np.sqrt(np.maximum(of_next + bent**2 - (weights * with_next).sum(axis=1), 0))
        measured = self.slopes[c, s] * self.reach[c] + luck + spread[k] * normal
        return gains, measured, float(shares.sum(axis=(1, 2)) @ self.noises)

    def _shares(self, inverse: FloatArray, log_determinant: FloatArray) -> FloatArray:
        """The probability [K,C,S] of each point of the grid. inverse: of the covariance [K,E,E]."""
        gains, rises, slopes = self.curve.gains, self.rises, self.slopes
        known = inverse @ gains  # [K,E]
        of_slope = np.einsum("ce,kef,cf->kc", rises, inverse, rises)
        # (gains - s rises)' inverse (gains - s rises)
        misfit = (
            (known @ gains)[:, None, None]
            - 2 * (known @ rises.T)[:, :, None] * slopes
            + of_slope[:, :, None] * slopes**2
        )
        unlikely = (np.log(self.noises / USUAL_NOISE) / math.log(NOISE_FACTOR)) ** 2
        logs = np.log(_slope_prior(slopes)) - 0.5 * (
            misfit + (unlikely + log_determinant)[:, None, None]
        )
        shares: FloatArray = np.exp(logs - logs.max())
        shares /= shares.sum()
        return shares


def growth(ratio: FloatArray, exponent: float) -> FloatArray:
    """g(r) = (1 - r^-c) / c: the gain from 1 to each ratio r, of a curve with slope 1 at r = 1."""
    if abs(exponent) < 1e-9:
        logarithm: FloatArray = np.log(ratio)
        return logarithm
    risen: FloatArray = (1 - ratio**-exponent) / exponent
    return risen


def _slopes(level: float, fall: FloatArray, reach: FloatArray, *, falling: bool) -> FloatArray:
    """The slopes [C,S] of each exponent's grid, denser near 0.

    They are limited so that a rising curve stays in -SLACK..1 + SLACK. Falling curves have the same
    limits. fall, reach: [C] for a curve of slope 1, how much lower it is at the first model, and
    how much higher at the next model, than at the newest.
    """
    top = np.minimum(STEEPEST, (level + SLACK) / np.maximum(fall, 1e-12))
    top = np.minimum(top, (1 - level + SLACK) / reach)
    grid = ((np.arange(SLOPES) + 0.5) / SLOPES) ** 3
    if falling:
        grid = np.concatenate([-grid[::-1], grid])
    slopes: FloatArray = top[:, None] * grid
    return slopes


def _slope_prior(slopes: FloatArray) -> FloatArray:
    """The Cauchy prior [C,S] of each cell of the grid; the sum is 1 for each exponent.

    Its long tails allow steep curves if the steps show them.
    """
    prior: FloatArray = np.gradient(slopes, axis=1) / (1 + (slopes / SLOPE) ** 2)
    prior /= prior.sum(axis=1, keepdims=True)
    return prior


def _covariance(
    curve: CurveSoFar, bends: FloatArray, noises: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Covariance of the steps [K,E,E], theirs with the next step [K,E], and its variance [K].

    The next step goes from the newest model to a new one, and has the error of the newest step. Its
    variance does not include the bend of the curve between these two models.
    """
    steps = len(curve.gains)
    signs = np.zeros((steps + 1, len(curve.images) + 1))
    signs[np.arange(steps), curve.before] = -1
    signs[np.arange(steps), curve.after] = 1
    signs[steps, [-2, -1]] = -1, 1
    errors = np.append(curve.errors, curve.errors[-1])
    # Each of the two models of a step has half of the variance of its error.
    shared = np.minimum.outer(errors, errors) ** 2 / 2
    apart = np.log(curve.images / curve.images[-1])
    near, far = (each(np.abs(apart)[:, None], np.abs(apart)) for each in (np.minimum, np.maximum))
    bent = np.zeros((len(signs[0]),) * 2)
    bent[:-1, :-1] = near**2 * (3 * far - near) / 6 * (np.multiply.outer(apart, apart) > 0)
    whole = (signs @ signs.T) * (noises[:, None, None] ** 2 + shared)
    whole = whole + bends[:, None, None] ** 2 * (signs @ bent @ signs.T)
    return whole[:, :steps, :steps], whole[:, :steps, steps], whole[:, steps, steps]


def shortest(draws: FloatArray, share: float = SHARE) -> tuple[float, float]:
    """The shortest interval that contains a share of the draws."""
    ordered = np.sort(draws)
    inside = min(len(ordered) - 1, math.ceil(share * len(ordered)))
    start = int(np.argmin(ordered[inside:] - ordered[: len(ordered) - inside]))
    return float(ordered[start]), float(ordered[start + inside])

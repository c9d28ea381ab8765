"""The geometry of curves in inline SVG, in units of the view box. The template draws them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 420, 230
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 12, 40  # margins


@dataclass(frozen=True)
class Tick:
    """A tick of an axis: its position in the view box, and its text."""

    at: float
    text: str


@dataclass(frozen=True)
class Dot:
    """A point of a curve, with the ends of its interval (None if unknown)."""

    x: float
    y: float
    low: float | None
    high: float | None
    kind: str  # class of the style sheet
    words: str


@dataclass(frozen=True)
class Chart:
    """A curve. `words` describes it for people who cannot see it."""

    title: str
    words: str
    x_label: str
    y_label: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    line: str  # points of the polyline
    dots: Sequence[Dot] = ()
    limit: float | None = None  # height of a horizontal line
    limit_words: str = ""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


@dataclass(frozen=True)
class Scale:
    """Maps values from `low`..`high` to `start`..`end` of the view box."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The position of a value, rounded to a tenth of a unit."""
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, values: Sequence[float]) -> list[Tick]:
        """Ticks at these values."""
        return [Tick(self(value), f"{value:g}") for value in values]


def horizontal(low: float, high: float) -> Scale:
    """A scale from left to right."""
    return Scale(low, high, LEFT, WIDTH - RIGHT)


def vertical(low: float, high: float) -> Scale:
    """A scale from bottom to top."""
    return Scale(low, high, HEIGHT - BOTTOM, TOP)


def round_numbers(low: float, high: float, wanted: int = 5) -> list[float]:
    """About `wanted` round numbers between `low` and `high`: multiples of 1, 2 or 5 times 10^n."""
    if not high > low:
        return [low]
    rough = (high - low) / max(1, wanted - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * min((1, 2, 5, 10), key=lambda m: abs(math.log(power * m / rough)))
    first = math.ceil(low / step - 1e-9)
    count = math.floor(high / step + 1e-9) - first + 1
    return [round((first + i) * step, 10) for i in range(count)]


def upper_end(value: float) -> float:
    """The end of an axis for shares: the next tenth above a value in 0..1, at least 0.2."""
    return min(1.0, max(0.2, math.ceil(value * 10 + 1e-9) / 10))


def polyline(points: Sequence[tuple[float, float]]) -> str:
    """The value of the SVG attribute `points`."""
    return " ".join(f"{x:g},{y:g}" for x, y in points)

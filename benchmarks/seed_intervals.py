"""Measures the statistics of `python -m taudis compare` on made-up results whose truth is known.

    .venv/bin/python -m benchmarks.seed_intervals [--repeats 1000]

`coverage`: how often intervals over a few seeds contain the true mean or median. `studies`: made-up
studies of two strategies. A strategy that truly saves a share of the labels reaches every mAP50
with that share fewer labels than the reference. Each trained model adds independent normal noise,
and each seed a shift that is common to both strategies. Two numbers are of the mean curves, and of
the median of seeds. Prints rows as JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import numpy as np
from scipy import stats

from taudis.simulation.comparison import labels_saved, share_saved
from taudis.simulation.curves import AXES, Curve
from taudis.simulation.statistics import mean_interval, median_interval, paired_p
from taudis.types import FloatArray

SEED_IMAGES, BUDGET, ROUNDS = 16, 32, 4
LOW, RISE, SCALE = 0.12, 0.4, 70.0
"""mAP50 of the seed set; gain of all labels; number of images that gives 63 % of this gain."""
SHIFT = 0.03
"""Standard deviation over seeds of the common shift of both strategies, mAP50."""
DISTRIBUTIONS: dict[str, tuple[Callable[[np.random.Generator, int], FloatArray], float, float]] = {
    "normal": (lambda rng, n: rng.normal(size=n), 0.0, 0.0),
    "exponential": (lambda rng, n: rng.exponential(size=n), 1.0, float(np.log(2))),
}
"""Name -> (a function that draws n values, true mean, true median)."""


def coverage(seeds: int, name: str, repeats: int) -> dict[str, object]:
    """The coverage of the intervals of `compare`, and of a plain BCa interval of the mean."""
    draw, mean, median = DISTRIBUTIONS[name]
    rng = np.random.default_rng(seeds)
    held = np.zeros(3)
    for _ in range(repeats):
        values = draw(rng, seeds).tolist()
        one, other = mean_interval(values), median_interval(values, [False] * seeds)
        plain = stats.bootstrap(
            (values,), np.mean, random_state=np.random.default_rng(0)
        ).confidence_interval
        held += (
            plain.low <= mean <= plain.high,
            one.low <= mean <= one.high,
            other.low <= median <= other.high,
        )
    return {
        "seeds": seeds,
        "values": name,
        "mean_plain_bca": round(held[0] / repeats, 3),
        "mean": round(held[1] / repeats, 3),
        "median": round(held[2] / repeats, 3),
    }


def curve(saved: float, noise: FloatArray) -> Curve:
    """The curve of a strategy that saves a share of labels, with noise [P]."""
    images = SEED_IMAGES + BUDGET * np.arange(ROUNDS + 1.0)
    rise = RISE * (1 - np.exp(-(images - SEED_IMAGES) / (1 - saved) / SCALE))
    return Curve(LOW + rise + noise, dict.fromkeys(AXES, images))


# long: one loop gathers all figures of a row
def study(saved: float, noise: float, seeds: int, repeats: int) -> dict[str, object]:
    """The results of `compare` in studies of a strategy that truly saves a share."""
    rng = np.random.default_rng(round(1000 * (saved + noise)) + seeds)
    still = np.zeros(ROUNDS + 1)
    true = share_saved(curve(saved, still), curve(0.0, still), "images")[0]
    middles: tuple[list[float], list[float]] = [], []
    held, above = np.zeros(2), np.zeros(2)
    censored, area_above, area_below, small = 0, 0, 0, 0
    for _ in range(repeats):
        curves, reference, more = [], [], []
        for _ in range(seeds):
            shift, first = rng.normal(0, SHIFT), rng.normal(0, noise)
            runs = rng.normal(0, noise, (2, ROUNDS))
            one, other = (
                curve(share, shift + np.concatenate([[first], run]))
                for share, run in zip((saved, 0.0), runs, strict=True)
            )
            curves.append(one)
            reference.append(other)
            end = float(one.labels["images"][-1])
            more.append(one.area("images", end) - other.area("images", end))
        found = labels_saved(curves, reference, "images")
        censored += found.not_reached
        for place, interval in enumerate((found.interval, found.by_seed)):
            middles[place].append(np.nan if interval.middle is None else interval.middle)
            low = -np.inf if interval.low is None else interval.low
            held[place] += low <= true <= interval.high
            above[place] += low > 0
        area = mean_interval(more)
        area_above += area.low > 0
        area_below += area.high < 0
        small += paired_p(more) <= 0.0626
    return {
        "true": round(true, 3),
        "noise": noise,
        "seeds": seeds,
        "saved": [round(float(np.nanmedian(each)), 3) for each in middles],
        "saved_unknown": [round(float(np.isnan(each).mean()), 3) for each in middles],
        "censored_seeds": round(censored / repeats / seeds, 3),
        "held": (held / repeats).round(3).tolist(),
        "above_0": (above / repeats).round(3).tolist(),
        "area_above_0": round(area_above / repeats, 3),
        "area_below_0": round(area_below / repeats, 3),
        "p_below_0.0626": round(small / repeats, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=1000)
    repeats = parser.parse_args().repeats
    rows = [coverage(n, name, repeats) for name in DISTRIBUTIONS for n in (3, 5, 6, 8, 10)]
    studies = [
        study(saved, noise, seeds, repeats)
        for saved in (0.0, 0.3, 0.5)
        for noise in (0.01, 0.03)
        for seeds in (5, 10)
    ]
    print(json.dumps({"coverage": rows, "studies": studies}))


if __name__ == "__main__":
    main()

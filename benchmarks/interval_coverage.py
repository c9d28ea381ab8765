"""Measures the coverage of the interval of mAP50, and the errors of the promotion gate.

    OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.interval_coverage
        [--tables .cache/benchmarks/matches] [--trials 200] [--rows ROWS]

The mAP50 of a large set of images with a model's matches (`benchmarks.match_tables`) is the known
truth. Small validation sets are drawn from it with replacement, and the product's code
(`taudis.evaluation.resampling`) makes the interval of each. `rule` "now" is this code, "before" an
earlier version; the other rules were tried (`intervals`). Gate rows compare two models, which
`losing` makes from the same table, so that the true difference is known. Tables are the files of
--tables (REAL), and made-up tables. Rows are appended to ROWS at once; the last line of the output
is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.match_tables import Table, drawn, frequent, load, losing, made_up
from taudis.evaluation import resampling
from taudis.evaluation.metrics import RESAMPLES
from taudis.evaluation.resampling import average_precisions, difference_interval, map50_interval
from taudis.types import FloatArray

ROOT = Path(__file__).resolve().parents[1]
TABLES = ROOT / ".cache" / "benchmarks" / "matches"
ROWS = ROOT / "benchmarks" / "rows" / "interval_coverage.jsonl"
IMAGES = (20, 50, 100, 200)
REAL = {"tools_bench": (1, 4, 12), "facades": (10,), "nuclei_dsb2018": (1,)}
"""File of a table -> numbers of labels to use of it."""
DENSE = ("facades", "nuclei_dsb2018")
"""Sets with many detections: they get half of the trials, and no validation set of 200 images."""
BEFORE = 100
"""Number of resamples of the earlier version."""
LOSSES = (0.2, 0.5)
"""Share of hits that is removed for the serving model, and for a clearly worse new model."""

Interval = tuple[float, float]
Row = dict[str, Any]


def sources(folder: Path) -> Iterator[tuple[str, Table]]:
    """(name, table) of each large set: made-up tables, and the existing files in `folder`.

    Of a real set, the labels with the most objects are used.
    """
    for labels in (1, 4, 12):
        yield "made up", made_up(labels, np.zeros(1))[0]
    for name, counts in REAL.items():
        path = folder / f"{name}.npz"
        if path.is_file():
            yield from ((name, frequent(load(path), labels)) for labels in counts)


def map50(table: Table) -> float:
    """mAP50 of all images of a table."""
    return resampling.weighted_map50(table, np.ones(len(table[0].objects)))


# --- the rules ----------------------------------------------------------------------------------


def before(table: Table, seed: int) -> Interval:
    """Quantiles of the resamples; the mean of a resample is over the labels that it has."""
    found = average_precisions(table, _draws(table, seed, BEFORE))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        low, high = np.nanquantile(np.nanmean(found, axis=0), [0.025, 0.975])
    return float(low), float(high)


def _draws(table: Table, seed: int, resamples: int) -> FloatArray:
    images = len(table[0].objects)
    rng = np.random.default_rng(seed)
    return rng.multinomial(images, np.full(images, 1 / images), size=resamples).astype(np.float64)


def _stratified(table: Table, seed: int, resamples: int) -> FloatArray:
    """Resamples within groups of images whose rarest label is the same."""
    shows = np.array([label.objects > 0 for label in table])
    rare = np.where(shows, shows.sum(axis=1)[:, None], shows.shape[1] + 1)
    group = np.where(shows.any(axis=0), rare.argmin(axis=0), -1)
    rng, weights = np.random.default_rng(seed), np.zeros((resamples, shows.shape[1]))
    for each in np.unique(group):
        rows = np.flatnonzero(group == each)
        weights[:, rows] = rng.multinomial(
            len(rows), np.full(len(rows), 1 / len(rows)), size=resamples
        )
    return weights


def _means(table: Table, weights: FloatArray) -> tuple[float, FloatArray]:
    """mAP50 of the set, and of each resample, over the labels of the set."""
    found = average_precisions(table, np.concatenate([np.ones((1, weights.shape[1])), weights]))
    found = found[np.isfinite(found[:, 0])]
    filled = np.where(np.isfinite(found), found, found[:, :1]).mean(axis=0)
    return float(filled[0]), filled[1:]


def _percentile(values: FloatArray) -> Interval:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _shift(whole: float, values: FloatArray) -> float:
    """The bias of the resamples against mAP50, in standard deviations (Efron's z0)."""
    share = float((values < whole).mean() + 0.5 * (values == whole).mean())
    return float(stats.norm.ppf(np.clip(share, 0.5 / len(values), 1 - 0.5 / len(values))))


def from_resamples(table: Table, seed: int) -> dict[str, Interval]:
    """The rules that use the same resamples, over the labels of the set.

    These are quantiles; the basic bootstrap (quantiles mirrored at mAP50); BC; and BCa, whose
    acceleration is a jackknife over the images.
    """
    whole, values = _means(table, _draws(table, seed, RESAMPLES))
    low, high = _percentile(values)
    shift, reach = _shift(whole, values), stats.norm.ppf([0.025, 0.975])
    without = _means(table, 1 - np.eye(len(table[0].objects)))[1]
    off = without.mean() - without
    pace = float((off**3).sum() / (6 * max((off**2).sum(), 1e-12) ** 1.5))
    bent = shift + (shift + reach) / (1 - pace * (shift + reach))
    bc = np.quantile(values, stats.norm.cdf(2 * shift + reach))
    bca = np.quantile(values, stats.norm.cdf(bent))
    return {
        "labels kept": (low, high),
        "basic": (2 * whole - high, 2 * whole - low),
        "BC": (float(bc[0]), float(bc[1])),
        "BCa": (float(bca[0]), float(bca[1])),
    }


def stratified(table: Table, seed: int) -> Interval:
    """Quantiles of resamples within groups of images by their rarest label."""
    return _percentile(_means(table, _stratified(table, seed, RESAMPLES))[1])


def bayesian(table: Table, seed: int) -> Interval:
    """Quantiles of the Bayesian bootstrap: weights are exponential, so no image is missing."""
    rng = np.random.default_rng(seed)
    weights = np.ceil(1000 * rng.exponential(size=(RESAMPLES, len(table[0].objects))))
    return _percentile(_means(table, weights)[1])


def intervals(table: Table, seed: int) -> dict[str, Interval]:
    """The interval of every rule; "now" is the product's."""
    return {
        "before": before(table, seed),
        **from_resamples(table, seed),
        "stratified": stratified(table, seed),
        "Bayesian": bayesian(table, seed),
        "now": map50_interval(table, seed, RESAMPLES),
    }


# --- the measurements ---------------------------------------------------------------------------


def coverage(name: str, table: Table, images: int, trials: int) -> Iterator[Row]:
    """A row for each rule: the coverage of its interval, its width, and its asymmetry.

    `point_share`: relative position of mAP50 in the interval, 0.5 in the middle, median over the
    trials. `present`: coverage of the truth over the labels that are in the small set.
    """
    truths = average_precisions(table, np.ones((1, len(table[0].objects))))[:, 0]
    truth = float(np.nanmean(truths))
    rng = np.random.default_rng([images, len(table)])
    found: dict[str, list[tuple[float, ...]]] = {}
    for trial in range(trials):
        small = drawn(table, rng.integers(0, len(table[0].objects), images))
        present = [bool(label.objects.any()) for label in small]
        if any(present):
            point, of_present = map50(small), float(np.nanmean(truths[present]))
            for rule, ends in intervals(small, trial).items():
                found.setdefault(rule, []).append((*ends, point, of_present, sum(present)))
    for rule, values in found.items():
        low, high, point, of_present, labels = np.array(values).T
        yield {
            "kind": "coverage",
            "set": name,
            "labels": len(table),
            "images": images,
            "rule": rule,
            "trials": len(values),
            "truth": round(truth, 4),
            "point": round(float(point.mean()), 4),
            "labels_present": round(float(labels.mean()), 2),
            "holds": round(float(((low <= truth) & (truth <= high)).mean()), 4),
            "holds_present": round(float(((low <= of_present) & (of_present <= high)).mean()), 4),
            "truth_below": round(float((truth < low).mean()), 4),
            "truth_above": round(float((truth > high).mean()), 4),
            "width": round(float((high - low).mean()), 4),
            "point_share": round(float(np.median((point - low) / np.maximum(high - low, 1e-9))), 3),
        }


def refusals(old: Table, models: list[Table], seed: int) -> tuple[dict[str, list[bool]], float]:
    """(gate -> whether it refuses each new model, half the width of the first paired interval).

    `now` refuses a model whose paired interval is below 0.
    """
    low, mended = before(old, seed)[0], map50_interval(old, seed, RESAMPLES)[0]
    paired = [difference_interval(old, new, seed, RESAMPLES) for new in models]
    points = [map50(new) for new in models]
    found = {
        "before": [point < low for point in points],
        "below the mended interval": [point < mended for point in points],
        "now": [ends[1] < 0 for ends in paired],
    }
    return found, (paired[0][1] - paired[0][0]) / 2


# long: one loop gathers all figures of a row
def gate(name: str, table: Table, images: int, trials: int) -> Iterator[Row]:
    """A row for each gate: how often it refuses an equal model, and serves a worse model.

    `losing` makes the serving model, an equal model and a worse model from the same detections, by
    independent draws. `serving` and `worse` are their true mAP50. `reach`: the median of half the
    width of the paired interval, about the smallest drop that can be detected.
    """
    rng = np.random.default_rng([1, images, len(table)])
    true = [map50(losing(table, share, rng)) for share in LOSSES]
    refused: dict[str, list[list[bool]]] = {}
    reach = []
    for trial in range(trials):
        small = drawn(table, rng.integers(0, len(table[0].objects), images))
        old, *models = (losing(small, share, rng) for share in (LOSSES[0], *LOSSES))
        if any(label.objects.any() for label in small):
            found, half = refusals(old, models, trial)
            reach.append(half)
            for rule, answers in found.items():
                refused.setdefault(rule, []).append(answers)
    for rule, answers in refused.items():
        equal, worse = np.mean(answers, axis=0)
        yield {
            "kind": "gate",
            "set": name,
            "labels": len(table),
            "images": images,
            "rule": rule,
            "trials": len(answers),
            "serving": round(true[0], 4),
            "worse": round(true[1], 4),
            "refuses_equal": round(float(equal), 4),
            "serves_worse": round(1 - float(worse), 4),
            "reach": round(float(np.nanmedian(reach)), 4),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=Path, default=TABLES)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--rows", type=Path)
    given = parser.parse_args()
    rows: list[Row] = []
    began = time.process_time()
    for name, table in sources(given.tables):
        trials = given.trials // 2 if name in DENSE else given.trials
        for images in IMAGES[:3] if name in DENSE else IMAGES:
            made = [*coverage(name, table, images, trials), *gate(name, table, images, trials)]
            rows += made
            if given.rows:
                with given.rows.open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps(row) + "\n" for row in made)
    print(json.dumps({"rows": rows, "cpu_seconds": round(time.process_time() - began, 1)}))


if __name__ == "__main__":
    main()

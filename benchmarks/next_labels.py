"""Measures the predicted gain of the next labels, and stopping rules that use it.

    OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.next_labels [--trials 30] [--rows ROWS]
        [--lcdb database-f1.csv] [--simulate rows.jsonl ...] [--only KIND]

Kinds of rows:

    made_up   made-up curves (`next_labels_curves`), whose true gain is known
    stop      on such curves, the rule "stop when the upper end of the interval is below x"
              (`upper`), and the same rule for the expected gain (`gain`)
    real      measured curves; the truth is the next measured difference, and for curves with many
              trainings also their mean

`next_labels_rules` has the predictions. Rows are written to ROWS; the last line of the output is
JSON. benchmarks/next_labels_tables.py makes the tables of docs/when_to_stop.md from them.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.next_labels_curves import (
    BATCH,
    NOISES,
    SHAPES,
    Measured,
    Real,
    made_up,
    of_accuracy,
    of_lcdb,
    of_simulate,
)
from benchmarks.next_labels_rules import RULES, Rule
from taudis.evaluation.next_labels import CurveSoFar, Expected

FOLDER = Path(__file__).resolve().parent / "rows"
ROWS = FOLDER / "next_labels.jsonl"
MODELS = (3, 4, 6, 10, 16)
"""Numbers of models in the curve at the time of the prediction."""
ROUNDS = 24
"""Number of rounds of a curve for a stopping rule."""
WORTH = (0.005, 0.01)
"""Least gain of BATCH labels that is worth labelling, mAP50."""
LCDB_CURVES = 400
LCDB_SEED = 1
"""The settings of the rule were chosen on made-up curves and on a draw with seed 0."""

Row = dict[str, Any]


class Tally:
    """Sums over the predictions of a rule in a case."""

    def __init__(self) -> None:
        self.answered: list[tuple[float, ...]] = []
        self.asked = 0

    def add(self, found: Expected, truth: float, measured: float) -> None:
        """Count a prediction. truth: the true gain, or NaN if it is unknown."""
        self.asked += 1
        if not found.reason:
            low, high = found.interval
            least, most = found.measured
            error = found.gain - truth
            self.answered.append((
                _between(low, truth, high), _between(-np.inf, truth, low, edge=False),
                _between(high, truth, np.inf, edge=False), high - low, error, abs(error),
                _between(least, measured, most), most - least,
            ))  # fmt: skip

    def row(self) -> Row:
        """Shares and means over the predictions that were not refused."""
        names = (
            "holds", "below", "above", "width", "bias", "error", "holds_measured", "width_measured",
        )  # fmt: skip
        means = np.mean(self.answered, axis=0) if self.answered else np.full(len(names), np.nan)
        found = {name: _number(mean) for name, mean in zip(names, means, strict=True)}
        return {"asked": self.asked, "answered": len(self.answered), **found}


def _between(low: float, value: float, high: float, *, edge: bool = True) -> float:
    """1 if low <= value <= high, else 0; NaN for an unknown value."""
    if np.isnan(value):
        return float(np.nan)
    return float(low <= value <= high if edge else low < value < high)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 5)


def on_made_up(trials: int) -> Iterator[Row]:
    """The coverage of the true gain, by shape, noise, models and rule."""
    for shape in SHAPES:
        for name, noise in NOISES.items():
            tallies: dict[tuple[int, str], Tally] = defaultdict(Tally)
            rng = np.random.default_rng(7)
            for _ in range(trials):
                curve = made_up(shape, noise, max(MODELS) + 1, rng)
                for models in MODELS:
                    truth = float(curve.truth[models] - curve.truth[models - 1])
                    for rule, predict in RULES.items():
                        found = predict(curve.until(models), BATCH)
                        tallies[models, rule].add(found, truth, float(curve.gains[models - 1]))
            for (models, rule), tally in tallies.items():
                case = {"shape": shape, "noise": name, "models": models, "rule": rule}
                yield {"kind": "made_up", **case, **tally.row()}


def on_stopping(trials: int) -> Iterator[Row]:
    """The rounds in which rules stop, by shape, noise, rule and worth."""
    rules = {name: RULES[name] for name in ("last step", "never falling", "now")}
    for shape in SHAPES:
        for name, noise in NOISES.items():
            rng = np.random.default_rng(11)
            curves = [made_up(shape, noise, ROUNDS + 1, rng) for _ in range(trials)]
            for rule, predict in rules.items():
                found = [_ends(curve, predict) for curve in curves]
                case = {"kind": "stop", "shape": shape, "noise": name, "rule": rule}
                for by in ("upper", "gain"):
                    for worth in WORTH:
                        yield {
                            **case,
                            "by": by,
                            "worth": worth,
                            **_stops(curves, [each[by] for each in found], worth),
                        }


def _ends(curve: Measured, predict: Rule) -> dict[str, list[float]]:
    """The upper end and the expected gain after each round from the third on; inf if refused."""
    found = [predict(curve.until(models), BATCH) for models in range(3, ROUNDS + 1)]
    return {
        "upper": [np.inf if each.reason else each.interval[1] for each in found],
        "gain": [np.inf if each.reason else each.gain for each in found],
    }


def _stops(curves: list[Measured], values: list[list[float]], worth: float) -> Row:
    """The figures of a rule that stops at the first value below `worth`.

    A stop is too early if the next labels would have gained `worth` or more. The best round is the
    first after which BATCH labels never gain as much; `right` is its number of models. `lost`:
    mAP50 between the two rounds, for early stops. `late`: rounds after the best round, for others.
    """
    early, late, lost, never = 0, [], [], 0
    for curve, value in zip(curves, values, strict=True):
        gains = np.diff(curve.truth)[2:]  # [ROUNDS - 2] of the next labels after 3, 4 .. models
        worthy = np.flatnonzero(gains >= worth)
        best = int(worthy[-1]) + 1 if len(worthy) else 0
        below = np.flatnonzero(np.array(value) < worth)
        if not len(below):
            never += 1
        elif below[0] < best:
            early += 1
            lost.append(curve.truth[best + 2] - curve.truth[below[0] + 2])
        else:
            late.append(int(below[0]) - best)
    trials = len(curves)
    return {
        "trials": trials,
        "early": round(early / trials, 3),
        "never": round(never / trials, 3),
        "lost": round(float(np.mean(lost)), 4) if lost else None,
        "late": round(float(np.median(late)), 1) if late else None,
        "right": best + 3,
    }


def on_real(name: str, curves: Iterable[Real]) -> Iterator[Row]:
    """The coverage of the next measured difference, by number of models and rule."""
    tallies: dict[tuple[int, str], Tally] = defaultdict(Tally)
    count = 0
    for curve in curves:
        count += 1
        for models in (models for models in MODELS if models < len(curve.images)):
            more = int(curve.images[models] - curve.images[models - 1])
            measured = float(curve.map50[models] - curve.map50[models - 1])
            means = curve.mean if curve.mean is not None else np.full(len(curve.images), np.nan)
            truth = float(means[models] - means[models - 1])
            so_far = _levels(curve, models)
            for rule, predict in RULES.items():
                tallies[models, rule].add(predict(so_far, more), truth, measured)
    for (models, rule), tally in tallies.items():
        case = {"set": name, "curves": count, "models": models, "rule": rule}
        yield {"kind": "real", **case, **tally.row()}


def _levels(curve: Real, models: int) -> CurveSoFar:
    """The part of a real curve that is known after this number of models."""
    return CurveSoFar.of_levels(curve.images[:models].tolist(), curve.map50[:models].tolist())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--lcdb", type=Path, help="database-f1.csv of the package lcdb 0.1.0")
    parser.add_argument("--simulate", type=Path, nargs="*", default=[])
    parser.add_argument("--only", choices=("made_up", "stop", "real"))
    given = parser.parse_args()
    start = time.process_time()
    parts: dict[str, Any] = {
        "made_up": lambda: on_made_up(given.trials),
        "stop": lambda: on_stopping(given.trials),
        "real": lambda: _real(given.lcdb, given.simulate),
    }
    kinds = [given.only] if given.only else list(parts)
    rows = _read(given.rows) if given.rows.exists() else []
    for kind in kinds:
        found = list(parts[kind]())
        rows = replaced(rows, found)
        print(f"{kind}: {len(found)} rows", flush=True)
    given.rows.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    print(json.dumps({"rows": len(rows), "cpu_seconds": round(time.process_time() - start, 1)}))


def replaced(rows: list[Row], found: list[Row]) -> list[Row]:
    """`rows`, in which `found` replaces rows of the same kind (for real curves also set)."""
    new = {(row["kind"], row.get("set")) for row in found}
    return [row for row in rows if (row["kind"], row.get("set")) not in new] + found


def _real(lcdb: Path | None, simulate: list[Path]) -> Iterator[Row]:
    """The rows of all available real curves."""
    yield from on_real("accuracy.jsonl", of_accuracy(FOLDER / "accuracy.jsonl"))
    if lcdb is not None:
        yield from on_real("LCDB", of_lcdb(lcdb, LCDB_SEED, LCDB_CURVES))
    if simulate:
        yield from on_real("simulate", of_simulate(simulate))


def _read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    main()

"""Learning curves for `benchmarks.next_labels`: made-up ones whose truth is known, and real ones.

A made-up curve is measured as in the product: each round trains a model with independent noise, and
the set of validation images is constant or grows with the labels. Only differences on the same
images are reported, with their standard error over these images.
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from taudis.evaluation.next_labels import CurveSoFar
from taudis.simulation.result_rows import read_results
from taudis.types import FloatArray

BATCH = 16
"""Labels per round, and of the first model."""
IMAGE_SPREAD = 0.1
"""Standard deviation over images of a model's error, mAP50. Models with the paired intervals of
docs/evaluation.md ("a drop is told from") have 0.03 to 0.19."""
SHAPES: dict[str, Callable[[FloatArray], FloatArray]] = {
    "power law": lambda n: 0.75 - 0.6 * (n / 16) ** -0.5,
    "logarithm": lambda n: 0.1 + 0.1 * np.log(n / 16),
    "straight line": lambda n: 0.1 + 0.0008 * (n - 16),
    "exponential": lambda n: 0.6 - 0.5 * np.exp(-(n - 16) / 60),
    "early jump": lambda n: 0.1 + 0.35 / (1 + np.exp(-(n - 40) / 4)) + 0.02 * np.log(n / 16),
    "late rise": lambda n: 0.1 + 0.5 / (1 + np.exp(-(n - 140) / 20)),
    "two steps": lambda n: (
        0.1 + 0.2 / (1 + np.exp(-(n - 40) / 6)) + 0.2 / (1 + np.exp(-(n - 160) / 10))
    ),
    "flat": lambda n: np.full(len(n), 0.3),
    "falling": lambda n: 0.35 - 0.02 * np.log(n / 16),
}
"""mAP50 by labelled images. The fitted family of curves has the first three, not the others."""


@dataclass(frozen=True)
class Noise:
    """The errors with which a made-up curve is measured."""

    training: float  # standard deviation between trainings, mAP50
    images: int  # validation images; 0: a fifth of the labelled images, a growing number
    failing: float = 0.0  # share of trainings that end with 0.1 less mAP50


NOISES = {
    "quiet": Noise(0.01, 200),
    "loud": Noise(0.03, 200),
    "growing": Noise(0.015, 0),
    "failing": Noise(0.015, 200, failing=0.1),
}


@dataclass(frozen=True, eq=False)
class Measured:
    """A whole curve [P] with its truth."""

    images: FloatArray  # [P] labelled images
    truth: FloatArray  # [P] mAP50 without noise
    level: FloatArray  # [P] as measured on the validation images of the model's round
    gains: FloatArray  # [P-1] each model minus the one before, on the same images
    errors: FloatArray  # [P-1] standard error of each gain

    def until(self, models: int) -> CurveSoFar:
        """The part that is known after this number of models."""
        rows = np.arange(models)
        level = float(np.clip(self.level[models - 1], 0, 1))
        seen = slice(0, models - 1)
        return CurveSoFar(
            self.images[:models], level, rows[:-1], rows[1:], self.gains[seen], self.errors[seen]
        )


def made_up(shape: str, noise: Noise, models: int, rng: np.random.Generator) -> Measured:
    """A made-up curve of this number of models, BATCH labels apart."""
    images = BATCH * np.arange(1.0, models + 1)
    truth = SHAPES[shape](images)
    model = truth + rng.normal(0, noise.training, models)
    model -= 0.1 * (rng.random(models) < noise.failing)
    counts = [noise.images or max(3, round(n / 5)) for n in images]
    own = rng.normal(0, IMAGE_SPREAD, (models, max(counts)))
    hard = rng.normal(0, 0.2, max(counts))  # effect of an image on all models
    level = [model[i] + (own[i] + hard)[: counts[i]].mean() for i in range(models)]
    gains, errors = [], []
    for i in range(1, models):
        differences = (own[i] - own[i - 1])[: counts[i]]
        gains.append(model[i] - model[i - 1] + differences.mean())
        errors.append(differences.std(ddof=1) / np.sqrt(counts[i]))
    return Measured(images, truth, np.array(level), np.array(gains), np.array(errors))


@dataclass(frozen=True, eq=False)
class Real:
    """A measured curve [P] whose models were evaluated on the same images."""

    name: str
    images: FloatArray
    map50: FloatArray
    mean: FloatArray | None  # [P] mean of many trainings, close to the truth; None: only one


def of_simulate(paths: list[Path]) -> Iterator[Real]:
    """The curves of `simulate` rows, of each strategy and seed, starting with the seed set."""
    rows = read_results(paths).rows
    starts = {(row.grid, row.seed): row for row in rows if row.kind == "seed_set"}
    rounds = defaultdict(list)
    for row in rows:
        if row.kind == "round":
            rounds[row.grid, row.seed, row.strategy].append(row)
    for (grid, seed, strategy), found in rounds.items():
        start = starts.get((grid, seed))
        if start is None:
            continue
        points = [start, *sorted(found, key=lambda row: row.round or 0)]
        yield Real(
            f"{start.data}, {strategy}, seed {seed}",
            np.array([float(row.labelled_images) for row in points]),
            np.array([row.map50 for row in points]),
            None,
        )


def of_accuracy(path: Path) -> Iterator[Real]:
    """Curves in benchmarks/rows/accuracy.jsonl: models that differ only in the labels."""
    found = defaultdict(dict)
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        asked = {**row["asked"]}
        if asked.pop("labels") is not None:
            found[json.dumps(asked)][row["train_images"]] = row["map50"]
    for key, points in found.items():
        if len(points) > 2:
            asked, images = json.loads(key), sorted(points)
            name = f"{asked['data']}, {asked['weights']}, {asked['steps']} steps"
            map50 = np.array([points[n] for n in images])
            yield Real(name, np.array(images, float), map50, None)


def of_lcdb(path: Path, seed: int, curves: int) -> Iterator[Real]:
    """A random run of each of some random learning curves of the Learning Curve Database.

    The file is `database-f1.csv` (macro F1 of classifiers on 246 data sets, 25 runs of each) of the
    package lcdb 0.1.0. A curve needs 8 or more sizes with all 25 runs.
    """
    runs: dict[tuple[str, str], dict[tuple[str, str], dict[int, float]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["score_test"]:  # empty if the training failed
                run = runs[row["openmlid"], row["learner"]][row["outer_seed"], row["inner_seed"]]
                run[int(row["size_train"])] = float(row["score_test"])
    rng = np.random.default_rng(seed)
    keys = sorted(runs)
    left = curves
    for key in (keys[row] for row in rng.permutation(len(keys))):
        every = list(runs[key].values())
        sizes = sorted(set.intersection(*(set(run) for run in every)))
        if len(every) < 25 or len(sizes) < 8 or not left:
            continue
        left -= 1
        table = np.array([[run[size] for size in sizes] for run in every])
        one = table[rng.integers(len(table))]
        yield Real(f"{key[0]}, {key[1]}", np.array(sizes, float), one, table.mean(axis=0))

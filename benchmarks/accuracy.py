"""Measures the mAP of a recipe from scratch on a COCO data set, by training time and seed.

    OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.accuracy instances.json images --minutes 2,5,10

Test images are those whose sha1 of the file name is 0 modulo 5, whole, never cropped to fit; the
others are trained on. The recipe is the product's own choice for these labels
(`taudis.training.recipes.choose`). Without --minutes its own number of steps is trained; with it,
steps are as many as fit into so many minutes of one CPU core, by the time of the first steps of a
short training, so that a figure on another machine is that machine's. Times are CPU seconds of
training, decoding and augmentation included. The last line is JSON: every run, means, sample
standard deviations and 95 % intervals of the mean over the seeds (Student's t).
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import logging
import time
from pathlib import Path

import numpy as np
import torch
from scipy.stats import t as student

from taudis.data.coco import CocoSamples, load_coco
from taudis.evaluation.metrics import evaluate
from taudis.training.recipes import Recipe, choose
from taudis.training.train import train
from taudis.types import LabelMap

logger = logging.getLogger("accuracy")

CALIBRATION_STEPS = 16  # of which the first 4 warm up


def is_test(file_name: str) -> bool:
    """Whether an image is one of the fifth that is never trained on."""
    return int(hashlib.sha1(file_name.encode(), usedforsecurity=False).hexdigest(), 16) % 5 == 0


def seconds_per_step(samples: CocoSamples, labels: LabelMap, recipe: Recipe) -> float:
    """CPU seconds of a step, first reading of the images included."""
    marks: list[float] = []
    short = dataclasses.replace(recipe, steps=CALIBRATION_STEPS, evaluate_every=0)
    train(samples, labels, short, seed=0, progress=lambda _: marks.append(time.process_time()))
    return (marks[-1] - marks[3]) / (len(marks) - 4)


def run(
    train_on: CocoSamples, test: CocoSamples, labels: LabelMap, recipe: Recipe, seed: int
) -> dict[str, object]:
    """Train and evaluate once."""
    cpu, wall = time.process_time(), time.monotonic()
    waiting: list[float] = []
    detector = train(
        train_on, labels, recipe, seed=seed, progress=lambda p: waiting.append(p.waiting)
    )
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    metrics = evaluate(detector, test, bootstrap=1)
    return {
        "seed": seed,
        "steps": recipe.steps,
        "cpu_s": round(cpu, 1),
        "wall_s": round(wall, 1),
        "loader_share": round(waiting[-1], 4),
        "map50": round(metrics.map50, 4),
        "map": round(metrics.map, 4),
        "per_label": {
            k: None if np.isnan(v) else round(v, 3) for k, v in metrics.per_label.items()
        },
    }


def summary(values: list[float]) -> dict[str, float | None]:
    """Mean, sample standard deviation, and half the 95 % interval of the mean."""
    count, spread = len(values), float(np.std(values, ddof=1)) if len(values) > 1 else None
    half = None
    if spread is not None:
        half = round(float(student.ppf(0.975, count - 1)) * spread / count**0.5, 4)
        spread = round(spread, 4)
    return {"mean": round(float(np.mean(values)), 4), "std": spread, "half_interval": half}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("coco", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--minutes", default="", help="CPU minutes, comma separated")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipe", default="cpu")
    parser.add_argument("--detections", type=int, help="per image, instead of the recipe's choice")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    labels, everything = load_coco(options.coco, options.images)
    test_rows = [row for row, name in enumerate(everything.file_names) if is_test(name)]
    test = everything.subset(test_rows)
    train_on = everything.subset(sorted(set(range(len(everything))) - set(test_rows)))
    recipe = choose(options.recipe, train_on.statistics(), gpu=torch.cuda.is_available())
    if options.detections:
        model = dataclasses.replace(recipe.model, detections_per_image=options.detections)
        recipe = dataclasses.replace(recipe, model=model)
    lengths: list[float | None] = [float(m) for m in options.minutes.split(",") if m] or [None]
    per_step = seconds_per_step(train_on, labels, recipe) if lengths != [None] else 0.0
    curve = []
    for minutes in lengths:
        steps = recipe.steps if minutes is None else max(1, int(minutes * 60 / per_step))
        chosen = dataclasses.replace(recipe, steps=steps, evaluate_every=0)
        runs = []
        for seed in range(options.seeds):
            runs.append(run(train_on, test, labels, chosen, seed))
            logger.info("%s minutes: %s", minutes, runs[-1])
        figures = summary([float(str(each["map50"])) for each in runs])
        curve.append({"minutes": minutes, "map50": figures, "runs": runs})
    print(
        json.dumps({
            "data": options.coco.parent.name,
            "train_images": len(train_on),
            "test_images": len(test),
            "recipe": dataclasses.asdict(recipe),
            "curve": curve,
        })
    )  # fmt: skip


if __name__ == "__main__":
    main()

"""Measures the mAP50 of the training on COCO data sets, by weights, time, labels and seed.

    OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.accuracy DATA --rows ROWS
        [--sets facades,tools_bench] [--weights none,imagenet] [--minutes 1,3,8] [--labels 16,64]
        [--steps 300] [--seeds 3] [--change backbone_lr=0.3]

DATA has a folder with `instances.json` and `images/` for each set. A fifth of the images is for the
test. Images of the same scene (GROUPS) are all for training or all for the test. The recipe is the
product's choice for the labels (`taudis.training.recipes.choose`); --change replaces its values.

The steps are those of the recipe, or --steps. With --minutes, they are as many as fit into this
time of one CPU core, estimated from the longest run in ROWS with the same data, weights and recipe,
or from a short training. Further seeds use the steps of the first seed, on any machine. CPU minutes
are those of training, including decoding and augmentation; each row has the minutes that were used.
Models are evaluated with the detector that serves predictions.

Each run is appended to ROWS as a line when it ends; runs that are in ROWS are not repeated. The
last line of the output is JSON: mean, sample standard deviation and 95 % interval of the mean
(Student's t) of the requested runs.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import hashlib
import itertools
import json
import logging
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import t as student

from taudis.data.coco import CocoSamples, load_coco
from taudis.evaluation.metrics import evaluate
from taudis.training.recipes import Recipe, choose
from taudis.training.train import train
from taudis.types import LabelMap

logger = logging.getLogger("accuracy")

CALIBRATION_STEPS = 50
GROUPS = {
    "highway_cam": r"^([A-Za-z]+)_?(\d*)\d\d_",  # a scene is a hundred frames of a video
    "tools_bench": r"^(\d{4}-\d\d-\d\d_\d\d-\d\d|\d{12})",  # a minute
    "oam_buildings": r"^(.*_20_\d+)\d_(\d+)\.",  # a row of at most ten tiles
}
"""Set -> regular expression of a file name; images with equal bracketed parts are a scene."""
SETS = ("facades", "nuclei_dsb2018", "tools_bench", "highway_cam", "oam_buildings")


def hashed(text: str) -> int:
    """A hash of the text, the same in every run."""
    return int(hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), 16)


def split(samples: CocoSamples, name: str, labels: int | None) -> tuple[list[int], list[int]]:
    """The rows of the training and of the test images.

    labels: number of training images to use, in an order that depends only on their names.
    """
    files = samples.file_names
    groups = [re.search(GROUPS.get(name, "(.*)"), file) for file in files]
    test = [
        row
        for row, found in enumerate(groups)
        if hashed("/".join(found.groups()) if found else files[row]) % 5 == 0
    ]
    rest = sorted(set(range(len(files))) - set(test))
    if labels is not None:
        rest = sorted(sorted(rest, key=lambda row: hashed(files[row]))[:labels])
    return rest, test


def seconds_per_step(samples: CocoSamples, labels: LabelMap, recipe: Recipe, weights: str) -> float:
    """CPU seconds per step of a short training, including the first reading of the images."""
    short = dataclasses.replace(recipe, steps=CALIBRATION_STEPS, evaluate_every=0)
    began = time.process_time()
    train(samples, labels, short, seed=0, weights=weights)
    return (time.process_time() - began) / CALIBRATION_STEPS


def measured(asked: dict[str, Any], rows: list[dict[str, Any]]) -> float | None:
    """CPU seconds per step in the longest of `rows` that differs only in seed and time."""
    same = ("data", "weights", "labels", "backbone", "change")
    alike = [row for row in rows if all(row["asked"][key] == asked[key] for key in same)]
    if not alike:
        return None
    longest = max(alike, key=lambda row: row["train_steps"])
    return 60 * float(longest["cpu_minutes"]) / int(longest["train_steps"])


def steps_of_another_seed(asked: dict[str, Any], rows: list[dict[str, Any]]) -> int | None:
    """The steps of the first of `rows` that differs only in the seed; None if there is none."""
    alike = [row for row in rows if {**row["asked"], "seed": asked["seed"]} == asked]
    return int(alike[0]["train_steps"]) if alike else None


def run(data: Path, asked: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Train and evaluate once. rows: earlier runs, to estimate the steps for the minutes."""
    folder = data / asked["data"]
    labels, everything = load_coco(folder / "instances.json", folder / "images")
    train_on, test_on = split(everything, asked["data"], asked["labels"])
    samples, test = everything.subset(train_on), everything.subset(test_on)
    weights = asked["weights"]
    recipe = choose(
        "cpu", samples.statistics(), gpu=False, weights=weights, backbone=asked["backbone"]
    )
    recipe = changed(recipe, asked["change"])
    steps = asked["steps"] or recipe.steps
    if asked["minutes"]:
        found = steps_of_another_seed(asked, rows)
        if found is None:
            pace = measured(asked, rows) or seconds_per_step(samples, labels, recipe, weights)
            found = max(1, int(asked["minutes"] * 60 / pace))
        steps = found
    recipe = dataclasses.replace(recipe, steps=steps, evaluate_every=0)
    cpu, wall = time.process_time(), time.monotonic()
    detector = train(samples, labels, recipe, seed=asked["seed"], weights=weights)
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    metrics = evaluate(detector.fast(), test, bootstrap=1)
    return {
        "train_images": len(samples),
        "test_images": len(test),
        "train_steps": steps,
        "cpu_minutes": round(cpu / 60, 2),
        "wall_minutes": round(wall / 60, 2),
        "map50": round(metrics.map50, 4),
        "map": round(metrics.map, 4),
        "per_label": {
            k: None if np.isnan(v) else round(v, 3) for k, v in metrics.per_label.items()
        },
    }


def changed(recipe: Recipe, changes: str) -> Recipe:
    """The recipe with values replaced, such as "lr=0.002,model.max_size=256"."""
    for change in [each for each in changes.split(",") if each]:
        name, _, text = change.partition("=")
        value = ast.literal_eval(text)
        if name.startswith("model."):
            name, value = "model", dataclasses.replace(recipe.model, **{name[6:]: value})
        recipe = dataclasses.replace(recipe, **{name: value})
    return recipe


def summary(values: list[float]) -> dict[str, float | None]:
    """Mean, sample standard deviation, and half the 95 % interval of the mean."""
    count, spread = len(values), float(np.std(values, ddof=1)) if len(values) > 1 else None
    half = None
    if spread is not None:
        half = round(float(student.ppf(0.975, count - 1)) * spread / count**0.5, 4)
        spread = round(spread, 4)
    return {"mean": round(float(np.mean(values)), 4), "std": spread, "half_interval": half}


def of_seeds(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """mAP50 of runs that differ only in the seed, with the mean CPU minutes and steps."""
    minutes, steps = ([row[key] for row in rows] for key in ("cpu_minutes", "train_steps"))
    return {
        "map50": summary([row["map50"] for row in rows]),
        "cpu_minutes": round(float(np.mean(minutes)), 2),
        "train_steps": round(float(np.mean(steps))),
    }


def wanted(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The runs of the command line: first all runs of the first seed, the short ones first."""

    def numbers(text: str) -> list[float | None]:
        return [float(each) for each in text.split(",") if each] or [None]

    return [
        {"data": name, "weights": weights, "minutes": minutes, "steps": options.steps,
         "labels": None if labels is None else int(labels), "seed": seed,
         "backbone": options.backbone, "change": options.change}
        for seed, minutes, labels, name, weights in itertools.product(
            range(options.first_seed, options.first_seed + options.seeds),
            numbers(options.minutes), numbers(options.labels),
            options.sets.split(","), options.weights.split(","),
        )
    ]  # fmt: skip


def done(rows: Path) -> dict[str, dict[str, Any]]:
    """The runs in a file of rows, by their options."""
    if not rows.exists():
        return {}
    found = [json.loads(line) for line in rows.read_text().splitlines()]
    return {json.dumps(each["asked"], sort_keys=True): each for each in found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--weights", default="none,imagenet")
    parser.add_argument("--minutes", default="", help="CPU minutes, comma separated")
    parser.add_argument("--labels", default="", help="training images, comma separated")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--backbone", default="")
    parser.add_argument("--change", default="", help="values of the recipe, such as lr=0.002")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    results: dict[str, list[dict[str, Any]]] = {}
    for asked in wanted(options):
        key = json.dumps(asked, sort_keys=True)
        finished = done(options.rows)
        row = finished.get(key)
        if row is None:
            row = {"asked": asked, **run(options.data, asked, list(finished.values()))}
            with options.rows.open("a") as file:
                file.write(json.dumps(row) + "\n")
        given = {name: value for name, value in asked.items() if value and name != "seed"}
        logger.info("%s seed %d: %s", given, asked["seed"], row["map50"])
        results.setdefault(json.dumps(given), []).append(row)
    print(json.dumps([{**json.loads(k), **of_seeds(v)} for k, v in results.items()]))


if __name__ == "__main__":
    main()

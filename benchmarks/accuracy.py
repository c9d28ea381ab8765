"""Measures the mAP50 of the training on COCO data sets, by weights, time, labels and seed.

    OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.accuracy DATA --rows ROWS
        [--sets facades,tools_bench] [--weights none,imagenet] [--minutes 1,3,8] [--labels 16,64]
        [--steps 300] [--seeds 3] [--change backbone_lr=0.3]

DATA has a folder of `instances.json` and `images/` for each set. A fifth of the images is never
trained on; images of one scene (GROUPS) are all trained on or all tested on. The recipe is the
product's own choice for the labels (`taudis.training.recipes.choose`); --change replaces a value of
it, for a search. --minutes: as many steps as fit into so many minutes of one CPU core, by the
longest run in ROWS of the same data, weights and recipe, or else by a short training; further seeds
make as many steps as the first one, on any machine. --steps: so many; neither: the recipe's own.
CPU minutes are those of training, with decoding and augmentation; each row says those that were
used. Images are judged with the detector that serves.

Each run is a line of ROWS, written when it ends; runs that are there already are not made again.
The last line of the output is JSON: mean, sample standard deviation and 95 % interval of the mean
(Student's t) of the runs that were asked for.
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
    "highway_cam": r"^([A-Za-z]+)_?(\d*)\d\d_",  # a hundred frames of a video
    "tools_bench": r"^(\d{4}-\d\d-\d\d_\d\d-\d\d|\d{12})",  # a minute
    "oam_buildings": r"^(.*_20_\d+)\d_(\d+)\.",  # a row of at most ten tiles
}
"""What images of one scene have in common: the parts of the file name in brackets."""
SETS = ("facades", "nuclei_dsb2018", "tools_bench", "highway_cam", "oam_buildings")


def hashed(text: str) -> int:
    """A number that depends on the text alone."""
    return int(hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), 16)


def split(samples: CocoSamples, name: str, labels: int | None) -> tuple[list[int], list[int]]:
    """Rows to train on and to test on.

    With `labels`, so many of the training images, in an order that depends on their names alone.
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
    """CPU seconds of a step of a short training, first reading of the images included."""
    short = dataclasses.replace(recipe, steps=CALIBRATION_STEPS, evaluate_every=0)
    began = time.process_time()
    train(samples, labels, short, seed=0, weights=weights)
    return (time.process_time() - began) / CALIBRATION_STEPS


def measured(asked: dict[str, Any], rows: list[dict[str, Any]]) -> float | None:
    """CPU seconds of a step in the longest of `rows` that differs in seed and time alone."""
    same = ("data", "weights", "labels", "backbone", "change")
    alike = [row for row in rows if all(row["asked"][key] == asked[key] for key in same)]
    if not alike:
        return None
    longest = max(alike, key=lambda row: row["train_steps"])
    return 60 * float(longest["cpu_minutes"]) / int(longest["train_steps"])


def steps_of_another_seed(asked: dict[str, Any], rows: list[dict[str, Any]]) -> int | None:
    """The steps of the first of `rows` that differs in seed alone; None where there is none."""
    alike = [row for row in rows if {**row["asked"], "seed": asked["seed"]} == asked]
    return int(alike[0]["train_steps"]) if alike else None


def run(data: Path, asked: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Train and evaluate once; `rows`: runs that say how many steps fit into the minutes."""
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
    """mAP50 of runs that differ in seed alone, with the mean CPU minutes and steps."""
    minutes, steps = ([row[key] for row in rows] for key in ("cpu_minutes", "train_steps"))
    return {
        "map50": summary([row["map50"] for row in rows]),
        "cpu_minutes": round(float(np.mean(minutes)), 2),
        "train_steps": round(float(np.mean(steps))),
    }


def wanted(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The runs that the command line asks for: short ones first, seeds outermost."""

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
    """The runs in a file of rows, by what was asked."""
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

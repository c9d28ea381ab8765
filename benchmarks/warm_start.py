"""Measures a training that continues from a trained model against one from the initial weights.

    OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.warm_start DATA --rows ROWS
        [--sets facades,tools_bench] [--first 16] [--then 48] [--shares 0.25,0.5,1] [--seeds 3]

As in a project, a model is trained on the first labelled images, and then another model on more
images. The second model starts from the initial weights (reset), or continues from the first model
(warm) with a share of the recipe's steps. Split, images and test set are those of
`benchmarks.accuracy`. For a seed, all second models have the same images. Each run is appended to
ROWS as a line when it ends; runs that are in ROWS are not repeated. The last line is JSON: mean
mAP50 with the 95 % interval of the mean, and the mean difference to reset with all steps and its
interval, paired by seed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.accuracy import done, split, summary
from taudis.data.coco import load_coco
from taudis.detector.checkpoint import save_checkpoint
from taudis.evaluation.metrics import evaluate
from taudis.training.recipes import choose
from taudis.training.train import train

logger = logging.getLogger("warm_start")


def life(data: Path, name: str, seed: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Run a seed of a set: the first model, then the second model in every way."""
    labels, everything = load_coco(data / name / "instances.json", data / name / "images")
    test = everything.subset(split(everything, name, None)[1])
    first, then = (
        everything.subset(split(everything, name, count)[0])
        for count in (options.first, options.then)
    )
    recipe = dataclasses.replace(
        choose("cpu", first.statistics(), gpu=False, weights="imagenet"), evaluate_every=0
    )
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "first"
        model = train(first, labels, recipe, seed=seed, weights="imagenet")
        save_checkpoint(start, model, card={})
        before = evaluate(model, test, bootstrap=1).map50
        recipe = dataclasses.replace(
            choose("cpu", then.statistics(), gpu=False, weights="imagenet"), evaluate_every=0
        )
        shares = [float(each) for each in options.shares.split(",")]
        for way, share in [("reset", 1.0), *(("warm", share) for share in shares)]:
            chosen = recipe.warm(share)
            began = time.process_time()
            model = train(
                then, labels, chosen, seed=seed + 100, weights="imagenet",
                start=start if way == "warm" else None,
            )  # fmt: skip
            spent = time.process_time() - began
            rows.append({
                "asked": {"data": name, "seed": seed, "way": way, "share": share,
                          "first": options.first, "then": options.then},
                "steps": chosen.steps, "cpu_minutes": round(spent / 60, 2),
                "before": round(before, 4),
                "map50": round(evaluate(model, test, bootstrap=1).map50, 4),
            })  # fmt: skip
            logger.info("%s", rows[-1])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--sets", default="tools_bench,facades")
    parser.add_argument("--first", type=int, default=16)
    parser.add_argument("--then", type=int, default=48)
    parser.add_argument("--shares", default="0.25,0.5,1")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    for seed in range(options.seeds):
        for name in options.sets.split(","):
            there = {
                (row["asked"]["data"], row["asked"]["seed"]) for row in done(options.rows).values()
            }
            if (name, seed) not in there:
                lines = [json.dumps(row) + "\n" for row in life(options.data, name, seed, options)]
                with options.rows.open("a") as file:
                    file.writelines(lines)
    print(json.dumps(compared(list(done(options.rows).values()))))


def compared(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each way of each set: mAP50, and its difference to reset of the same seed."""
    ways: dict[tuple[str, str, float], dict[int, float]] = {}
    for row in rows:
        asked = row["asked"]
        way = (asked["data"], asked["way"], asked["share"])
        ways.setdefault(way, {})[asked["seed"]] = row["map50"]
    return [
        {"data": data, "way": way, "share": share, "map50": summary(list(found.values())),
         "over_reset": summary([
             round(value - ways[data, "reset", 1.0][seed], 4) for seed, value in found.items()
         ])}
        for (data, way, share), found in ways.items()
    ]  # fmt: skip


if __name__ == "__main__":
    main()

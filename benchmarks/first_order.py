"""Measures the first model: the mAP50 after training on the first images of an order.

    OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.first_order DATA [--rows ROWS]
        [--sets tools_bench,facades] [--orders random,core_set] [--labels 16] [--steps 200]
        [--seeds 5] [--contents]

DATA has a folder with `instances.json` and `images/` for each set, split as in
benchmarks/accuracy.py. The training images are the pool of a project without a model. An order
(`FIRST_ORDER`) ranks them by the embeddings that the worker computes, and the first --labels images
are labelled. The recipe is the product's choice for a CPU and ImageNet weights, with --steps steps.
The seed decides the random order or the start of core-set, and the training.

--contents does not train. It prints the numbers of objects, labels and scenes in the first --labels
images of each order, mean over --seeds seeds, for the embeddings of each level of the backbone.

Each run is appended to ROWS as a line when it ends; runs that are in ROWS are not repeated. A line
also has the numbers of objects, labels (kinds) and scenes in the chosen images. The last line of
the output is JSON: for each set the mAP50 of both orders, and the mean difference from random by
seed, each with its 95 % interval (Student's t).
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import logging
import re
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.accuracy import GROUPS, done, split, summary
from taudis.data.coco import CocoSamples, load_coco
from taudis.detector.image_embedding import LEVEL, ImageEmbedder
from taudis.evaluation.metrics import evaluate
from taudis.selection.params import Labelled, SelectionParams
from taudis.selection.strategies import query
from taudis.training.recipes import choose
from taudis.training.train import train
from taudis.types import FloatArray, LabelMap, Pool

logger = logging.getLogger("first_order")

LEVELS = (0, 1, 2, 3)


@cache
def embeddings(data: Path, name: str, levels: tuple[int, ...]) -> list[FloatArray]:
    """The embeddings [I,D] of a set's training images for each level, computed once."""
    pool = load(data, name)[1]
    embedders = [ImageEmbedder.packaged(level=level) for level in levels]
    images = map(pool.image, range(len(pool)))
    rows = [[embedder.embed(image) for embedder in embedders] for image in images]
    return [np.stack(column) for column in zip(*rows, strict=True)]


@cache
def load(data: Path, name: str) -> tuple[LabelMap, CocoSamples, CocoSamples]:
    """Labels, training images (the pool) and test images of a set."""
    labels, everything = load_coco(data / name / "instances.json", data / name / "images")
    rows, test_rows = split(everything, name, None)
    return labels, everything.subset(rows), everything.subset(test_rows)


def first_rows(order: str, vectors: FloatArray, labels: int, seed: int) -> list[int]:
    """The rows of the images that people label first."""
    pool = Pool.without_detections(np.arange(len(vectors)), vectors)
    selection = query(
        order, pool, budget=labels, labelled=Labelled(1.0), params=SelectionParams(), seed=seed
    )
    return sorted(selection.order[:labels].tolist())


def scene(name: str, file: str) -> str:
    """The scene of an image, as text."""
    found = re.search(GROUPS.get(name, "(.*)"), file)
    return "/".join(found.groups()) if found else file


def contents(name: str, samples: CocoSamples) -> dict[str, int]:
    """The numbers of objects, labels (kinds) and scenes in the images."""
    labels = np.concatenate([samples.labels_at(row) for row in range(len(samples))])
    return {
        "objects": len(labels),
        "kinds": len(np.unique(labels)),
        "scenes": len({scene(name, file) for file in samples.file_names}),
    }


def run(data: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """Choose, train and evaluate once."""
    name, seed = asked["data"], asked["seed"]
    labels, pool, test = load(data, name)
    (vectors,) = embeddings(data, name, (LEVEL,))
    samples = pool.subset(first_rows(asked["order"], vectors, asked["labels"], seed))
    recipe = choose("cpu", samples.statistics(), gpu=False, weights="imagenet")
    recipe = dataclasses.replace(recipe, steps=asked["steps"], evaluate_every=0)
    cpu = time.process_time()
    detector = train(samples, labels, recipe, seed=seed, weights="imagenet")
    cpu = time.process_time() - cpu
    metrics = evaluate(detector, test, bootstrap=1)
    return {
        "pool_images": len(pool),
        "test_images": len(test),
        **contents(name, samples),
        "cpu_minutes": round(cpu / 60, 2),
        "map50": round(metrics.map50, 4),
        "map": round(metrics.map, 4),
    }


def contents_by_level(data: Path, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The mean contents of the first images of each order, by set and level."""
    for name in options.sets.split(","):
        pool = load(data, name)[1]
        orders = [("random", None, embeddings(data, name, LEVELS)[0])]
        orders += [
            ("core_set", level, vectors)
            for level, vectors in zip(LEVELS, embeddings(data, name, LEVELS), strict=True)
        ]
        for order, level, vectors in orders:
            found = [
                contents(name, pool.subset(first_rows(order, vectors, options.labels, seed)))
                for seed in range(options.seeds)
            ]
            means = {key: round(float(np.mean([f[key] for f in found])), 2) for key in found[0]}
            yield {"data": name, "order": order, "level": level, **means}


def wanted(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The runs of the command line; all runs of the first seed come first."""
    return [
        {"data": name, "order": order, "labels": options.labels, "steps": options.steps,
         "seed": seed}
        for seed, name, order in itertools.product(
            range(options.seeds), options.sets.split(","), options.orders.split(",")
        )
    ]  # fmt: skip


def compared(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each set and order the mAP50, and the differences from random of the same seed."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    for row in rows:
        asked = row["asked"]
        found.setdefault((asked["data"], asked["order"]), {})[asked["seed"]] = row["map50"]
    result = []
    for (name, order), by_seed in found.items():
        other = found.get((name, "random"), {})
        pairs = [value - other[seed] for seed, value in by_seed.items() if seed in other]
        entry = {"data": name, "order": order, "map50": summary(list(by_seed.values()))}
        if order != "random" and pairs:
            entry["more_than_random"] = summary(pairs)
        result.append(entry)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--rows", type=Path, default=Path("first_order.jsonl"))
    parser.add_argument("--sets", default="tools_bench,facades")
    parser.add_argument("--orders", default="random,core_set")
    parser.add_argument("--labels", type=int, default=16)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--contents", action="store_true", help="train nothing")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    if options.contents:
        print(json.dumps(list(contents_by_level(options.data, options))))
        return
    rows = []
    for asked in wanted(options):
        row = done(options.rows).get(json.dumps(asked, sort_keys=True))
        if row is None:
            row = {"asked": asked, **run(options.data, asked)}
            with options.rows.open("a") as file:
                file.write(json.dumps(row) + "\n")
        logger.info("%s", json.dumps(row))
        rows.append(row)
    print(json.dumps(compared(rows)))


if __name__ == "__main__":
    main()

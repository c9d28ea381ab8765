"""Measures mAP50 of the demo's recipe on generated pictures, by labelled images and seed.

    OMP_NUM_THREADS=1 PYTHONPATH=. python benchmarks/demo_recipe.py --sizes 12,24,48,72 --seeds 3

Each seed has different pictures. A model is trained from scratch on the first 12, 24, ... of them,
as in a round. The order is random, because the benchmark measures the recipe, not the selection.
All models are evaluated on the same held-out pictures. `--steps` fixes the training steps, to
separate the effect of the labels from that of the steps. The last line is JSON: all figures, means
and standard deviations, and whether the last size is above the first by more than two standard
deviations (the larger of the two).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from demo.pictures import generate, held_out
from taudis.data.coco import CocoSamples, load_coco
from taudis.evaluation.metrics import evaluate
from taudis.training.train import Recipe, train
from taudis.types import LabelMap

logger = logging.getLogger("demo_recipe")


def figures(
    labels: LabelMap, pool: CocoSamples, held: CocoSamples, recipe: Recipe, seed: int
) -> dict[str, float | int]:
    """Train on the pool and evaluate on the held-out pictures; a point of the curve."""
    started, cpu = time.monotonic(), time.process_time()
    detector = train(pool, labels, recipe, seed=seed)
    seconds, cpu = time.monotonic() - started, time.process_time() - cpu
    metrics = evaluate(detector, held, bootstrap=1)
    row = {
        "labelled": len(pool),
        "seed": seed,
        "steps": recipe.steps,
        "map50": round(metrics.map50, 4),
        "map": round(metrics.map, 4),
        "train_s": round(seconds, 1),
        "train_cpu_s": round(cpu, 1),
    }
    logger.info("%s %s", row, {k: round(v, 2) for k, v in metrics.per_label.items()})
    return row


def summary(rows: list[dict[str, float | int]], sizes: list[int]) -> dict[str, object]:
    """Means and sample standard deviations by size, and the gain from first to last size."""
    values = {n: np.array([r["map50"] for r in rows if r["labelled"] == n]) for n in sizes}
    mean = {n: float(v.mean()) for n, v in values.items()}
    std = {n: float(v.std(ddof=1)) if len(v) > 1 else 0.0 for n, v in values.items()}
    gain, spread = mean[sizes[-1]] - mean[sizes[0]], max(std[sizes[0]], std[sizes[-1]])
    seconds = [float(r["train_s"]) for r in rows]
    return {
        "map50_mean": {n: round(v, 4) for n, v in mean.items()},
        "map50_std": {n: round(v, 4) for n, v in std.items()},
        "gain": round(gain, 4),
        "gain_in_std": round(gain / spread, 2) if spread else None,
        "above_two_std": gain > 2 * spread,
        "slowest_train_s": max(seconds),
        "rows": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="12,24,48,72")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--held-out", type=int, default=100)
    parser.add_argument("--steps", type=int, default=None)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    sizes = sorted(int(size) for size in options.sizes.split(","))
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        held = load_coco(held_out(folder / "held", options.held_out), folder / "held/images")[1]
        for seed in range(options.seeds):
            place = folder / str(seed)
            labels, pool = load_coco(generate(place, max(sizes), seed), place / "images")
            for size in sizes:
                recipe = Recipe.cpu(size)
                if options.steps is not None:
                    recipe = dataclasses.replace(recipe, steps=options.steps)
                rows.append(figures(labels, pool.subset(range(size)), held, recipe, seed))
    print(json.dumps(summary(rows, sizes)))


if __name__ == "__main__":
    main()

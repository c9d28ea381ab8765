"""Measures the cost of correcting pre-annotations on held-out images, and the saving of each rule.

    OMP_NUM_THREADS=1 PYTHONPATH=. python benchmarks/correction.py ../shared/data --models models

Each case trains a model from scratch on some images of a data set, or uses the checkpoint of an
earlier run in `--models`. Images are split by the SHA-1 of their file names modulo 5: 0 is for the
test, 1 for validation (to choose the thresholds), the rest for training. Costs are drawings per
test image (`taudis.evaluation.thresholds`): by hand; with a fixed threshold of 0.5 and no rule;
with thresholds chosen for each label (a); with one detection per object (b); without specks (c).
The last line is JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from taudis.data.coco import CocoSamples, load_coco
from taudis.detector.checkpoint import load_checkpoint, save_checkpoint
from taudis.detector.mask_rcnn import Detector
from taudis.evaluation import thresholds
from taudis.evaluation.matching import EvaluatedImage
from taudis.evaluation.metrics import metrics_of
from taudis.evaluation.thresholds import Savings, choose_thresholds
from taudis.evaluation.visible import distinct, thresholds_for, without_specks
from taudis.training.recipes import choose
from taudis.training.train import train
from taudis.types import Detection, Instances, LabelMap, Target

logger = logging.getLogger("correction")

Seen = list[tuple[Target, Detection]]
Rule = Callable[[Instances], Instances]
CASES = (("nuclei_dsb2018", 12, 100), ("nuclei_dsb2018", 60, 300),
         ("facades", 16, 100), ("facades", 60, 300))  # fmt: skip
"""(data set, labelled images to train on, steps): for each set, an early and a better model."""
FEW = 4  # number of validation images in an early round
DRAWS = 20


def part_of(samples: CocoSamples, remainders: set[int], count: int) -> CocoSamples:
    """The first `count` images whose SHA-1 of the file name modulo 5 is in `remainders`."""
    names = [Path(name).name.encode() for name in samples.file_names]
    parts = [int(hashlib.sha1(name).hexdigest(), 16) % 5 for name in names]
    return samples.subset([row for row, part in enumerate(parts) if part in remainders][:count])


def model_for(
    labels: LabelMap, samples: CocoSamples, images: int, steps: int, folder: Path
) -> Detector:
    """The checkpoint in `folder`; it is trained if it does not exist."""
    if not folder.exists():
        labelled = part_of(samples, {2, 3, 4}, images)
        recipe = choose("cpu", labelled.statistics(), gpu=False)
        recipe = dataclasses.replace(recipe, steps=steps)
        save_checkpoint(folder, train(labelled, labels, recipe, seed=0), card={"images": images})
    return load_checkpoint(folder, label_map=labels)[0]


def look(detector: Detector, samples: CocoSamples) -> Seen:
    """The ground truth and the detections of every image."""
    pairs = (samples[row] for row in range(len(samples)))
    return [(target, detector.detect([image])[0]) for image, target in pairs]


def after(seen: Seen, rule: Rule) -> list[EvaluatedImage]:
    """The images after a rule."""
    return [
        EvaluatedImage.of(target, dataclasses.replace(found, instances=rule(found.instances)))
        for target, found in seen
    ]


def few_images(
    validation: list[EvaluatedImage], test: Savings, labels: LabelMap, prior: float
) -> dict[str, float]:
    """Mean and largest cost with thresholds that were chosen on FEW validation images."""
    rng, costs, usual = np.random.default_rng(0), [], thresholds.PRIOR
    thresholds.PRIOR = prior
    try:
        for _ in range(DRAWS):
            rows = rng.choice(len(validation), FEW, replace=False)
            found = Savings.of([validation[row] for row in rows], len(labels))
            costs.append(test.cost(thresholds_for(labels, choose_thresholds(found, labels))))
    finally:
        thresholds.PRIOR = usual
    return {"mean": round(float(np.mean(costs)), 3), "worst": round(max(costs), 3)}


def figures(labels: LabelMap, validation: Seen, test: Seen) -> dict[str, object]:
    """The costs of a model on its test images, for each rule."""
    rules: dict[str, Rule] = {
        "a": lambda rows: rows,
        "ab": distinct,
        "abc": lambda rows: distinct(without_specks(rows)),
    }
    k = len(labels)
    result: dict[str, object] = {"images": len(test)}
    for name, rule in rules.items():
        chosen_on, tested = after(validation, rule), after(test, rule)
        found, savings = Savings.of(chosen_on, k), Savings.of(tested, k)
        chosen = choose_thresholds(found, labels)
        at = thresholds_for(labels, chosen)
        if name == "a":
            result["by_hand"] = round(savings.cost(np.full(k, np.inf)), 3)
            result["fixed"] = round(savings.cost(thresholds_for(labels, {}, 0.5)), 3)
            result["shown_fixed"] = round(float((savings.scores >= 0.5).sum() / len(test)), 1)
        result[name] = round(savings.cost(at), 3)
        result[f"shown_{name}"] = round(
            float((savings.scores >= at[savings.labels - 1]).sum() / len(test)), 1
        )
        result[f"detections_{name}"] = round(len(savings.scores) / len(test), 1)
        result[f"map50_{name}"] = round(metrics_of(tested, labels, limit=400, bootstrap=1).map50, 4)
    result["thresholds"] = chosen
    result["few"] = few_images(chosen_on, savings, labels, thresholds.PRIOR)
    result["few_no_prior"] = few_images(chosen_on, savings, labels, 1e-9)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the COCO data sets")
    parser.add_argument("--models", type=Path, required=True, help="checkpoints, made or reused")
    parser.add_argument("--validation", type=int, default=30)
    parser.add_argument("--test", type=int, default=80)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    rows = []
    for name, images, steps in CASES:
        folder = options.data / name
        labels, samples = load_coco(folder / "instances.json", folder / "images")
        model = options.models / f"{name}-{images}"
        detector = model_for(labels, samples, images, steps, model)
        validation = look(detector, part_of(samples, {1}, options.validation))
        test = look(detector, part_of(samples, {0}, options.test))
        row = {"data": name, "labelled": images, **figures(labels, validation, test)}
        logger.info("%s", row)
        rows.append(row)
    print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()

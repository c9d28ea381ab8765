"""Measures the detector and its masks against other implementations, as ratios within a run.

    .venv/bin/python -m benchmarks.detector

A small model is trained on generated pictures for a minute. Then these are timed: our pass,
torchvision's call, two passes, bfloat16, evaluation, and training. Contenders take turns, with one
thread each. Times are CPU seconds of the process, which other processes change less than wall time.
`benchmarks.regions` measures regions. The last line is JSON; docs/benchmarks.md explains the keys
and the required values.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch.nn import functional

from benchmarks import regions
from demo.pictures import generate, held_out
from taudis.data.coco import CocoSamples, encode, load_coco
from taudis.detector.mask_rcnn import Detector, to_tensor
from taudis.detector.pasting import pasted_masks
from taudis.detector.roi_align import read_by_table
from taudis.evaluation.matching import EvaluatedImage
from taudis.evaluation.metrics import (
    COCO_DETECTIONS,
    coco_dicts,
    coco_precision,
    evaluate,
)
from taudis.scoring import score_pool
from taudis.training.recipes import Recipe
from taudis.training.train import train
from taudis.types import FloatArray, Image, LabelMap, Target

logger = logging.getLogger("detector")

Work = Callable[[], object]


def seconds(contenders: dict[str, Work], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each contender, in turns, `rounds` times, after a run that is not counted."""
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, work in contenders.items():
            started = time.process_time()
            work()
            if number:
                spent[name].append(time.process_time() - started)
    return spent


def ratio(spent: dict[str, list[float]], one: str, other: str) -> float:
    """Median over the rounds of the time of `one` / the time of `other`."""
    return round(float(np.median(np.array(spent[one]) / np.array(spent[other]))), 3)


# --- one pass -----------------------------------------------------------------------------------


@torch.inference_mode()
def stock(detector: Detector, images: list[Image]) -> list[dict[str, torch.Tensor]]:
    """The call of torchvision's model: boxes, labels, scores, pasted masks."""
    found: list[dict[str, torch.Tensor]] = detector.model([to_tensor(image) for image in images])
    return found


@torch.inference_mode()
def second_pass(
    detector: Detector, images: list[Image], found: list[dict[str, torch.Tensor]]
) -> list[tuple[torch.Tensor, ...]]:
    """The usual way to get p, m, r and the image embedding: at the boxes of torchvision's call."""
    model, heads = detector.model, detector.model.roi_heads
    batch, _ = model.transform([to_tensor(image) for image in images])
    features = model.backbone(batch.tensors)
    boxes = [each["boxes"] for each in found]  # the pictures are at the working size already
    hidden = heads.box_head(heads.box_roi_pool(features, boxes, batch.image_sizes))
    probs = functional.softmax(heads.box_predictor(hidden)[0], -1)
    active = heads.mask_head(heads.mask_roi_pool(features, boxes, batch.image_sizes))
    masks = heads.mask_predictor(active).sigmoid()
    return [(probs, masks, active.mean((2, 3)), features["0"].mean((2, 3)))]


def one_pass(detector: Detector, images: list[Image]) -> dict[str, object]:
    """One pass against torchvision's call and against two passes; asserts equal outputs."""
    detector.model.eval()
    for ours, theirs in zip(detector.detect(images), stock(detector, images), strict=True):
        assert np.array_equal(ours.instances.boxes, theirs["boxes"].numpy())
        assert np.array_equal(ours.instances.scores, theirs["scores"].numpy())
        assert np.array_equal(pasted_masks(ours), theirs["masks"][:, 0].numpy() >= 0.5)
    spent = seconds(
        {
            "ours": lambda: detector.detect(images),
            "stock": lambda: stock(detector, images),
            "two": lambda: second_pass(detector, images, stock(detector, images)),
        },
        rounds=9,
    )
    found = [len(each.instances) for each in detector.detect(images)]
    return {
        "one_pass_over_stock": ratio(spent, "ours", "stock"),
        "one_pass_over_two": ratio(spent, "ours", "two"),
        "one_pass_detections_per_image": float(np.mean(found)),
    }


# --- bfloat16 and the pool ----------------------------------------------------------------------


def bfloat16(detector: Detector, images: list[Image], held: CocoSamples) -> dict[str, object]:
    """Detection in bfloat16 against float32: time and change of the results."""
    fast = detector.fast()
    if fast.precision == "fp32":
        return {"bf16_over_fp32": None, "bf16_why_not": "this CPU has no native bfloat16"}
    spent = seconds(
        {"bf16": lambda: fast.detect(images), "fp32": lambda: detector.detect(images)}, rounds=9
    )
    before, after = (evaluate(each, held, bootstrap=1) for each in (detector, fast))
    return {
        "bf16_over_fp32": ratio(spent, "bf16", "fp32"),
        "map50_fp32": round(before.map50, 4),
        "bf16_map50_change": round(after.map50 - before.map50, 4),
    }


def pool(detector: Detector, images: list[Image]) -> dict[str, object]:
    """Images per second of one core, with all values of a pool."""
    fast, numbered = detector.fast(), list(enumerate(images))
    spent = seconds({"pool": lambda: score_pool(fast, iter(numbered))}, rounds=5)
    return {
        "pool_images_per_s_per_core": round(len(images) / float(np.median(spent["pool"])), 1),
        "pool_px": f"{images[0].shape[0]}x{images[0].shape[1]}",
    }


# --- evaluation ---------------------------------------------------------------------------------


def by_pycocotools(images: list[EvaluatedImage], labels: int) -> FloatArray:
    """Pycocotools' precision [10,101,K] for the same truth and detections."""
    truth, found = coco_dicts(images, labels)
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO()
        gt.dataset = {**truth, "info": {}}
        gt.createIndex()
        run = COCOeval(gt, gt.loadRes(found), "segm")
        run.params.maxDets = [1, 10, COCO_DETECTIONS]
        run.evaluate()
        run.accumulate()
    return np.asarray(run.eval["precision"])[:, :, :, 0, -1]


FIELDS = ("true_labels", "labels")


def dense_set(images: int = 100, instances: int = 40, size: int = 256) -> list[EvaluatedImage]:
    """Images as dense as nuclei: discs of three labels; detections are moved copies and noise."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(images):
        labels = rng.integers(1, 4, instances)
        places = rng.integers(12, size - 12, (instances, 2))
        radii = rng.integers(4, 12, instances)
        masks = np.stack([_disc(size, *at, r) for at, r in zip(places, radii, strict=True)])
        found = np.stack([
            _disc(size, *(at + rng.integers(-3, 4, 2)), r + rng.integers(-1, 2))
            for at, r in zip(np.repeat(places, 2, axis=0), np.repeat(radii, 2), strict=True)
        ])  # fmt: skip
        wrong = rng.random(len(found)) < 0.2
        truth = Target.from_masks(masks, labels)
        made.append(
            EvaluatedImage(
                (size, size),
                truth.labels,
                [encode(mask) for mask in truth.masks],
                truth.iscrowd,
                np.where(wrong, rng.integers(1, 4, len(found)), np.repeat(labels, 2)),
                rng.random(len(found)).astype(np.float32),
                [encode(mask) for mask in found],
            )
        )
    return made


def _disc(size: int, y: int, x: int, radius: int) -> np.ndarray:
    rows, columns = np.ogrid[:size, :size]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def evaluation(detector: Detector, held: CocoSamples) -> dict[str, object]:
    """faster-coco-eval, as in the product, against pycocotools, on dense and on sparse images."""
    sparse = []
    for row in range(len(held)):
        image, target = held[row]
        sparse.append(EvaluatedImage.of(target, detector.detect([image])[0]))
    result: dict[str, object] = {}
    for name, images, labels in (
        ("", dense_set(), 3),
        ("_sparse", sparse, len(detector.label_map)),
    ):
        ours, theirs = (
            lambda images=images, labels=labels: coco_precision(images, labels, COCO_DETECTIONS),
            lambda images=images, labels=labels: by_pycocotools(images, labels),
        )
        spent = seconds({"ours": ours, "theirs": theirs}, rounds=5)
        counts = [f"{np.mean([len(getattr(image, f)) for image in images]):.0f}" for f in FIELDS]
        result |= {
            f"eval_speedup{name}": ratio(spent, "theirs", "ours"),
            f"eval_max_diff{name}": float(np.abs(ours() - theirs()).max()),
            f"eval_set{name}": f"{len(images)} images of {counts[0]} instances, {counts[1]} found",
        }
    return result


# --- training -----------------------------------------------------------------------------------


def roi_align(detector: Detector, images: list[Image]) -> dict[str, object]:
    """RoI align of 512 RoIs with gradients: time of torchvision's kernel / of ours in training."""
    heads, generator = detector.model.roi_heads, torch.Generator().manual_seed(0)
    batch = torch.stack([to_tensor(image) for image in images[:4]])
    with torch.no_grad():
        maps = detector.model.backbone(batch)
    corners = 150 * torch.rand(4, 128, 2, generator=generator)
    boxes = list(torch.cat([corners, corners + 40 * torch.rand_like(corners)], 2))
    shapes = [images[0].shape[:2]] * 4

    def work(pool: Callable[..., torch.Tensor]) -> Work:
        def both_ways() -> None:
            levels = {name: each.clone().requires_grad_() for name, each in maps.items()}
            torch.autograd.backward(pool(levels, boxes, shapes).sum())

        return both_ways

    result: dict[str, object] = {}
    stock = {"boxes": heads.box_roi_pool, "masks": heads.mask_roi_pool}
    with read_by_table(detector.model):
        ours = {"boxes": heads.box_roi_pool, "masks": heads.mask_roi_pool}
    for name, pool in stock.items():
        spent = seconds({"theirs": work(pool), "ours": work(ours[name])}, rounds=9)
        result[f"roi_align_{name}_speedup"] = ratio(spent, "theirs", "ours")
    return result


def training(samples: CocoSamples, labels: LabelMap) -> dict[str, object]:
    """CPU ms per image and step, in float32 and with the tuned settings; waiting for data."""
    short = dataclasses.replace(Recipe.cpu(len(samples)), steps=40, evaluate_every=0)

    def run(precision: str) -> tuple[float, float]:
        marks: list[float] = []
        shares: list[float] = []

        def note(progress: object) -> None:
            marks.append(time.process_time())
            shares.append(float(getattr(progress, "waiting", 0.0)))

        recipe = dataclasses.replace(short, precision=precision)  # type: ignore[arg-type]
        train(samples, labels, recipe, seed=0, progress=note)
        each = (marks[-1] - marks[7]) / (len(marks) - 8) / recipe.batch
        return round(1000 * each, 1), round(shares[-1], 4)

    exact, tuned = run("fp32"), run("auto")
    return {
        "train_ms_per_image_fp32": exact[0],
        "train_ms_per_image_tuned": tuned[0],
        "loader_share": tuned[1],
    }


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("taudis").setLevel(logging.WARNING)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        labels, samples = load_coco(generate(folder, 60, seed=0), folder / "images")
        held = load_coco(held_out(folder / "held", 100), folder / "held/images")[1]
        recipe = dataclasses.replace(Recipe.cpu(len(samples)), steps=200, evaluate_every=0)
        detector = train(samples, labels, recipe, seed=0)
        # The precision of a loaded checkpoint, and of torchvision's users.
        detector.model.to(memory_format=torch.contiguous_format)
        images = [held.image(row) for row in range(8)]
        result: dict[str, object] = {}
        for part in (
            lambda: one_pass(detector, images),
            lambda: bfloat16(detector, images, held),
            lambda: pool(detector, images),
            lambda: evaluation(detector, held),
            lambda: roi_align(detector, images),
            lambda: training(samples, labels),
            regions.measure,
        ):
            found = part()
            logger.info("%s", found)
            result |= found
    print(json.dumps(result))


if __name__ == "__main__":
    main()

"""Measures the precision of the first suspects of `taudis review`, with planted errors.

    OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.label_errors DATA --rows ROWS
        [--sets tools_bench,highway_cam] [--seeds 0-2] [--steps 600] [--folds 2]

Plants errors in a labelled set: another label, a mask moved by half of its box, an object deleted,
an object drawn twice; 1.5 % of the objects each, at least 40. Each image is examined by a model of
the other folds, which was trained with the errors. A suspect is right if it names a planted error:
its object, or for a deleted object a mask that overlaps it with an IoU of 0.5. Errors that were in
the set before count as wrong suspects. The ranking is compared with itself without the suspects of
the kind "double", and with rankings by loss and by chance.
Each run is a line of ROWS; runs that are in ROWS are not repeated. The last line is JSON: the
precision among the first 100.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from faster_coco_eval import mask as rle_tools

from benchmarks.accuracy import GROUPS, summary
from taudis.data.coco import CocoSamples, decode, encode, load_coco
from taudis.evaluation.held_out import held_out_images
from taudis.evaluation.label_errors import HeldOutImage, find_suspects
from taudis.evaluation.matching import FITS
from taudis.simulation.jobs import read_seeds
from taudis.simulation.split import folds
from taudis.training.recipes import choose
from taudis.types import BoolArray

FIRST = 100
SHARE, LEAST = 0.015, 40
PLANTED = ("label", "outline", "missed", "double")


class Claim(NamedTuple):
    """A suspect of a ranking: an object that is wrong, or a detection of an unlabelled object."""

    image: int
    object: int  # -1 for a detection
    detection: int


@dataclasses.dataclass(frozen=True)
class Planted:
    """A COCO file with planted errors, and a list of them."""

    coco: dict[str, Any]
    wrong: dict[int, str]  # annotation id -> kind; for a doubled object both ids
    deleted: list[dict[str, Any]]  # the deleted annotations
    originals: dict[int, int]  # id of the second annotation of a doubled object -> of the first


def moved(mask: BoolArray, random: np.random.Generator) -> BoolArray:
    """The mask moved by half of its box in a random direction of four, cut at the image's edge."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    half = (max(2, (rows[-1] - rows[0] + 1) // 2), max(2, (columns[-1] - columns[0] + 1) // 2))
    found = mask
    for turn in random.permutation(4):
        step = (half[0] * (turn % 2), half[1] * (1 - turn % 2))
        sign = 1 if turn < 2 else -1
        there = np.zeros_like(mask)
        y, x = np.nonzero(mask)
        y, x = y + sign * step[0], x + sign * step[1]
        inside = (y >= 0) & (y < mask.shape[0]) & (x >= 0) & (x < mask.shape[1])
        there[y[inside], x[inside]] = True
        found = there
        if there.sum() > mask.sum() / 2:
            break
    return found


# long: one kind of error after another
def plant(coco: dict[str, Any], seed: int) -> Planted:
    """Plant the same number of errors of each kind in a COCO file, no object twice."""
    found = copy.deepcopy(coco)
    random = np.random.default_rng(seed)
    sizes = {image["id"]: (image["height"], image["width"]) for image in found["images"]}
    objects = [each for each in found["annotations"] if not each.get("iscrowd")]
    kinds = [each for each in PLANTED if each != "label" or len(found["categories"]) > 1]
    count = max(LEAST, round(SHARE * len(objects)))
    picked = random.choice(len(objects), (len(kinds), count), replace=False)
    wrong: dict[int, str] = {}
    originals: dict[int, int] = {}
    deleted: list[dict[str, Any]] = []
    free = max(each["id"] for each in objects) + 1
    for kind, rows in zip(kinds, picked, strict=True):
        for row in rows.tolist():
            each = objects[row]
            size = sizes[each["image_id"]]
            wrong[each["id"]] = kind
            if kind == "label":
                others = [c["id"] for c in found["categories"] if c["id"] != each["category_id"]]
                each["category_id"] = int(random.choice(others))
            elif kind == "missed":
                deleted.append(each)
                found["annotations"].remove(each)
            elif kind == "outline":
                _redraw(each, moved(decode(each["segmentation"], *size), random))
            else:
                again = {**copy.deepcopy(each), "id": free}
                found["annotations"].append(again)
                wrong[free], originals[free] = kind, each["id"]
                free += 1
    return Planted(found, wrong, deleted, originals)


def _redraw(annotation: dict[str, Any], mask: BoolArray) -> None:
    rle = encode(mask)
    annotation["segmentation"] = rle
    annotation["bbox"] = [float(side) for side in rle_tools.toBbox(rle)]
    annotation["area"] = float(rle_tools.area(rle))


def by_loss(images: Sequence[HeldOutImage]) -> list[Claim]:
    """Objects and detections ranked by their loss, as an obvious alternative.

    The loss of an object is -log of its label's probability in the detection that overlaps it most,
    plus 1 - IoU. The loss of a detection without an object (IoU of FITS) is -log(1 - score).
    """
    found: list[tuple[float, Claim]] = []
    for image in images:
        truth = image.evaluated
        ious = np.zeros((len(truth.masks), len(truth.true_masks)))
        if ious.size:
            crowd = truth.iscrowd.astype(np.uint8).tolist()
            ious = np.asarray(rle_tools.iou(truth.masks, truth.true_masks, crowd))
        for row in np.flatnonzero(~truth.iscrowd).tolist():
            loss, best = -np.log(1e-3) + 1, -1
            if len(ious) and ious[:, row].max() > 0:
                best = int(ious[:, row].argmax())
                sure = max(1e-3, float(image.class_probs[best, truth.true_labels[row]]))
                loss = -np.log(sure) + 1 - ious[best, row]
            found.append((float(loss), Claim(image.number, row, best)))
        for row in np.flatnonzero(ious.max(1, initial=0.0) < FITS).tolist():
            loss = -np.log(max(1e-3, 1 - float(truth.scores[row])))
            found.append((float(loss), Claim(image.number, -1, row)))
    return [claim for _, claim in sorted(found, key=lambda each: -each[0])]


def right(
    claims: Sequence[Claim], images: Sequence[HeldOutImage], samples: CocoSamples, planted: Planted
) -> list[str]:
    """The kind of the planted error that each of the first claims names; '' for a wrong claim.

    Each error counts once, also a doubled object with its two ids.
    """
    by_number = {image.number: image.evaluated for image in images}
    left = list(planted.deleted)
    named: set[int] = set()
    found = []
    for claim in claims[:FIRST]:
        kind, truth = "", by_number[claim.image]
        if claim.object >= 0:
            rows = samples.annotations[claim.image]
            number = int(str(rows[claim.object]["id"]))
            error = planted.originals.get(number, number)
            kind = planted.wrong.get(number, "") if error not in named else ""
            named.add(error)
        else:
            for gone in [g for g in left if g["image_id"] == samples.image_ids[claim.image]]:
                mask = encode(decode(gone["segmentation"], *truth.size))
                if np.asarray(rle_tools.iou([truth.masks[claim.detection]], [mask], [0])) >= FITS:
                    kind = "missed"
                    left.remove(gone)
                    break
        found.append(kind)
    return found


def run(data: Path, name: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Measure a set with the errors of a seed."""
    source = data / name
    coco = json.loads((source / "instances.json").read_text(encoding="utf-8"))
    planted = plant(coco, seed)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "instances.json"
        path.write_text(json.dumps(planted.coco), encoding="utf-8")
        labels, samples = load_coco(path, source / "images")
        group = GROUPS.get(name, "")
        parts = folds(samples.file_names, count=options.folds, seed=seed, group=group)
        recipe = choose("cpu", samples.statistics(), gpu=False, weights="imagenet", backbone="")
        recipe = dataclasses.replace(recipe, steps=options.steps)
        models = Path(scratch) / "models"
        found = held_out_images(
            samples, labels, recipe, parts, seed=seed, weights="imagenet", folder=models
        )
        images = list(found)
    suspects = [(s.kind, Claim(s.image, s.object, s.detection)) for s in find_suspects(images)]
    loss = by_loss(images)
    objects = [c for c in loss if c.object >= 0]
    random = np.random.default_rng([seed, 1])
    chance = [objects[row] for row in random.permutation(len(objects))]
    rankings = {
        "review": [claim for _, claim in suspects],
        # Doubles need no model, and most come first.
        "review without doubles": [claim for kind, claim in suspects if kind != "double"],
        "loss": loss,
        "chance": chance,
    }
    kinds = {key: right(claims, images, samples, planted) for key, claims in rankings.items()}
    return {
        "planted": len(planted.deleted) + sum(k != "missed" for k in planted.wrong.values()),
        "objects": len(objects),
        "precision": {key: sum(map(bool, each)) / FIRST for key, each in kinds.items()},
        "kinds": {key: {kind: each.count(kind) for kind in PLANTED} for key, each in kinds.items()},
    }


def main() -> None:
    """Make the runs that are not in ROWS, and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--sets", default="tools_bench,highway_cam")
    parser.add_argument("--seeds", default="0-2")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--folds", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = options.rows.read_text("utf-8").splitlines() if options.rows.exists() else []
    known = {json.dumps(row["asked"]): row for row in map(json.loads, lines)}
    found: dict[str, dict[str, list[float]]] = {}
    for name in options.sets.split(","):
        for seed in read_seeds(options.seeds):
            asked = {"data": name, "seed": seed, "steps": options.steps, "folds": options.folds}
            row = known.get(json.dumps(asked))
            if row is None:
                row = {"asked": asked, **run(options.data, name, seed, options)}
                with options.rows.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
            for key, value in row["precision"].items():
                found.setdefault(name, {}).setdefault(key, []).append(value)
    print(json.dumps({name: {key: summary(values) for key, values in each.items()}
                      for name, each in found.items()}))  # fmt: skip


if __name__ == "__main__":
    main()

"""Match tables: the matches of a model's detections on a large set of images, label by label.

    OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.match_tables DATA CHECKPOINT TABLE [--images N]

Detects objects in the images of a COCO data set (DATA has `instances.json` and `images/`), matches
them with the product's code, and writes a file of numpy arrays. `benchmarks.interval_coverage`
draws small validation sets from such tables, so it needs no images and no model. `made_up` makes
tables without data.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from taudis.data.coco import load_coco
from taudis.detector.checkpoint import load_checkpoint
from taudis.evaluation.matching import EvaluatedImage
from taudis.evaluation.metrics import COCO_DETECTIONS
from taudis.evaluation.resampling import LabelMatches, label_matches
from taudis.types import FloatArray, IntArray

Table = list[LabelMatches]
"""The matches of each label over the same I images."""


def save(path: Path, table: Table) -> None:
    """Write a table; `load` reads it."""
    arrays = {}
    for number, label in enumerate(table):
        arrays[f"image{number}"] = label.image.astype(np.int32)
        arrays[f"hit{number}"] = label.hit
        arrays[f"objects{number}"] = label.objects.astype(np.int32)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def load(path: Path) -> Table:
    """The table that `save` wrote."""
    with np.load(path) as found:
        return [
            LabelMatches(
                found[f"image{number}"].astype(np.int64),
                found[f"hit{number}"],
                found[f"objects{number}"].astype(np.int64),
            )
            for number in range(sum(name.startswith("hit") for name in found.files))
        ]


def drawn(table: Table, rows: IntArray) -> Table:
    """The table of a set of these images [n], which may repeat."""
    times = np.bincount(rows, minlength=len(table[0].objects))
    first = np.cumsum(times) - times
    places = np.argsort(rows, kind="stable")
    return [_drawn(label, rows, times, places, first) for label in table]


def _drawn(
    label: LabelMatches, rows: IntArray, times: IntArray, places: IntArray, first: IntArray
) -> LabelMatches:
    """Each detection as often as its image; copies are adjacent."""
    copies = times[label.image]
    kept = np.repeat(np.arange(len(copies)), copies)
    which = np.arange(len(kept)) - np.repeat(np.cumsum(copies) - copies, copies)
    image = places[first[label.image[kept]] + which]
    return LabelMatches(image, label.hit[kept], label.objects[rows])


def frequent(table: Table, labels: int) -> Table:
    """The labels with the most objects."""
    order = np.argsort([-label.objects.sum() for label in table], kind="stable")
    return [table[row] for row in order[:labels]]


def losing(table: Table, share: float, rng: np.random.Generator) -> Table:
    """The table of a worse model: each hit is removed with this probability."""
    made = []
    for label in table:
        kept = ~label.hit | (rng.random(len(label.hit)) >= share)
        made.append(LabelMatches(label.image[kept], label.hit[kept], label.objects))
    return made


# long: one model of images and detections, drawn step by step
def made_up(labels: int, skills: FloatArray, *, images: int = 4000, seed: int = 0) -> list[Table]:
    """Tables of made-up models on the same images, one for each skill (0: about 0.4 mAP50).

    The share of images that show a label falls from 0.6 for the first label to 0.03 for the last,
    evenly on a logarithmic scale (a single label: 0.8). An image that shows a label has
    1 + Poisson(1) objects of it. An object is found if skill + quality of the label - hardness of
    the image + ease of the object + noise > 0, with standard deviations of 1, 0.8, 1 and 0.7 after
    the skill. Only the noise differs between models. The score is this sum - 1, with noise of 0.7.
    The number of false alarms is Poisson, with 0.15 per image and 0.6 more if it shows the label,
    more in hard images and for less skill; their scores are normal(-0.7, 1).
    """
    rng = np.random.default_rng(seed)
    share = np.geomspace(0.6, 0.03, labels) if labels > 1 else np.array([0.8])
    quality, hard = rng.normal(0, 1, labels), rng.normal(0, 0.8, images)
    tables: list[Table] = [[] for _ in skills]
    for label in range(labels):
        objects = np.where(rng.random(images) < share[label], 1 + rng.poisson(1.0, images), 0)
        image = np.repeat(np.arange(images), objects)
        ease = quality[label] - hard[image] + rng.normal(0, 1, len(image))
        for table, skill in zip(tables, skills, strict=True):
            sure = skill + ease + rng.normal(0, 0.7, len(image))
            found = sure > 0
            rate = (0.15 + 0.6 * (objects > 0)) * np.exp(0.4 * hard - 0.3 * skill)
            false = np.repeat(np.arange(images), rng.poisson(rate))
            right = sure[found] - 1 + rng.normal(0, 0.7, int(found.sum()))
            score = np.concatenate([right, rng.normal(-0.7, 1, len(false))])
            best = np.argsort(-score, kind="stable")
            hit = np.arange(len(score)) < len(right)
            where = np.concatenate([image[found], false])
            table.append(LabelMatches(where[best], hit[best], objects))
    return tables


def collect(data: Path, checkpoint: Path, images: int) -> Table:
    """The matches of a checkpoint on every n-th image of a set, at most `images` of them."""
    labels, samples = load_coco(data / "instances.json", data / "images")
    detector = load_checkpoint(checkpoint, label_map=labels)[0].fast()
    step = -(-len(samples) // images)
    seen = []
    for row in range(0, len(samples), step):
        image, target = samples[row]
        seen.append(EvaluatedImage.of(target, detector.detect([image])[0]))
    limit = max(COCO_DETECTIONS, detector.config.detections_per_image)
    return label_matches(seen, labels, limit)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("--images", type=int, default=10_000)
    given = parser.parse_args()
    save(given.table, collect(given.data, given.checkpoint, given.images))


if __name__ == "__main__":
    main()

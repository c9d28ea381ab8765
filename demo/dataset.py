"""The pictures of a demonstration, split into a pool to label and a held-out set."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from demo import pictures
from demo.errors import DemoError
from demo.options import Options
from taudis.cli.coco_check import open_labelled
from taudis.data.coco import CocoSamples, load_coco
from taudis.errors import DataError
from taudis.types import LabelMap


@dataclass(frozen=True)
class Dataset:
    """Pictures with their ground truth. Annotators label the pool; nobody labels the held-out set.

    The held-out set measures every round's model (mAP50).
    """

    samples: CocoSamples  # all pictures
    label_map: LabelMap
    folder: Path  # of the image files
    pool: tuple[int, ...]  # rows of `samples`
    held_out: tuple[int, ...]  # rows of `samples`
    name: str


def load_dataset(options: Options) -> Dataset:
    """Generate pictures or read a COCO data set, and split it.

    A hash of the file names shuffles the pictures, so every run has the same split. The check of a
    COCO file writes to stderr what it leaves out.

    Raises:
        DemoError: the data set cannot be used.
    """
    most = options.held_out_size if options.auto else 0  # a person's run measures nothing on them
    if options.data is None:
        count = options.pool_size + most
        folder = options.folder / f"pictures-{count}"
        truth = folder / "instances.json"
        if not truth.exists():
            pictures.generate(folder, count, seed=0)
        images, name = folder / "images", "generated pictures"
        label_map, samples = load_coco(truth, images)
    else:
        truth, images = options.data, options.images or options.data.parent / "images"
        name = options.data.parent.name or options.data.stem
        label_map, samples = _checked(truth, images, options.crowds)
    rows = sorted(range(len(samples)), key=lambda row: _hash(samples.file_names[row]))
    held_out = min(most, len(rows) // 3)
    pool = rows[held_out : held_out + options.pool_size]
    return Dataset(samples, label_map, images, tuple(pool), tuple(rows[:held_out]), name)


def _checked(file: Path, images: Path, crowds: str) -> tuple[LabelMap, CocoSamples]:
    """Read a COCO file with the same checks as `python -m taudis train`."""
    try:
        checked = open_labelled(file, images, crowds, skip_bad=True)
    except DataError as error:
        raise DemoError(str(error).replace("--crowds ", "DEMO_CROWDS=")) from error
    return checked.label_map, checked.samples


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()

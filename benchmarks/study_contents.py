"""Records what the images that each strategy chose contain, from the labels of the data sets.

    .venv/bin/python -m benchmarks.study_contents DATA

DATA is the folder of the data sets. The models do not know these labels when a strategy chooses.
The figures show which kind of image a strategy prefers, for example images with few and large
objects. For each grid of docs/results/rows, docs/results/contents.jsonl gets one line for all
training images, with the share of the test images of which a training image is nearly equal, one
line for each row of a round, and one line for each choice of
benchmarks/study_choices.py. The file is written whole. The last line is JSON: the number of lines.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PILImage

from benchmarks.study import ROWS, folder_of
from benchmarks.study_choices import CHOICES
from benchmarks.study_pictures import open_data
from benchmarks.study_rows import CHOICE
from taudis.files import draft_file
from taudis.simulation.data_set import DataSet
from taudis.simulation.grid import Grid
from taudis.simulation.split import scenes_of
from taudis.types import FloatArray, Image

CONTENTS = ROWS.parent / "contents.jsonl"


def sizes_of(path: Path) -> dict[int, list[float]]:
    """Image id -> the areas of its objects as shares of the image's area, without crowds.

    path: a COCO instances file.
    """
    found = json.loads(path.read_text(encoding="utf-8"))
    pixels = {image["id"]: image["width"] * image["height"] for image in found["images"]}
    sizes: dict[int, list[float]] = {number: [] for number in pixels}
    for each in found["annotations"]:
        if not each.get("iscrowd"):
            sizes[each["image_id"]].append(each["area"] / pixels[each["image_id"]])
    return sizes


def contents(
    ids: Iterable[int], data: DataSet, sizes: dict[int, list[float]], group: str
) -> dict[str, Any]:
    """Numbers of images, scenes, objects and labels, and the median size of an object.

    group: regular expression of a scene, as for `simulate`; "" if every image is a scene.
    """
    chosen = list(ids)
    names = [data.samples.file_names[data.row_of[number]] for number in chosen]
    labels = [data.samples.labels_at(data.row_of[number]) for number in chosen]
    areas = [area for number in chosen for area in sizes[number]]
    return {
        "images": len(chosen),
        "scenes": len(set(scenes_of(names, group))),
        "objects": sum(map(len, labels)),
        "labels": len({int(label) for each in labels for label in each}),
        "empty": sum(len(each) == 0 for each in labels),
        "median_size": round(float(np.median(areas)), 6) if areas else None,
    }


THUMBNAIL = 16  # px
ALIKE = 6.0
"""Largest mean difference of two thumbnails of 0 to 255 whose images count as nearly equal. The
same measure says in ../shared/data/README.md which sets are redundant."""


def thumbnail(image: Image) -> FloatArray:
    """The grey thumbnail [THUMBNAIL * THUMBNAIL] of an image [H,W,3], 0 to 255."""
    small = PILImage.fromarray(image).convert("L").resize((THUMBNAIL, THUMBNAIL), PILImage.BOX)
    return np.asarray(small, np.float32).ravel()


def twins(test: Sequence[FloatArray], train: Sequence[FloatArray]) -> float:
    """The share of test images of which a training image is nearly equal. Both: thumbnails."""
    others = np.stack(train)
    return float(np.mean([np.abs(others - each).mean(1).min() <= ALIKE for each in test]))


def lines_of(path: Path, data: Path) -> list[dict[str, Any]]:
    """The lines of a grid: its training images, every row of a round, every recorded choice."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    grid = Grid.from_dict(rows[0]["record"]["shared"])
    opened = open_data(data, path.stem, grid)
    sizes = sizes_of(data / folder_of(path.stem) / "instances.json")
    pool = {"data": path.stem, "strategy": None, "seed": None, "round": None}
    thumbnails = [thumbnail(opened.samples.image(row)) for row in range(len(opened.samples))]
    train = [thumbnails[opened.row_of[number]] for number in opened.train_ids]
    alike = round(twins([thumbnails[row] for row in opened.test_rows], train), 4)
    inside = contents(opened.train_ids, opened, sizes, grid.group)
    found = [pool | inside | {"test_images_alike": alike}]
    for row in rows:
        if row["kind"] == "round":
            name = {key: row[key] for key in ("data", "strategy", "seed", "round")}
            found.append(name | contents(row["chosen"], opened, sizes, grid.group))
    for row in map(json.loads, CHOICES.read_text(encoding="utf-8").splitlines()):
        if row["data"] == path.stem:
            name = {"kind": CHOICE, **{key: row[key] for key in ("data", "strategy", "seed")}}
            found.append(name | contents(row["chosen"], opened, sizes, grid.group))
    return found


def main() -> None:
    """Write the lines of all grids."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    given = parser.parse_args()
    found = [line for path in sorted(ROWS.glob("*.jsonl")) for line in lines_of(path, given.data)]
    with draft_file(CONTENTS) as draft:
        draft.write_text("".join(json.dumps(line) + "\n" for line in found), encoding="utf-8")
    print(json.dumps({"lines": len(found)}))


if __name__ == "__main__":
    main()

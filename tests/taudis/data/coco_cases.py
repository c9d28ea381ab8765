"""COCO files of two small pictures, to be changed and checked, for the tests of `check`."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from taudis.__main__ import app
from taudis.data.coco.check import check_coco

SQUARE = [[8, 8, 24, 8, 24, 24, 8, 24]]
RUNS = {"size": [64, 64], "counts": [64, 64, 3968]}  # the second column


def content(images=2, **changes):
    """A plain COCO file: every image has a square of 256 px and a bar of 64."""
    every = {
        "images": [
            {"id": 7 + row, "file_name": f"{row}.png", "width": 64, "height": 64}
            for row in range(images)
        ],
        "annotations": [
            {"id": 2 * row + part, "image_id": 7 + row, "category_id": part, "iscrowd": 0,
             "segmentation": SQUARE if part == 1 else RUNS}
            for row in range(images) for part in (1, 2)
        ],
        "categories": [{"id": 1, "name": "square"}, {"id": 2, "name": "bar"}],
    }  # fmt: skip
    return {**every, **changes}


def write(folder, value):
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    (folder / "coco.json").write_bytes(text)
    return folder / "coco.json"


def look(folder, value, **options):
    return check_coco(write(folder, value), folder, **options)


def run(*arguments):
    done = CliRunner().invoke(app, list(map(str, arguments)))
    last = done.stdout.splitlines()[-1] if done.stdout else ""
    return done, json.loads(last) if last.startswith("{") else {}


def area(checked, row=0):
    return [int(mask.sum()) for mask in checked.samples.target(row).masks]

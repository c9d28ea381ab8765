"""Draws the detections of several strategies' models in the same test images, as in figure E.2.

    OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.study_pictures DATA SET PICTURE
        [--strategies random,wse,taudis] [--seed 0] [--round 3] [--images 4]

SET is a file name in docs/results/rows, without .jsonl. The models are trained again from their
rows, as with `simulate --rerun`. Instances with a score of at least 0.5 are outlined, in a colour
for each label. The first row of the picture shows the labelled objects. The test images are those
with the most different labels, then the most objects, at most one per scene. PICTURE ends in .png.
The repository has no such picture, because it shows images of the data set. The last line is JSON:
mAP50 of the models, then and now.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from benchmarks.study import ROWS, folder_of
from taudis.cli.coco_check import open_labelled
from taudis.cli.why_picture import outlines
from taudis.evaluation.visible import thresholds_for, visible
from taudis.files import draft_file
from taudis.simulation.claims import Claims, Lock
from taudis.simulation.data_set import DataSet, data_set, divided
from taudis.simulation.grid import Grid
from taudis.simulation.jobs import Job
from taudis.simulation.model_store import Model, ModelStore
from taudis.types import BoolArray, Detection, Image

Panel = tuple[Image, list[tuple[int, list[np.ndarray]]]]  # image; (label, outlines) of instances
PANEL_INCHES = 3.0


def open_data(data: Path, name: str, grid: Grid) -> DataSet:
    """The data set of a grid."""
    here = data / folder_of(name)
    checked = open_labelled(
        here / "instances.json", here / "images", grid.crowds, skip_bad=grid.skip_bad
    )
    rows = divided(checked.samples, share=grid.test_share, seed=grid.split_seed, group=grid.group)
    return data_set(checked.label_map, checked.samples, rows, grid.recipe.model)


def images_to_draw(data: DataSet, group: str, count: int) -> list[int]:
    """Rows of the test images with most labels, then most objects, one per scene."""

    def richness(row: int) -> tuple[int, int]:
        labels = data.samples.labels_at(row)
        return len(np.unique(labels)), len(labels)

    scenes: dict[object, int] = {}
    for row in sorted(data.test_rows, key=richness, reverse=True):
        found = re.search(group or "(.*)", data.samples.file_names[row])
        scenes.setdefault(found.groups() if found else row, row)
    return list(scenes.values())[:count]


def outlines_of(mask: BoolArray) -> list[np.ndarray]:
    """The closed outer outlines of a mask, px."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    lines = [np.asarray(contour, np.float64).reshape(-1, 2) for contour in found]
    return [np.concatenate([line, line[:1]]) for line in lines]


def found_in(image: Image, detection: Detection, data: DataSet) -> Panel:
    """An image with the instances that are visible as pre-annotations."""
    kept = visible(detection.instances, thresholds_for(data.label_map, {}))
    only = Detection(**{**vars(detection), "instances": kept})
    return image, [(int(kept.labels[row]), outlines(only, row)) for row in range(len(kept))]


def draw(path: Path, rows: dict[str, list[Panel]], names: tuple[str, ...]) -> None:
    """Write the picture: a row for each model, a column for each image."""
    count = len(next(iter(rows.values())))
    figure = Figure(figsize=(PANEL_INCHES * count, PANEL_INCHES * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(rows), count, squeeze=False)
    palette = colormaps["tab10" if len(names) <= 10 else "tab20"]
    for line, (title, panels) in zip(grid, rows.items(), strict=True):
        line[0].set_ylabel(title, fontsize=9)
        for axes, (image, instances) in zip(line, panels, strict=True):
            axes.imshow(image)
            axes.set_xticks([])
            axes.set_yticks([])
            for label, lines in instances:
                colour = palette((label - 1) % palette.N)
                axes.add_collection(LineCollection(lines, colors=[colour], linewidths=1.6))
    handles = [figure.axes[0].plot([], [], color=palette(row % palette.N))[0]
               for row in range(len(names))]  # fmt: skip
    figure.legend(handles, names, loc="outside lower center", ncols=6, fontsize=8)
    with draft_file(path) as draft:
        figure.savefig(draft, dpi=100)


def main() -> None:
    """Train the models again, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("set")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--strategies", default="random,wse,taudis")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--round", type=int, default=3)
    parser.add_argument("--images", type=int, default=4)
    given = parser.parse_args()
    lines = (ROWS / f"{given.set}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = {Job.of_row(row): row for row in map(json.loads, lines)}
    chosen = [rows[Job.find(f"{name}/{given.seed}/{given.round}", rows)]
              for name in given.strategies.split(",")]  # fmt: skip
    grid = Grid.from_dict(chosen[0]["record"]["shared"])
    data = open_data(given.data, given.set, grid)
    images = images_to_draw(data, grid.group, given.images)
    pairs = data.pairs([data.samples.image_ids[row] for row in images])
    truth = [(image, [(int(label), outlines_of(mask))
                      for label, mask in zip(target.labels, target.masks, strict=True)])
             for image, target in (pairs[row] for row in range(len(pairs)))]  # fmt: skip
    panels: dict[str, list[Panel]] = {"labels of the data set": truth}
    figures: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        lock = Lock(Path(folder) / "lock")
        with Claims(Path(folder) / "claims", lock) as claims:
            store = ModelStore(Path(folder) / "models", claims, grid, data)
            for row in chosen:
                model = Model.of(Job.of_row(row), row["labelled"])
                again = store.evaluation(model)["map50"]
                detector = store.detector(model)
                title = f"{row['strategy']}, mAP50 {again:.3f}"
                panels[title] = [found_in(image, detector.detect([image])[0], data)
                                 for image, _ in truth]  # fmt: skip
                figures.append({"strategy": row["strategy"], "map50": row["map50"],
                                "map50_again": again})  # fmt: skip
    draw(given.picture, panels, data.label_map.names)
    print(json.dumps({"models": figures, "images": len(images)}))


if __name__ == "__main__":
    main()

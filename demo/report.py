"""Draws the picture of a finished run: queue, pre-annotations, learning curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
import numpy.typing as npt

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from backend.label_studio.regions.encode import paste
from backend.store.arms import ArmComparison
from taudis.types import Detection

Image = npt.NDArray[np.uint8]
HEAD = 10
"""Number of pictures drawn from the head of each order."""


@dataclass
class RoundRecord:
    """The result of one round, or the first order, for the table and the picture."""

    version: str
    labels: int  # labelled tasks in its snapshot; 0 for the first order
    map50: float | None  # on the held-out pictures; None before the first model
    seconds: float
    order: list[int]  # task ids, first-served first
    already_labelled: set[int] = field(default_factory=set)  # task ids
    pre_annotations: list[Detection] = field(default_factory=list)  # of the example pictures
    cost: tuple[float, float] | None = None  # held-out pictures: drawings corrected, and by hand


def draw(
    path: Path,
    rounds: Sequence[RoundRecord],
    thumbnails: dict[int, Image],
    examples: Sequence[Image],
    title: str,
    threshold: float,
    arms: Sequence[ArmComparison] = (),
) -> None:
    """Write the PNG: orders at the top, pre-annotations of example pictures, then the curves.

    Args:
        path: the PNG file.
        rounds: the first order, then the rounds.
        thumbnails: task id -> picture [H,W,3], of every ordered task.
        examples: held-out pictures [H,W,3], as many as each record has pre-annotations.
        title: heading.
        threshold: instances are drawn from this score on.
        arms: the comparisons of the random and the strategy's arm, oldest first.
    """
    models = [row for row in rounds if row.map50 is not None]
    height = 1.25 * len(rounds) + 2.3 * len(examples) + 3.6
    figure = plt.figure(figsize=(14, height), layout="constrained")
    figure.suptitle(title)
    heights = [1.25 * len(rounds), 2.3 * len(examples) + 0.2, 3.4]
    parts: Any = figure.subfigures(3, 1, height_ratios=heights)
    top, middle, bottom = parts
    _orders(top, rounds, thumbnails)
    _pre_annotations(middle, models, examples, threshold)
    left, *right = np.ravel(bottom.subplots(1, 2 if arms else 1))
    _curve(left, models)
    for axis in right:
        _arms(axis, arms)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _orders(figure: Any, rounds: Sequence[RoundRecord], thumbnails: dict[int, Image]) -> None:
    """One row for each published order: the first pictures that annotators are served."""
    figure.suptitle("What annotators are served first, after each round", fontsize=10)
    axes = figure.subplots(len(rounds), HEAD, squeeze=False)
    for row, record in zip(axes, rounds, strict=True):
        head = [task for task in record.order if task not in record.already_labelled][:HEAD]
        for place, axis in enumerate(row):
            axis.set_axis_off()
            if place < len(head):
                axis.imshow(thumbnails[head[place]])
        name = "first order" if record.map50 is None else f"{record.labels} labels"
        row[0].set_title(name, fontsize=8, loc="left")


def _pre_annotations(
    figure: Any, rounds: Sequence[RoundRecord], examples: Sequence[Image], threshold: float
) -> None:
    """Pictures that nobody labels, with the instances that each round's model finds in them."""
    figure.suptitle(
        "Pre-annotations of the same pictures, which nobody labels, round by round", fontsize=10
    )
    axes = figure.subplots(len(examples), max(1, len(rounds)), squeeze=False)
    for row, image in enumerate(examples):
        for column, record in enumerate(rounds):
            axis: Axes = axes[row][column]
            axis.set_axis_off()
            axis.imshow(overlay(image, record.pre_annotations[row], threshold))
            if row == 0:
                axis.set_title(f"{record.labels} labels, mAP50 {record.map50:.2f}", fontsize=8)


def overlay(image: Image, detection: Detection, threshold: float) -> Image:
    """A copy of the image [H,W,3] with the outlines of instances from the threshold on.

    The label decides the colour.
    """
    found = detection.instances
    drawn = image.copy()
    if found.mask_probs is None:
        return drawn
    colours = (plt.get_cmap("Set1")(np.arange(9))[:, :3] * 255).astype(int).tolist()
    for row in np.flatnonzero(found.scores >= threshold):
        crop = paste(found.mask_probs[row], found.boxes[row], *detection.size)
        if crop is None:
            continue
        mask = crop.paste(*detection.size).astype(np.uint8)
        outline, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        colour = colours[int(found.labels[row] - 1) % len(colours)]
        cv2.drawContours(drawn, outline, -1, (255, 255, 255), 3)
        cv2.drawContours(drawn, outline, -1, colour, 2)
    return drawn


def _curve(axis: Axes, rounds: Sequence[RoundRecord]) -> None:
    """mAP50 on the held-out pictures by the number of labels."""
    scores = [float(row.map50 or 0) for row in rounds]
    axis.plot([row.labels for row in rounds], scores, "o-", color="tab:blue")
    axis.set_xlabel("labelled pictures")
    axis.set_ylabel("mAP50, held-out pictures")
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)


def _arms(axis: Axes, found: Sequence[ArmComparison]) -> None:
    """mAP50 of both arms by the number of labels, with its 95 % interval."""
    names = {"strategy": f"order by {found[-1].strategy}", "random": "random order"}
    shift = 0.2  # keeps the bars of both arms apart
    for arm, colour in (("strategy", "tab:blue"), ("random", "tab:orange")):
        known = [one for one in found if one.map50[arm] is not None]
        labels = [one.labels + (shift if arm == "random" else -shift) for one in known]
        middle = np.array([one.map50[arm] for one in known], float)
        ends = np.array([one.intervals[arm] for one in known], float).reshape(-1, 2)
        below, above = middle - ends[:, 0], ends[:, 1] - middle
        reach = np.nan_to_num(np.clip([below, above], 0, None))
        axis.errorbar(labels, middle, reach, fmt="o-", capsize=3, color=colour, label=names[arm])
    axis.set_title("What the labels of each arm of the queue are worth", fontsize=10)
    axis.set_xlabel("training pictures of each model")
    axis.set_ylabel("mAP50, validation pictures")
    axis.set_xlim(0, 1.05 * max(one.labels for one in found))
    axis.set_ylim(bottom=0)
    axis.legend(loc="lower left")
    axis.grid(alpha=0.3)

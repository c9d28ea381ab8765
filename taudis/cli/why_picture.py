"""The picture of `why`: each image with its chosen instances outlined, and a caption below.

Letters: n detections of an image, H and W its height and width.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from taudis.cli.options import check_file_path
from taudis.cli.why import ChosenInstance, Why
from taudis.detector.adapter import Adapter
from taudis.detector.pasting import pasted_masks
from taudis.errors import DataError
from taudis.files import draft_file
from taudis.types import BoolArray, Detection, FloatArray, Image

SUFFIXES = (".png", ".jpg", ".jpeg")
COLUMNS = 5  # images per row
PANEL_INCHES = 3.0  # width of a panel
DPI = 100
CAPTION_CHARACTERS = 52  # characters per line below a panel, at CAPTION_POINTS
CAPTION_POINTS = 7.5
IMAGE_PX = 600  # largest side of an image in the picture; its panel has fewer px
TOLERANCE_PX, TOLERANCE_SHARE = 1.0, 0.02
"""Largest distance of a box from that in the pool: in px, or as a share of its longer side."""

Outline = FloatArray
"""A closed line [points,2], xy px of the image."""


def check_picture_path(path: Path) -> None:
    """Raise DataError unless a picture can be written to this path.

    Call this before the model runs, so that no work is lost.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path}: expected a name that ends in {', '.join(SUFFIXES)}.")
    check_file_path(path)


def look_again(
    reasons: Iterable[Why], model: Adapter, images: Iterable[Image]
) -> Iterator[tuple[Why, Image, Detection]]:
    """Each reason with its image and the model's detections, one by one, for `draw`.

    A pool has no masks, so the model that scored it detects the objects again.
    """
    for why, image in zip(reasons, images, strict=True):
        yield why, image, model.detect([image], embedding="mask")[0]


def matched(why: Why, detection: Detection) -> list[int]:
    """The row of each chosen instance of an image among the detections of a second run.

    It is the row of the detection of the same label with the nearest box. The order of detections
    may differ between runs, because another batch size or machine rounds scores differently. Raises
    DataError if no box is within the tolerance; then the model or the image is not the same.
    """
    return [_row_of(one, detection) for one in why.chosen]


def _row_of(one: ChosenInstance, detection: Detection) -> int:
    """The row of one chosen instance; see `matched`."""
    found, box = detection.instances, np.array(one.box)
    gaps = np.abs(found.boxes - box).max(axis=1, initial=0.0)
    gaps[found.labels != one.label] = np.inf
    row = int(gaps.argmin()) if len(gaps) else -1
    gap = float(gaps[row]) if len(gaps) else float("inf")
    allowed = max(TOLERANCE_PX, TOLERANCE_SHARE * float((box[2:] - box[:2]).max()))
    if gap > allowed:
        nearest = (
            f"the nearest is {gap:.1f} px off" if np.isfinite(gap) else "got none of its label"
        )
        raise DataError(
            f"image {one.image_id}: expected detection {one.number} of the pool at"
            f" {[round(side, 1) for side in one.box]} again, {nearest}. Draw with the model and the"
            " images that the pool was scored with, or score it again."
        )
    return row


def draw(
    path: Path,
    seen: Iterable[tuple[Why, Image, Detection]],
    label_names: tuple[str, ...] = (),
) -> None:
    """Write the picture atomically: a panel for each image, in the given order.

    path: .png, .jpg or .jpeg. seen: reason, image uint8 [H,W,3] RGB, and the detections of the
    model that scored the pool; read one by one. The colour of a chosen instance shows its gain. Its
    outline is dashed if the cover was complete before. Other detections are thin and grey. Raises
    DataError for another suffix, without images, and for a chosen instance that is not detected
    again.
    """
    check_picture_path(path)
    panels = [_panel(why, image, detection) for why, image, detection in seen]
    if not panels:
        raise DataError(f"{path}: expected at least one chosen image to draw, got none.")
    figure = _figure(panels, label_names)
    options = {} if path.suffix.lower() == ".png" else {"quality": 80, "optimize": True}
    with draft_file(path) as draft:
        figure.savefig(draft, dpi=DPI, pil_kwargs=options)


@dataclass(frozen=True, eq=False)
class _Panel:
    """The content of a panel."""

    why: Why
    image: Image  # at most IMAGE_PX on its longer side
    size: tuple[int, int]  # (height, width) px of the original image
    chosen: list[list[Outline]]  # of each chosen instance
    other: list[Outline]  # of all other detections


def _panel(why: Why, image: Image, detection: Detection) -> _Panel:
    """The panel of an image. Raises DataError for detections of an image of another size."""
    height, width, _ = image.shape
    if detection.size != (height, width):
        raise DataError(
            f"image {why.image_id}: expected detections of {(height, width)} (height, width) px,"
            f" got {detection.size}."
        )
    rows = matched(why, detection)
    others = [row for row in range(len(detection.instances)) if row not in rows]
    return _Panel(
        why=why,
        image=_small(image),
        size=(height, width),
        chosen=[outlines(detection, row) for row in rows],
        other=[line for row in others for line in outlines(detection, row)],
    )


def outlines(detection: Detection, row: int) -> list[Outline]:
    """The outer outlines of a detection's mask, or of its box if the mask is empty."""
    # One mask at a time, because all masks of a large image take gigabytes.
    one = replace(detection, instances=detection.instances.filter(np.array([row])))
    mask: BoolArray = pasted_masks(one)[0]
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    lines = [np.asarray(contour, np.float64).reshape(-1, 2) for contour in found]
    if not lines:
        x1, y1, x2, y2 = detection.instances.boxes[row].tolist()
        lines = [np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])]
    return [np.concatenate([line, line[:1]]) for line in lines]


def _small(image: Image) -> Image:
    """The image, resized to at most IMAGE_PX on its longer side."""
    factor = IMAGE_PX / max(image.shape[:2])
    if factor >= 1:
        return image
    height, width = (max(1, round(side * factor)) for side in image.shape[:2])
    small: Image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return small


def _figure(panels: Sequence[_Panel], label_names: tuple[str, ...]) -> Figure:
    """All panels in a grid, and the colour scale."""
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(PANEL_INCHES * columns, 4.1 * rows + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    most = max((one.gain for panel in panels for one in panel.why.chosen), default=1)
    colours = ScalarMappable(LogNorm(1, max(most, 2)), colormaps["cool"])
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, panel in zip(grid, panels, strict=False):
        _draw_panel(axes, panel, colours, label_names)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    bar = figure.colorbar(
        colours,
        ax=grid.tolist(),
        location="bottom",
        aspect=60,
        pad=0.01,
        fraction=0.03,
        format="{x:.0f}",
    )
    bar.set_label(
        "pool instances that a chosen instance newly covers"
        " (dashed: after the cover was complete; thin grey: not chosen)",
        fontsize=9,
    )
    return figure


def _draw_panel(
    axes: Axes, panel: _Panel, colours: ScalarMappable, label_names: tuple[str, ...]
) -> None:
    """Draw one image with its outlines, its rank above and its sentence below."""
    height, width = panel.size
    # Pixel centres are at integers, as in the outlines.
    axes.imshow(panel.image, extent=(-0.5, width - 0.5, height - 0.5, -0.5))
    axes.add_collection(LineCollection(panel.other, colors="0.6", linewidths=0.6), autolim=False)
    # Draw the largest gain last, so that its outline is on top.
    drawn = sorted(zip(panel.why.chosen, panel.chosen, strict=True), key=lambda pair: pair[0].gain)
    for one, lines in drawn:
        axes.add_collection(
            LineCollection(
                lines,
                colors=colours.to_rgba(np.array([max(one.gain, 1)])),
                linewidths=1.4,
                linestyles="dashed" if one.layer else "solid",
                path_effects=[withStroke(linewidth=2.4, foreground="black")],
            ),
            autolim=False,
        )
    axes.set_xticks([])
    axes.set_yticks([])
    votes = "" if panel.why.votes is None else f", {round(panel.why.votes, 2):g} votes"
    axes.set_title(f"rank {panel.why.rank}{votes}", fontsize=9)
    caption = textwrap.fill(panel.why.sentence(label_names), CAPTION_CHARACTERS)
    axes.set_xlabel(caption, fontsize=CAPTION_POINTS, loc="left")

"""Learning curves as a picture like the paper's figure 2: a line for each strategy.

There is a panel for each axis. A point is a round: the means of labels and mAP50 over the seeds.
The band reaches one sample standard deviation of mAP50 over the seeds to each side.
"""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from taudis.files import draft_file
from taudis.simulation.comparison import Comparison
from taudis.simulation.curves import AXES, Curve

DPI = 110
TITLES = {"images": "labelled images", "objects": "labelled objects", "seconds": "annotation hours"}
SCALE = {"images": 1.0, "objects": 1.0, "seconds": 1 / 3600}
MARKERS = "osv^D<>pPX*hd"


def picture_stems(names: list[str]) -> dict[str, str]:
    """A different file name, without suffix, for each data set."""
    stems: dict[str, str] = {}
    for name in names:
        stem = plain = f"curves-{re.sub(r'[^A-Za-z0-9._-]+', '_', name)}"
        number = 2
        while stem in stems.values():
            stem, number = f"{plain}-{number}", number + 1
        stems[name] = stem
    return stems


def draw_curves(folder: Path, stem: str, found: Comparison) -> list[Path]:
    """Write STEM.png and STEM.svg into a folder that exists. Raises OSError.

    The same comparison gives the same bytes.
    """
    figure = _figure(found)
    paths = [folder / f"{stem}.png", folder / f"{stem}.svg"]
    with mpl.rc_context({"svg.hashsalt": "taudis"}):
        for path in paths:
            metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
            with draft_file(path) as draft:
                figure.savefig(draft, dpi=DPI, metadata=metadata)
    return paths


def _figure(found: Comparison) -> Figure:
    """The panels of a data set, with one legend below."""
    figure = Figure(figsize=(4.2 * len(AXES), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{found.data.name}, {found.seeds} seeds", fontsize=11, parse_math=False)
    panels = figure.subplots(1, len(AXES), squeeze=False)[0]
    for axes, axis in zip(panels, AXES, strict=True):
        _draw_panel(axes, axis, found)
    lines, names = panels[0].get_legend_handles_labels()
    legend = figure.legend(lines, names, loc="outside lower center", ncols=5, fontsize=8)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def _draw_panel(axes: Axes, axis: str, found: Comparison) -> None:
    """The panel of an axis: a line and a band for each strategy, the reference dashed and black."""
    data = found.data
    ordered = [data.reference, *sorted(each.name for each in found.strategies)]
    palette = colormaps["tab10" if len(ordered) <= 11 else "tab20"]
    for place, name in enumerate(ordered):
        colour = "black" if name == data.reference else palette((place - 1) % palette.N)
        _draw_curve(axes, axis, list(data.curves[name].values()), name, colour, place)
    final = found.reference_final.middle
    if final is not None:
        axes.axhline(final, color="black", linewidth=0.7, linestyle=":")
    axes.set_xlabel(TITLES[axis])
    axes.set_ylabel("mask mAP50")
    axes.grid(alpha=0.3)


def _draw_curve(
    axes: Axes, axis: str, curves: list[Curve], name: str, colour: object, place: int
) -> None:
    """The mean curve of one strategy with its band."""
    mean = Curve.mean(curves)
    x = mean.labels[axis] * SCALE[axis]
    axes.plot(
        x,
        mean.map50,
        marker=MARKERS[place % len(MARKERS)],
        markersize=4,
        linewidth=1.4,
        color=colour,
        linestyle="--" if place == 0 else "-",
        label=name,
    )
    if len(curves) > 1:
        spread = np.std([curve.map50 for curve in curves], axis=0, ddof=1)
        axes.fill_between(
            x, mean.map50 - spread, mean.map50 + spread, color=colour, alpha=0.12, linewidth=0
        )

"""Appendix D: random order, and the strategies that rank images by a single figure.

A figure is a number for each image, for example the mean entropy of its detections. Each entry of
`FIGURES` is a strategy. Core-set, round-robin and TAUDIS-IMG of appendix D have their own modules.

Every strategy orders the whole pool. A hash of seed and image id breaks ties. Images without
detections come last, in the order of that hash.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from taudis.errors import SelectionError
from taudis.selection.params import Labelled, ProgressCallback, SelectionParams, check_budget
from taudis.selection.reasons import NO_DETECTIONS, counted
from taudis.selection.vote import seeded_hash
from taudis.types import FloatArray, IntArray, Pool, Selection

WSE = "weighted segmentation entropy"


@dataclass(frozen=True)
class Figure:
    """A query strategy that ranks images by a figure; a call orders a pool.

    The figure of an image depends only on this image. So the order of two images does not change
    when other images enter or leave the pool.
    """

    strategy: str  # its name
    figure: Callable[[Pool], FloatArray]  # pool -> [I] float64
    label: str  # the figure in words, for the reasons
    source: str  # section, equation or figure of the paper
    detections: str  # fields of the detections that it reads
    use: str  # when to use it, one sentence
    formula: str = ""  # how the figure is computed, if the label does not say it
    lowest_first: bool = False

    @property
    def ranks_by(self) -> str:
        """The figure in words, and which images come first."""
        figure = f"{self.label} ({self.formula})" if self.formula else self.label
        return f"{figure}, the {'lowest' if self.lowest_first else 'highest'} first"

    def __call__(
        self,
        pool: Pool,
        *,
        budget: int,
        labelled: Labelled,
        params: SelectionParams,
        seed: int,
        progress: ProgressCallback | None = None,
    ) -> Selection:
        """The images ordered by the figure. Utilities are the figure, negated if lowest is first.

        `labelled` and `params` are not read. Raises SelectionError for a budget below 0, and for an
        image without an area if the figure weights by area.
        """
        images = check_budget(budget, pool)
        figure = self.figure(pool)
        utilities = -figure if self.lowest_first else figure
        order = order_by(pool, utilities, seed)
        reasons = figure_reasons(pool, order, self.label, figure)
        return Selection(self.strategy, order, utilities, reasons, images)


ONE_AS_GOOD_AS_MANY = "An image with one uncertain object ranks as high as an image with twenty."
LARGE_AND_MANY = "It favours images with many objects or large objects."
WEIGHTED_SUM = "summed over the detections, each weighted by its mask's share of the image"

FIGURES = (
    Figure(
        "margin",
        # An image without detections gets the margin of a certain model, 1.
        lambda pool: mean_by_image(pool, pool.uncertainty.cm, empty=1.0),
        "mean classification margin",
        source="appendix D, Eq. 1; CM of figure B.1",
        detections="CM",
        use=f"{ONE_AS_GOOD_AS_MANY} In the paper's figure B.1 it is no better than random order.",
        lowest_first=True,
    ),
    Figure(
        "average_ce",
        lambda pool: mean_by_image(pool, pool.uncertainty.ce),
        "mean classification entropy",
        source="figure B.1, Eq. 2",
        detections="CE",
        use=ONE_AS_GOOD_AS_MANY,
    ),
    Figure(
        "average_se",
        lambda pool: mean_by_image(pool, pool.uncertainty.se),
        "mean segmentation entropy",
        source="figure B.1, Eq. 3",
        detections="SE",
        use=ONE_AS_GOOD_AS_MANY,
    ),
    Figure(
        "wce",
        lambda pool: weighted_by_image(pool, pool.uncertainty.ce),
        "weighted classification entropy",
        source="appendix D, Eq. 4",
        detections="CE, mask area",
        use=LARGE_AND_MANY,
        formula=WEIGHTED_SUM,
    ),
    Figure(
        "wse",
        lambda pool: weighted_by_image(pool, pool.uncertainty.se),
        WSE,
        source="appendix D, Eq. 5",
        detections="SE, mask area",
        use=LARGE_AND_MANY,
        formula=WEIGHTED_SUM,
    ),
)
"""The strategies that rank by a figure, in the order of the paper."""


# --- figures of images -----------------------------------------------------------------------


def sum_by_group(group: IntArray, values: FloatArray, groups: int) -> FloatArray:
    """Sum of the values [n] by `group` [n] (0..groups-1), [groups] float64; 0 for an empty group.

    The values of a group are added in ascending order. Otherwise the float sums would depend on the
    order of the pool's rows.
    """
    wide = np.asarray(values, np.float64)
    order = np.lexsort((wide, group))
    return np.bincount(group[order], weights=wide[order], minlength=groups).astype(np.float64)


def detections_by_image(pool: Pool) -> IntArray:
    """Number of detections of each image, [I]."""
    return np.bincount(pool.instances.image_index, minlength=len(pool))


def mean_by_image(pool: Pool, values: FloatArray, *, empty: float = 0.0) -> FloatArray:
    """Mean of the instances' values [N] by image (figure B.1), [I] float64.

    empty: the value of an image without detections.
    """
    found = detections_by_image(pool)
    total = sum_by_group(pool.instances.image_index, values, len(pool))
    return np.where(found > 0, total / np.maximum(found, 1), empty)


def size_weighted(pool: Pool, values: FloatArray) -> FloatArray:
    """s_n x value_n [N] float64, the terms of Eq. 4 and 5.

    s_n is the mask's area / the image's area, about 0..1. Raises SelectionError for an image
    without an area.
    """
    areas = pool.sizes.astype(np.float64).prod(axis=1)
    if not (areas > 0).all():
        row = int(np.argmin(areas > 0))
        raise SelectionError(
            f"Pool.sizes: expected (height, width) from 1 px on, got {pool.sizes[row].tolist()} "
            f"for image {pool.image_ids[row]}; leave the image out or read its size again."
        )
    share = np.asarray(pool.mask_areas, np.float64) / areas[pool.instances.image_index]
    terms: FloatArray = share * np.asarray(values, np.float64)
    return terms


def weighted_by_image(pool: Pool, values: FloatArray) -> FloatArray:
    """WCE (Eq. 4) or WSE (Eq. 5) of each image, [I] float64; 0 for an image without detections.

    values: [N] CE_n or SE_n. Raises SelectionError like `size_weighted`.
    """
    return sum_by_group(pool.instances.image_index, size_weighted(pool, values), len(pool))


# --- orders and their reasons ----------------------------------------------------------------


def order_by(pool: Pool, figure: FloatArray, seed: int) -> IntArray:
    """Image rows [I], the largest `figure` [I] first; images without detections last.

    A hash of seed and image id orders ties and the images without detections.
    """
    empty = detections_by_image(pool) == 0
    figure = np.where(empty, 0.0, figure)
    return np.lexsort((seeded_hash(pool.image_ids, seed), -figure, empty))


def by_place(order: IntArray) -> FloatArray:
    """Utilities [I] float64 for an order without a figure: I for the first image down to 1."""
    utilities = np.empty(len(order))
    utilities[order] = len(order) - np.arange(len(order))
    return utilities


def figure_reasons(
    pool: Pool, order: IntArray, label: str, figure: FloatArray, *, after: str = ""
) -> tuple[str, ...]:
    """A sentence for each image row of `order`: its figure and its number of detections.

    label: the name of the figure. figure: [I] by image row. after: the end of the sentence.
    """
    found = detections_by_image(pool)
    return tuple(
        f"{label} {figure[row]:.3f} of its {counted(int(found[row]), 'detection')}{after}"
        if found[row]
        else NO_DETECTIONS
        for row in order.tolist()
    )


# --- random order ----------------------------------------------------------------------------


def random(
    pool: Pool,
    *,
    budget: int,
    labelled: Labelled,
    params: SelectionParams,
    seed: int,
    progress: ProgressCallback | None = None,
) -> Selection:
    """Images in the order of a hash of seed and image id (the paper's random strategy).

    The order of two images does not change when other images enter or leave the pool. `labelled`
    and `params` are not read. Raises SelectionError for a budget below 0.
    """
    images = check_budget(budget, pool)
    words = seeded_hash(pool.image_ids, seed)
    return Selection(
        strategy="random",
        order=np.argsort(words, kind="stable"),
        utilities=1 - words / 2.0**64,
        reasons=("seeded random place",) * len(pool),
        budget=images,
    )

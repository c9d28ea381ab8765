"""Figures of images from those of their instances, and the order of images by such a figure.

What the strategies of Appendix D share. Sums are added in an order of their own, so that neither
the order of the pool's rows nor images that come and go change a bit of them.
"""

from __future__ import annotations

import numpy as np

from taudis.errors import SelectionError
from taudis.selection.reasons import counted
from taudis.selection.seeding import seeded_hash
from taudis.types import FloatArray, IntArray, Pool


def sum_by_group(group: IntArray, values: FloatArray, groups: int) -> FloatArray:
    """Sum of the values [n] by `group` [n] (0..groups-1), [groups] float64; 0 for an empty group.

    Within a group the values are added from the smallest on, whatever their order: equal values
    give equal sums, bit for bit.
    """
    wide = np.asarray(values, np.float64)
    order = np.lexsort((wide, group))
    return np.bincount(group[order], weights=wide[order], minlength=groups).astype(np.float64)


def detections_by_image(pool: Pool) -> IntArray:
    """Number of detections of each image, [I]."""
    return np.bincount(pool.instances.image_index, minlength=len(pool))


def mean_by_image(pool: Pool, values: FloatArray, *, empty: float = 0.0) -> FloatArray:
    """Plain average of the instances' values [N] by image, [I] float64 (figure B.1).

    Images without detections get `empty`.
    """
    found = detections_by_image(pool)
    total = sum_by_group(pool.instances.image_index, values, len(pool))
    return np.where(found > 0, total / np.maximum(found, 1), empty)


def size_weighted(pool: Pool, values: FloatArray) -> FloatArray:
    """s_n x value_n [N] float64, the terms of Eq. 4 and 5.

    s_n is the mask's area over the image's area, about 0..1. Raises SelectionError for an image
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


def order_by(pool: Pool, figure: FloatArray, seed: int) -> IntArray:
    """Image rows [I], the largest `figure` [I] first; images without detections last.

    Ties, and the images without detections among themselves, are in seeded order.
    """
    empty = detections_by_image(pool) == 0
    figure = np.where(empty, 0.0, figure)
    return np.lexsort((seeded_hash(pool.image_ids, seed), -figure, empty))


def by_place(order: IntArray) -> FloatArray:
    """Utilities [I] float64 of an order that no single figure makes: I - place, I is first."""
    utilities = np.empty(len(order))
    utilities[order] = len(order) - np.arange(len(order))
    return utilities


def figure_reasons(
    pool: Pool, order: IntArray, name: str, figure: FloatArray, *, after: str = ""
) -> tuple[str, ...]:
    """A sentence for each image row of `order`: the figure [I] called `name`, and what it is of."""
    found = detections_by_image(pool)
    return tuple(
        f"{name} {figure[row]:.3f} of its {counted(int(found[row]), 'detection')}{after}"
        if found[row]
        else "no detections; seeded random place"
        for row in order.tolist()
    )

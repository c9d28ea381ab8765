"""Variants of TAUDIS beyond the paper.

`taudis_uncovered` and `taudis_cover_uncovered` count pool instances that are similar to labelled
ones as covered. `taudis_cover_cost` picks by gain / cost. What was measured with labels is in
docs/results.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from taudis.errors import SelectionError
from taudis.memmap import take
from taudis.selection.algorithm1 import algorithm_1
from taudis.selection.foreground_random import expected_objects
from taudis.selection.params import Labelled, ProgressCallback, SelectionParams
from taudis.selection.taudis_cover import cover_by_images
from taudis.types import FloatArray, Pool, Selection

OBJECT_SCORE = 0.5
"""In labelled images, detections with at least this score stand for the labelled objects."""


def embeddings_of_objects(pool: Pool) -> FloatArray:
    """The embeddings [M,D] of the objects in labelled images, for `Labelled.instance_embeddings`.

    pool: the model's detections in the labelled images. The model was trained on these images, so
    it detects most of their objects. An object that it does not detect covers nothing.
    """
    rows = np.flatnonzero(pool.instances.scores >= OBJECT_SCORE)
    return take(pool.instances.embeddings, rows)


def check_uncovered(params: SelectionParams) -> None:
    """Raise SelectionError for `sketch="guaranteed"`: its proof starts with nothing covered."""
    if params.sketch == "guaranteed":
        raise SelectionError(
            "sketch: expected auto, never or always for taudis_uncovered, got 'guaranteed': the"
            " proof is for a universe of which nothing is covered yet."
        )


def taudis_uncovered(
    pool: Pool,
    *,
    budget: int,
    labelled: Labelled,
    params: SelectionParams,
    seed: int,
    progress: ProgressCallback | None = None,
) -> Selection:
    """Algorithm 1, except that pool instances similar to a labelled one count as covered already.

    The universe holds the instances whose cosine to each of `labelled.instance_embeddings` is below
    sigma. Sigma is that of `taudis`. Without labelled instances the order is that of `taudis`.
    Errors and invariances are those of `taudis`. Also raises SelectionError as `check_uncovered`.
    """
    check_uncovered(params)
    known = known_instances(pool, labelled)
    return _with_warning(
        algorithm_1(pool, "taudis_uncovered", known, budget, labelled, params, seed, progress),
        known,
    )


def taudis_cover_uncovered(
    pool: Pool,
    *,
    budget: int,
    labelled: Labelled,
    params: SelectionParams,
    seed: int,
    progress: ProgressCallback | None = None,
) -> Selection:
    """`taudis_cover`, except that pool instances similar to a labelled one are covered already.

    The universe is that of `taudis_uncovered`. Errors are those of `taudis_cover`.
    """
    known, name = known_instances(pool, labelled), "taudis_cover_uncovered"
    return _with_warning(
        cover_by_images(pool, name, known, None, budget, labelled, params, seed, progress), known
    )


def taudis_cover_cost(
    pool: Pool,
    *,
    budget: int,
    labelled: Labelled,
    params: SelectionParams,
    seed: int,
    progress: ProgressCallback | None = None,
) -> Selection:
    """`taudis_cover`, except that each pick has the largest gain / cost.

    The gain of an image is the number of instances that it newly covers. Its cost is
    `params.look_cost` + its `expected_objects`, in units of the time to draw one object. Khuller,
    Moss and Naor 1999 use greedy picks by this ratio for maximum cover with a limited total cost.
    Errors are those of `taudis_cover`.
    """
    costs = params.look_cost + expected_objects(pool)
    return cover_by_images(
        pool, "taudis_cover_cost", None, costs, budget, labelled, params, seed, progress
    )


def known_instances(pool: Pool, labelled: Labelled) -> FloatArray:
    """The embeddings [M,D] of labelled instances. Raises SelectionError for another width."""
    known, width = labelled.instance_embeddings, pool.instances.embeddings.shape[1]
    if len(known) and len(pool.instances) and known.shape[1] != width:
        raise SelectionError(
            f"Labelled.instance_embeddings: expected the pool's width {width}, got"
            f" {known.shape[1]}; score labelled and unlabelled images with one model."
        )
    return known if len(pool.instances) else known[:0]


def _with_warning(selection: Selection, known: FloatArray) -> Selection:
    """The selection, with a warning if `known` [M,D] has no labelled instance."""
    if len(known) or not len(selection.candidates):
        return selection
    plain = selection.strategy.removesuffix("_uncovered")
    warning = (
        f"No labelled instance is known: expected detections of a score of {OBJECT_SCORE:g} or more"
        " in labelled images, got none. Nothing counts as covered, so the order is that of"
        f" {plain}."
    )
    return replace(selection, warnings=(warning, *selection.warnings))

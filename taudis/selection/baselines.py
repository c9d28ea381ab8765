"""Appendix D: what TAUDIS is compared with, as far as one figure of each image decides.

Core-set and TAUDIS-IMG have modules of their own. All strategies order the whole pool: ties by a
hash of seed and image id, images without detections last in the order of that hash.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from taudis.selection.image_order import (
    by_place,
    figure_reasons,
    mean_by_image,
    order_by,
    size_weighted,
    sum_by_group,
    weighted_by_image,
)
from taudis.selection.params import Labelled, Progress, SelectionParams, check_budget
from taudis.selection.reasons import counted
from taudis.selection.seeding import seeded_hash
from taudis.types import FloatArray, IntArray, Pool, Selection

WSE = "weighted segmentation entropy"


def random(
    pool: Pool,
    *,
    budget: int,
    labelled: Labelled,
    params: SelectionParams,
    seed: int,
    progress: Progress | None = None,
) -> Selection:
    """Images in the order of a hash of seed and image id (the paper's random strategy).

    An image keeps its place relative to the others when images come or go, and whatever the order
    of the pool's rows. Neither `labelled` nor `params` is looked at. Raises SelectionError for a
    budget below 0.
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


def margin(
    pool: Pool,
    *,
    budget: int,
    labelled: Labelled,
    params: SelectionParams,
    seed: int,
    progress: Progress | None = None,
) -> Selection:
    """Average classification margin (Appendix D, and CM in figure B.1), the lowest first.

    Utilities are minus the mean CM_n, -1..0; an image without detections counts as sure, -1.
    Neither `labelled` nor `params` is looked at. Raises SelectionError for a budget below 0.
    """
    mean = mean_by_image(pool, pool.uncertainty.cm, empty=1.0)
    return _by_figure("margin", pool, budget, seed, -mean, mean, "mean classification margin")


def average_ce(
    pool: Pool,
    *,
    budget: int,
    labelled: Labelled,
    params: SelectionParams,
    seed: int,
    progress: Progress | None = None,
) -> Selection:
    """Plain average of the classification entropies CE_n (figure B.1), the highest first.

    Neither `labelled` nor `params` is looked at. Raises SelectionError for a budget below 0.
    """
    mean = mean_by_image(pool, pool.uncertainty.ce)
    return _by_figure("average_ce", pool, budget, seed, mean, mean, "mean classification entropy")


def average_se(
    pool: Pool,
    *,
    budget: int,
    labelled: Labelled,
    params: SelectionParams,
    seed: int,
    progress: Progress | None = None,
) -> Selection:
    """Plain average of the segmentation entropies SE_n (figure B.1), the highest first.

    Neither `labelled` nor `params` is looked at. Raises SelectionError for a budget below 0.
    """
    mean = mean_by_image(pool, pool.uncertainty.se)
    return _by_figure("average_se", pool, budget, seed, mean, mean, "mean segmentation entropy")


def wce(
    pool: Pool,
    *,
    budget: int,
    labelled: Labelled,
    params: SelectionParams,
    seed: int,
    progress: Progress | None = None,
) -> Selection:
    """Weighted classification entropy, sum of s_n x CE_n (Eq. 4), the highest first.

    s_n is the mask's area over the image's. Neither `labelled` nor `params` is looked at. Raises
    SelectionError for a budget below 0 or an image without an area.
    """
    sums = weighted_by_image(pool, pool.uncertainty.ce)
    return _by_figure("wce", pool, budget, seed, sums, sums, "weighted classification entropy")


def wse(
    pool: Pool,
    *,
    budget: int,
    labelled: Labelled,
    params: SelectionParams,
    seed: int,
    progress: Progress | None = None,
) -> Selection:
    """Weighted segmentation entropy, sum of s_n x SE_n (Eq. 5), the highest first.

    s_n is the mask's area over the image's. Neither `labelled` nor `params` is looked at. Raises
    SelectionError for a budget below 0 or an image without an area.
    """
    sums = weighted_by_image(pool, pool.uncertainty.se)
    return _by_figure("wse", pool, budget, seed, sums, sums, WSE)


def _by_figure(
    strategy: str,
    pool: Pool,
    budget: int,
    seed: int,
    utilities: FloatArray,
    figure: FloatArray,
    name: str,
) -> Selection:
    """The pool by falling utilities [I]; the reasons tell `figure` [I] under its name."""
    images = check_budget(budget, pool)
    order = order_by(pool, utilities, seed)
    reasons = figure_reasons(pool, order, name, figure)
    return Selection(strategy, order, utilities, reasons, images)


@dataclass(frozen=True)
class _Turn:
    """One image that a label took, and why it was the label's best."""

    row: int
    label: int  # 1..K
    entropy: float  # WSE(c_k) of the image
    detections: int  # of that label in the image


def round_robin(
    pool: Pool,
    *,
    budget: int,
    labelled: Labelled,
    params: SelectionParams,
    seed: int,
    progress: Progress | None = None,
) -> Selection:
    """Labels 1..K in turn take their untaken image of the highest WSE(c_k), until B are taken.

    Appendix D after [48]; c_k is the label of the detection. A label that no untaken image holds
    is passed over. The images after the first B go by their WSE (Eq. 5). Utilities are I - place.
    Neither `labelled` nor `params` is looked at. Raises SelectionError for a budget below 0 or an
    image without an area.
    """
    images = check_budget(budget, pool)
    head = _take_turns(_queues(pool, seed), images)
    taken = [turn.row for turn in head]
    figure = weighted_by_image(pool, pool.uncertainty.se)
    tail = order_by(pool, figure, seed)
    tail = tail[~np.isin(tail, taken)]
    order = np.concatenate([np.array(taken, np.int64), tail])
    return Selection(
        strategy="round_robin",
        order=order,
        utilities=by_place(order),
        reasons=(
            *(_turn_reason(turn) for turn in head),
            *figure_reasons(pool, tail, WSE, figure, after=", after the labels' turns"),
        ),
        budget=images,
        diagnostics={"turns": len(head), "labels": len({turn.label for turn in head})},
    )


def _queues(pool: Pool, seed: int) -> list[Iterator[_Turn]]:
    """For each label that was detected, in the order of the label map: its images, best first."""
    images = max(1, len(pool))
    keys = pool.instances.labels.astype(np.int64) * images + pool.instances.image_index
    pairs, pair = np.unique(keys, return_inverse=True)
    labels, rows = np.divmod(pairs, images)
    entropy = sum_by_group(pair, size_weighted(pool, pool.uncertainty.se), len(pairs))
    detections = np.bincount(pair, minlength=len(pairs))
    best = np.lexsort((seeded_hash(pool.image_ids[rows], seed), -entropy, labels))

    def queue(places: IntArray) -> Iterator[_Turn]:
        for i in places:  # made when asked for: few of a large pool's images get a turn
            yield _Turn(int(rows[i]), int(labels[i]), float(entropy[i]), int(detections[i]))

    ends = np.flatnonzero(np.diff(labels[best])) + 1
    return [queue(places) for places in np.split(best, ends)]


def _take_turns(queues: list[Iterator[_Turn]], count: int) -> list[_Turn]:
    """Up to `count` turns: each queue in turn gives its first image that none has taken."""
    waiting = deque(queues)
    taken: dict[int, _Turn] = {}
    while waiting and len(taken) < count:
        queue = waiting.popleft()
        turn = next((turn for turn in queue if turn.row not in taken), None)
        if turn is not None:  # else the label has nothing left and no further turn
            taken[turn.row] = turn
            waiting.append(queue)
    return list(taken.values())


def _turn_reason(turn: _Turn) -> str:
    """The sentence of an image that a label took."""
    of = counted(turn.detections, "detection")
    return f"turn of label {turn.label}: {WSE} {turn.entropy:.3f} of its {of} of that label"

"""Appendix D, round-robin [48]: the labels take turns in choosing an image.

So rare labels get images too. `clasp_se`, beyond the paper, adds decaying noise to the choice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from taudis.selection.baselines import (
    WSE,
    by_place,
    figure_reasons,
    order_by,
    size_weighted,
    sum_by_group,
    weighted_by_image,
)
from taudis.selection.params import Labelled, ProgressCallback, SelectionParams, check_budget
from taudis.selection.power_noise import noised, scheduled_power
from taudis.selection.reasons import counted
from taudis.selection.vote import seeded_hash
from taudis.types import FloatArray, IntArray, Pool, Selection


@dataclass(frozen=True)
class _Turn:
    """An image that a label took."""

    row: int  # image row
    label: int  # 1..K
    entropy: float  # WSE(c_k) of the image: over its detections of this label only
    detections: int  # the image's detections of this label


def round_robin(
    pool: Pool,
    *,
    budget: int,
    labelled: Labelled,
    params: SelectionParams,
    seed: int,
    progress: ProgressCallback | None = None,
) -> Selection:
    """Labels 1..K in turn take their image of the highest WSE(c_k), until B images are taken.

    Appendix D, after [48]. WSE(c_k) sums over the detections of label k only. An image is taken at
    most once. A label is skipped when it has no image left. The images after the first B are
    ordered by WSE (Eq. 5). Utilities are I for the first image down to 1. `labelled` and `params`
    are not read. Raises SelectionError for a budget below 0 or an image without an area.
    """
    images = check_budget(budget, pool)
    head = _take_turns(_queues(pool, seed), images)
    figure = weighted_by_image(pool, pool.uncertainty.se)
    tail = order_by(pool, figure, seed)
    return _selection("round_robin", pool, images, head, tail, figure)


def clasp_se(
    pool: Pool,
    *,
    budget: int,
    labelled: Labelled,
    params: SelectionParams,
    seed: int,
    progress: ProgressCallback | None = None,
) -> Selection:
    """Labels 1..K in turn draw an image, with probabilities proportional to WSE(c_k)^beta.

    After ClaSP PE (arXiv 2601.13677): stratified by class, with decaying noise
    (`taudis.selection.power_noise`). Beta starts at 1 and grows with `labelled.images`. The images
    after the first B are drawn with probabilities proportional to WSE^beta. Utilities are I for the
    first image down to 1. `params` is not read. Raises SelectionError like `round_robin`.
    """
    images = check_budget(budget, pool)
    power = scheduled_power(labelled.images, images)
    head = _take_turns(_queues(pool, seed, power), images)
    figure = weighted_by_image(pool, pool.uncertainty.se)
    tail = order_by(pool, noised(figure, pool.image_ids, seed, power), seed)
    found = _selection("clasp_se", pool, images, head, tail, figure)
    return replace(found, diagnostics={**found.diagnostics, "power": power})


def _selection(
    name: str, pool: Pool, images: int, head: list[_Turn], rest: IntArray, figure: FloatArray
) -> Selection:
    """The images that labels took, then the other images.

    rest: [I] an order of all images, for those that no label took. figure: [I] WSE by image row.
    """
    taken = [turn.row for turn in head]
    tail = rest[~np.isin(rest, taken)]
    order = np.concatenate([np.array(taken, np.int64), tail])
    return Selection(
        strategy=name,
        order=order,
        utilities=by_place(order),
        reasons=(
            *(_turn_reason(turn) for turn in head),
            *figure_reasons(pool, tail, WSE, figure, after=", after the labels' turns"),
        ),
        budget=images,
        diagnostics={"turns": len(head), "labels": len({turn.label for turn in head})},
    )


def _queues(pool: Pool, seed: int, power: float | None = None) -> list[Iterator[_Turn]]:
    """One queue for each detected label, in the order of the label map: its images, best first.

    "Best" is the highest WSE(c_k). With a power, images are drawn by WSE(c_k)^power instead.
    """
    images = max(1, len(pool))
    keys = pool.instances.labels.astype(np.int64) * images + pool.instances.image_index
    pairs, pair = np.unique(keys, return_inverse=True)
    labels, rows = np.divmod(pairs, images)
    entropy = sum_by_group(pair, size_weighted(pool, pool.uncertainty.se), len(pairs))
    detections = np.bincount(pair, minlength=len(pairs))
    ids = pool.image_ids[rows]
    figure = entropy if power is None else _drawn(entropy, ids, labels, seed, power)
    best = np.lexsort((seeded_hash(ids, seed), -figure, labels))

    def queue(places: IntArray) -> Iterator[_Turn]:
        for i in places:  # a generator, because few images of a large pool are taken
            yield _Turn(int(rows[i]), int(labels[i]), float(entropy[i]), int(detections[i]))

    ends = np.flatnonzero(np.diff(labels[best])) + 1
    return [queue(places) for places in np.split(best, ends)]


def _drawn(
    entropy: FloatArray, ids: IntArray, labels: IntArray, seed: int, power: float
) -> FloatArray:
    """`noised` entropies [n] of images `ids` for their `labels`; each label has its own seed."""
    figure = np.empty(len(entropy))
    for label in np.unique(labels).tolist():
        own, its_seed = labels == label, int(seeded_hash(np.array([label]), seed)[0])
        figure[own] = noised(entropy[own], ids[own], its_seed, power)
    return figure


def _take_turns(queues: list[Iterator[_Turn]], count: int) -> list[_Turn]:
    """Up to `count` turns. In each, the next queue gives its first image that is not taken yet."""
    waiting = deque(queues)
    taken: dict[int, _Turn] = {}
    while waiting and len(taken) < count:
        queue = waiting.popleft()
        turn = next((turn for turn in queue if turn.row not in taken), None)
        if turn is not None:  # else the label has no image left and gets no further turn
            taken[turn.row] = turn
            waiting.append(queue)
    return list(taken.values())


def _turn_reason(turn: _Turn) -> str:
    """The reason of an image that a label took."""
    of = counted(turn.detections, "detection")
    return f"turn of label {turn.label}: {WSE} {turn.entropy:.3f} of its {of} of that label"

"""Algorithm 1 lines 4 and 5: the uncertainty of every instance, and which become candidates.

The paper takes the alpha * B most uncertain instances. Beyond the paper, `SelectionParams` can
weigh the uncertainty by the probability that a detection is an object, limit the candidates of an
image, and even out the candidates' share of each predicted label.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from taudis.memmap import blocks
from taudis.selection.params import Labelled, Measure, SelectionParams, Weighting, multiple
from taudis.selection.reasons import counted
from taudis.types import BoolArray, FloatArray, IntArray, Pool

LEAST_IMAGES = 2
"""Images with candidates for each image of the budget, below which a selection warns."""


@dataclass(frozen=True, eq=False)
class InstanceOrder:
    """All instances: the candidates first, then the others, each part in priority order.

    A smaller place wins every tie.
    """

    rows: IntArray  # [N] instance rows
    uncertainty: FloatArray  # [N] by place, larger is more uncertain
    image: IntArray  # [N] image row, by place
    candidates: int  # C
    alpha: float
    beta: float
    warnings: tuple[str, ...]

    @property
    def owner(self) -> IntArray:
        """Image row [C] of each candidate."""
        return self.image[: self.candidates]

    def describe(self) -> dict[str, float | int | str | None]:
        """Diagnostics of a Selection."""
        return {
            "instances": len(self.rows),
            "candidates": self.candidates,
            "images_with_candidates": len(np.unique(self.owner)),
        }


def order_instances(
    pool: Pool, budget: int, labelled: Labelled, params: SelectionParams
) -> InstanceOrder:
    """Lines 4 and 5 of Algorithm 1 for a budget of B images."""
    alpha, beta = params.multipliers(labelled, len(pool.instances) / max(len(pool), 1))

    # Line 4.
    by_row = acquisition(pool, params.uncertainty, params.weighting)
    rows = priority_order(pool, by_row)

    # Line 5. With the paper's parameters the places are 0..N-1, so the rows stay as they are.
    places = candidate_places(pool, rows, params)
    head = np.sort(places[: multiple(alpha, budget)])
    tail = np.delete(np.arange(len(rows)), head)
    image = pool.instances.image_index[rows]
    warnings = few_images_warning(image, places, len(head), budget, alpha)
    rows = rows[np.concatenate([head, tail])]
    image = pool.instances.image_index[rows]
    return InstanceOrder(rows, by_row[rows], image, len(head), alpha, beta, warnings)


def acquisition(pool: Pool, measure: Measure, weighting: Weighting = "none") -> FloatArray:
    """The uncertainty [N] by which Algorithm 1 ranks instances, float64, larger is more uncertain.

    A small margin means a large uncertainty, so `cm` gives 1 - CM. weighting: multiplies it by the
    probability that the detection is an object (`object_probability`).
    """
    values: FloatArray = np.asarray(getattr(pool.uncertainty, measure), np.float64)
    values = 1 - values if measure == "cm" else values
    return values if weighting == "none" else values * object_probability(pool, weighting)


def object_probability(pool: Pool, weighting: Weighting) -> FloatArray:
    """The probability [N] float64 that each detection is an object: of its label, or of any label.

    `score` gives the score, `foreground` 1 - p_0, `none` 1.
    """
    if weighting == "none":
        return np.ones(len(pool.instances))
    if weighting == "score":
        return np.asarray(pool.instances.scores, np.float64)
    parts = [
        1 - np.asarray(rows[:, 0], np.float64) for _, rows in blocks(pool.instances.class_probs)
    ]
    found: FloatArray = np.concatenate([np.zeros(0), *parts]).clip(0, 1)
    return found


def priority_order(pool: Pool, uncertainty: FloatArray) -> IntArray:
    """Instance rows [N], the most uncertain first. No other place breaks ties of instances.

    Equal instances are ordered by image id, box, label, score, and last the bytes of the embedding,
    so every permutation of the pool gives the same order of instances.
    """
    order = np.argsort(-uncertainty, kind="stable")
    again = uncertainty[order[1:]] == uncertainty[order[:-1]]
    tied = np.flatnonzero(np.append(again, False) | np.insert(again, 0, False))
    order[tied] = _ties_broken(pool, uncertainty, order[tied])
    return order


def _ties_broken(pool: Pool, uncertainty: FloatArray, rows: IntArray) -> IntArray:
    """The instance rows [n], which share their uncertainty with others, in their order."""
    found = pool.instances
    keys = [-uncertainty[rows], pool.image_ids[found.image_index[rows]], *found.boxes[rows].T]
    keys += [found.labels[rows], found.scores[rows]]
    order = np.lexsort(keys[::-1])
    same = np.all([key[order[1:]] == key[order[:-1]] for key in keys], axis=0)
    rows = rows[order]
    for start, end in _runs(same):
        rows[start:end] = sorted(rows[start:end], key=lambda i: found.embeddings[i].tobytes())
    return rows


def _runs(same: BoolArray) -> list[tuple[int, int]]:
    """(start, end) of every stretch of rows that equal their neighbours; same: [N-1] bool."""
    steps = np.diff(np.concatenate(([0], same.astype(np.int8), [0])))
    starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1) + 1
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def candidate_places(pool: Pool, rows: IntArray, params: SelectionParams) -> IntArray:
    """The places in `rows` [N] that may be candidates, in the order in which they become some.

    rows: instance rows in priority order. The paper takes them in that order.
    """
    places = np.arange(len(rows))
    if params.candidates_per_image is not None:
        before = earlier_of_group(pool.instances.image_index[rows])
        places = places[before < params.candidates_per_image]
    if params.balanced:  # the first of each label, then the second of each, and so on
        turn = earlier_of_group(pool.instances.labels[rows[places]])
        places = places[np.argsort(turn, kind="stable")]
    return places


def earlier_of_group(group: IntArray) -> IntArray:
    """How many earlier elements of `group` [n] equal each element, [n] int64."""
    order = np.argsort(group, kind="stable")
    new = np.diff(group[order], prepend=group[order[:1]] - 1) != 0
    starts = np.flatnonzero(new)
    earlier = np.empty(len(group), np.int64)
    earlier[order] = np.arange(len(group)) - starts[np.cumsum(new) - 1]
    return earlier


def few_images_warning(
    image: IntArray, places: IntArray, candidates: int, budget: int, alpha: float
) -> tuple[str, ...]:
    """A warning where the candidates lie in fewer than 2 B images, with what to set instead.

    Then nearly every image with a candidate is among the first B, and the cover has nothing to
    choose. image: [N] image row of each instance. places: into `image`, in the order in which they
    become candidates. candidates: how many did, C. A pool in which fewer than 2 B images have
    detections cannot have candidates in more, so that many are enough.
    """
    detected = int(np.count_nonzero(np.bincount(image)))
    expected = min(LEAST_IMAGES * budget, detected)
    held = len(np.unique(image[places[:candidates]]))
    if held >= expected:
        return ()
    firsts = np.sort(np.unique(image[places], return_index=True)[1])
    needed = int(firsts[expected - 1]) + 1  # candidates that lie in so many images
    settings = [f"alpha to {math.ceil(10 * needed / budget) / 10:.10g} (now {alpha:.4g})"]
    if candidates >= expected:  # so many an image at most leave no way to lie in fewer images
        settings.insert(0, f"candidates_per_image to {candidates // expected}")
    enough = f"twice the budget of {budget}" if expected < detected else "all that have detections"
    return (
        f"The {counted(candidates, 'candidate')} lie in {counted(held, 'image')}, expected"
        f" {expected} or more ({enough}): the cover has hardly any images to choose from."
        f" Set {' or '.join(settings)}.",
    )

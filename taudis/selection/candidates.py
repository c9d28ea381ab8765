"""Algorithm 1 lines 4 and 5: the uncertainty of every instance, and the choice of candidates.

The candidates of the paper are the alpha * B most uncertain instances. `SelectionParams` has three
options beyond the paper: weight the uncertainty by the probability that a detection is an object,
limit the candidates per image, and take equally many candidates of each predicted label.
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
"""A selection warns if fewer than this times B images have candidates."""


@dataclass(frozen=True, eq=False)
class InstanceOrder:
    """All instances: the candidates first, then the others, both in priority order.

    Of two equal instances, the earlier one in this order wins.
    """

    rows: IntArray  # [N] rows of the pool's instances, in this order
    uncertainty: FloatArray  # [N] in this order, larger is more uncertain
    image: IntArray  # [N] image row of each instance, in this order
    candidates: int  # C
    alpha: float
    beta: float
    warnings: tuple[str, ...]

    @property
    def owner(self) -> IntArray:
        """Image row [C] of each candidate."""
        return self.image[: self.candidates]

    def describe(self) -> dict[str, float | int | str | None]:
        """Entries of `Selection.diagnostics`."""
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

    # Line 5. With the paper's parameters `places` is 0..N-1, and `rows` does not change.
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

    `cm` gives 1 - CM, because a small margin means a large uncertainty. weighting: the factor of
    the uncertainty, see `object_probability`.
    """
    values: FloatArray = np.asarray(getattr(pool.uncertainty, measure), np.float64)
    values = 1 - values if measure == "cm" else values
    return values if weighting == "none" else values * object_probability(pool, weighting)


def object_probability(pool: Pool, weighting: Weighting) -> FloatArray:
    """The probability [N] float64 that each detection is an object.

    `score`: an object of its label (the score). `foreground`: an object of any label, 1 - p_0.
    `none`: 1.
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
    """Instance rows [N], the most uncertain first. The only place that breaks ties of instances.

    Ties go by image id, box, label, score and the bytes of the embedding. So the order does not
    depend on the order of the pool.
    """
    order = np.argsort(-uncertainty, kind="stable")
    again = uncertainty[order[1:]] == uncertainty[order[:-1]]
    tied = np.flatnonzero(np.append(again, False) | np.insert(again, 0, False))
    order[tied] = _ties_broken(pool, uncertainty, order[tied])
    return order


def _ties_broken(pool: Pool, uncertainty: FloatArray, rows: IntArray) -> IntArray:
    """Instance rows [n] that share their uncertainty with others, sorted as in `priority_order`."""
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
    """(start, end) of every run of equal neighbours. same: [N-1], whether row i equals row i+1."""
    steps = np.diff(np.concatenate(([0], same.astype(np.int8), [0])))
    starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1) + 1
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def candidate_places(pool: Pool, rows: IntArray, params: SelectionParams) -> IntArray:
    """Positions in `rows` of the instances that may be candidates, the first candidate first.

    rows: [N] instance rows in priority order. With the paper's parameters the result is 0..N-1.
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
    """For each element of `group` [n], the number of equal elements before it, [n] int64."""
    order = np.argsort(group, kind="stable")
    new = np.diff(group[order], prepend=group[order[:1]] - 1) != 0
    starts = np.flatnonzero(new)
    earlier = np.empty(len(group), np.int64)
    earlier[order] = np.arange(len(group)) - starts[np.cumsum(new) - 1]
    return earlier


def few_images_warning(
    image: IntArray, places: IntArray, candidates: int, budget: int, alpha: float
) -> tuple[str, ...]:
    """A warning if the candidates lie in fewer than 2 B images, with settings that avoid it.

    In that case nearly every image with a candidate is among the first B, whatever the cover picks.
    If the detections of the pool lie in fewer than 2 B images, this smaller number is enough. If
    they lie in at most B images, all of these are among the first B, and there is no warning.
    image: [N] image row of each instance. places: `candidate_places`, positions in `image`.
    candidates: C.
    """
    detected = int(np.count_nonzero(np.bincount(image)))
    expected = min(LEAST_IMAGES * budget, detected)
    held = len(np.unique(image[places[:candidates]]))
    if held >= expected or detected <= budget:
        return ()
    firsts = np.sort(np.unique(image[places], return_index=True)[1])
    needed = int(firsts[expected - 1]) + 1  # least C at which `expected` images have candidates
    settings = [f"alpha to {math.ceil(10 * needed / budget) / 10:.10g} (now {alpha:.4g})"]
    if candidates >= expected:  # with this limit, C candidates need at least `expected` images
        settings.insert(0, f"candidates_per_image to {candidates // expected}")
    enough = f"twice the budget of {budget}" if expected < detected else "all that have detections"
    return (
        f"The {counted(candidates, 'candidate')} lie in {counted(held, 'image')}, expected"
        f" {expected} or more ({enough}): the cover has hardly any images to choose from."
        f" Set {' or '.join(settings)}.",
    )

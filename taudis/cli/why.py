"""Explains the rank of an image by its chosen instances and the nearest labelled images.

Letters: N instances and I images in the pool, k chosen instances, L labelled images, D' the width
of an image embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from taudis.errors import SelectionError
from taudis.memmap import take
from taudis.selection.params import Labelled, Measure
from taudis.selection.unit_vectors import UnitVectors
from taudis.types import IntArray, Pool, Selection

NEIGHBOURS = 3
"""Largest number of labelled images that are named."""
_BLOCK = 64  # images whose cosines with all labelled images are in memory at a time
_DIGITS = 5  # digits of a cosine; later digits of float32 cosines depend on the BLAS library
_MEASURES: dict[Measure, str] = {
    "se": "segmentation entropy",
    "ce": "classification entropy",
    "cm": "classification margin",
}


@dataclass(frozen=True)
class ChosenInstance:
    """An instance that the cover chose, and the number of instances that it covers."""

    row: int  # row of the pool's instances
    image_id: int
    number: int  # position among the image's detections in the pool, from 0
    label: int  # 1..K
    score: float  # 0..1
    box: tuple[float, float, float, float]  # xyxy px
    uncertainty: float  # the measure that ranked instances; low values of cm are uncertain
    gain: int  # pool instances that it covers and no earlier pick of its layer does
    layer: int  # 0: the first cover; later layers start after it is complete


@dataclass(frozen=True)
class Neighbour:
    """A labelled image that is similar to the image."""

    image_id: int
    cosine: float  # similarity of the image embeddings, -1..1


@dataclass(frozen=True)
class Why:
    """The reasons for the rank of one image."""

    rank: int  # 1 first
    image_id: int
    votes: float | None  # None for strategies without a vote
    chosen: tuple[ChosenInstance, ...]  # in pick order; empty for strategies without instances
    neighbours: tuple[Neighbour, ...]  # the nearest labelled images; empty if none are known
    reason: str  # the strategy's own sentence
    measure: Measure  # of `ChosenInstance.uncertainty`

    def sentence(self, label_names: tuple[str, ...] = ()) -> str:
        """The reasons in one sentence. label_names: of the labels 1..K; empty: use numbers."""
        parts = [f"Image {self.image_id}, rank {self.rank}: {self.reason}"]
        gainers = [one for one in self.chosen if one.layer == 0 and one.gain]
        if gainers:
            parts.append(self._of_the_largest(gainers, label_names))
        if self.neighbours:
            near = self.neighbours[0]
            parts.append(
                f"the labelled image most like it is {near.image_id} (cosine {near.cosine:.3f})"
            )
        return "; ".join(parts) + "."

    def _of_the_largest(self, gainers: list[ChosenInstance], label_names: tuple[str, ...]) -> str:
        """The chosen instance with the largest gain, the first one if several have it."""
        first = max(gainers, key=lambda one: one.gain)
        name = label_names[first.label - 1] if label_names else f"instance of label {first.label}"
        x, y = (first.box[0] + first.box[2]) / 2, (first.box[1] + first.box[3]) / 2
        what = (
            f"the {name} at ({x:.0f}, {y:.0f}) with score {first.score:.2f} and"
            f" {_MEASURES[self.measure]} {first.uncertainty:.3f}"
        )
        if len(gainers) == 1:
            return f"all of them by {what}"
        return f"{first.gain} of them by {what}"


def why(
    pool: Pool,
    selection: Selection,
    *,
    top: int,
    labelled: Labelled | None = None,
    measure: Measure = "se",
) -> tuple[Why, ...]:
    """The reasons for the first `top` ranks of a selection of this pool, or for all if fewer.

    labelled: if it has `image_ids` and embeddings [L,D'], the nearest labelled images are named.
    measure: the uncertainty by which the strategy ranked instances. Raises SelectionError for a
    negative `top`, a selection of another pool, and embeddings of another width.
    """
    if top < 0:
        raise SelectionError(f"top: expected a number of ranks from 0 on, got {top}.")
    found = chosen_instances(pool, selection, measure)
    images = selection.order[:top]
    near = _neighbours(pool, images, labelled)
    of_image: dict[int, list[ChosenInstance]] = {int(pool.image_ids[row]): [] for row in images}
    for one in found:
        if one.image_id in of_image:
            of_image[one.image_id].append(one)
    return tuple(
        Why(
            rank=rank + 1,
            image_id=image_id,
            votes=float(selection.votes[row]) if len(selection.votes) else None,
            chosen=tuple(of_image[image_id]),
            neighbours=near[rank],
            reason=selection.reasons[rank],
            measure=measure,
        )
        for rank, (row, image_id) in enumerate(zip(images.tolist(), of_image, strict=True))
    )


def chosen_instances(
    pool: Pool, selection: Selection, measure: Measure = "se"
) -> tuple[ChosenInstance, ...]:
    """All chosen instances [k] of a selection of this pool, in pick order.

    The time is linear in the pool. Raises SelectionError for a selection of another pool.
    """
    _check_same_pool(pool, selection)
    found, rows = pool.instances, selection.chosen
    numbers, measured = _numbers(pool, rows), getattr(pool.uncertainty, measure)[rows]
    columns = zip(
        rows.tolist(), pool.image_ids[found.image_index[rows]].tolist(), numbers.tolist(),
        found.labels[rows].tolist(), found.scores[rows], found.boxes[rows], measured,
        selection.gains.tolist(), selection.layers.tolist(), strict=True,
    )  # fmt: skip
    return tuple(
        ChosenInstance(
            row=row,
            image_id=image_id,
            number=number,
            label=label,
            score=shortest(score),
            box=(shortest(box[0]), shortest(box[1]), shortest(box[2]), shortest(box[3])),
            uncertainty=shortest(uncertainty),
            gain=gain,
            layer=layer,
        )
        for row, image_id, number, label, score, box, uncertainty, gain, layer in columns
    )


def shortest(value: np.floating[Any]) -> float:
    """The float with the fewest digits that rounds to `value`: 0.3, not 0.30000001192092896."""
    return float(str(value))


def _check_same_pool(pool: Pool, selection: Selection) -> None:
    """Raise SelectionError for a selection whose sizes or rows do not fit this pool."""
    if len(selection.order) != len(pool):
        raise SelectionError(
            f"why: expected a selection of this pool's {len(pool)} images, got one of"
            f" {len(selection.order)}."
        )
    last = int(selection.chosen.max(initial=-1))
    if last >= len(pool.instances):
        raise SelectionError(
            f"why: expected a selection of this pool's {len(pool.instances)} instances, got one"
            f" that chose row {last}."
        )
    counts = len(selection.chosen), len(selection.gains), len(selection.layers)
    if len(set(counts)) > 1:
        raise SelectionError(
            f"why: expected a gain and a layer of each chosen instance, got {counts[0]}"
            f" chosen, {counts[1]} gains, {counts[2]} layers."
        )


def _numbers(pool: Pool, rows: IntArray) -> IntArray:
    """The position [k] of each instance row [k] among the rows of its image, from 0."""
    index = pool.instances.image_index
    wanted = np.zeros(len(pool), bool)
    wanted[index[rows]] = True
    theirs = np.flatnonzero(wanted[index])  # all instance rows of the images of `rows`
    by_image = theirs[np.argsort(index[theirs], kind="stable")]
    images = index[by_image]
    numbers = np.arange(len(by_image)) - np.searchsorted(images, images)
    back = np.argsort(by_image, kind="stable")
    places: IntArray = numbers[back[np.searchsorted(by_image[back], rows)]]
    return places


def _neighbours(
    pool: Pool, images: IntArray, labelled: Labelled | None
) -> list[tuple[Neighbour, ...]]:
    """The nearest labelled images of each image row, by the cosine of the image embeddings.

    The smaller image id wins a tie.
    """
    if labelled is None or not len(labelled.image_ids):
        return [()] * len(images)
    widths = labelled.image_embeddings.shape[1], pool.image_embeddings.shape[1]
    if widths[0] != widths[1]:
        raise SelectionError(
            f"labelled: expected image embeddings of width {widths[1]} as the pool's, got"
            f" {widths[0]}; score both with one model."
        )
    by_id = np.argsort(labelled.image_ids, kind="stable")
    ids = labelled.image_ids[by_id]
    known = UnitVectors.of(take(labelled.image_embeddings, by_id))[:]
    mine = UnitVectors.of(pool.image_embeddings, images)
    near: list[tuple[Neighbour, ...]] = []
    for start in range(0, len(images), _BLOCK):
        # Rounded, because the last digits depend on BLAS, and so would the order of near ties.
        cosines = np.clip(mine[start : start + _BLOCK] @ known.T, -1, 1).round(_DIGITS)
        nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :NEIGHBOURS]
        near += [
            tuple(Neighbour(int(ids[at]), shortest(row[at])) for at in places.tolist())
            for row, places in zip(cosines, nearest, strict=True)
        ]
    return near

"""Appendix D, Core-set [35]: greedy k-centre (farthest-first) on image embeddings, exact and fast.

The usual loop computes the distances of all images to the last pick, and the memory bandwidth
limits it. Here one matrix product computes these distances for 32 images that are likely to be
picked next, and keeps them until they are needed. The product is in float32, with a known bound of
its rounding error. Float64 distances decide between the images that this bound cannot separate. So
the picks are those of the plain loop in float64, and do not depend on BLAS.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from taudis.errors import SelectionError
from taudis.memmap import take
from taudis.selection.params import Labelled, ProgressCallback, SelectionParams, check_budget
from taudis.selection.vote import seeded_hash
from taudis.types import FloatArray, IntArray, Pool, Selection

COLUMNS = 32  # images whose distances to all others one product computes
_FORESEEN = 512  # farthest images, among which the next picks are guessed
_BLOCK_ROWS = 256  # points read at a time; they fit the processor's cache
_BLOCK_KNOWN = 4096  # points, and labelled images, compared at a time
_EXACT_NUMBERS = 2_000_000  # float64 differences in memory at a time

Float32 = npt.NDArray[np.float32]


def core_set(
    pool: Pool,
    *,
    budget: int,
    labelled: Labelled,
    params: SelectionParams,
    seed: int,
    progress: ProgressCallback | None = None,
) -> Selection:
    """B images, each the farthest from all labelled and picked ones; then the rest by distance.

    The distance is Euclidean, between image embeddings. A seeded order of the images breaks ties.
    Without labelled embeddings, the first image of that order is picked first. The utility of a
    picked image is its distance to the nearest centre (a labelled or picked image) when it was
    picked. The utility of any other image is this distance after the last pick. Utilities never
    rise along the order. Detections and `params` are not read. Memory besides the pool: a float32
    copy of the image embeddings, about 170 bytes per image, and the centres in float64. Raises
    SelectionError for a budget below 0 and for labelled embeddings that do not fit the pool's.
    """
    images = check_budget(budget, pool)
    known = _known_centres(pool, labelled)
    seeded = np.argsort(seeded_hash(pool.image_ids, seed), kind="stable")
    found = farthest_first(pool.image_embeddings, known, images, order=seeded, progress=progress)
    rest = np.flatnonzero(~np.isin(seeded, found.picks))
    tail = seeded[rest]
    tail = tail[np.argsort(-found.distances[tail], kind="stable")]
    order = np.concatenate([found.picks, tail])
    centres = len(known) + images
    return Selection(
        strategy="core_set",
        order=order,
        utilities=found.distances,
        reasons=_reasons(order, found.distances, images, len(known)),
        budget=images,
        diagnostics={
            "labelled": len(known),
            "radius": float(found.distances[tail].max(initial=0)) if centres else None,
        },
    )


def _known_centres(pool: Pool, labelled: Labelled) -> FloatArray:
    """The labelled images' embeddings [L,D']. Raises SelectionError if they do not fit the pool."""
    known, width = labelled.image_embeddings, pool.image_embeddings.shape[1]
    if not len(known):
        return np.zeros((0, width), np.float32)
    if known.shape[1] != width:
        raise SelectionError(
            f"Labelled.image_embeddings: expected the pool's width {width}, got {known.shape[1]}; "
            "embed labelled and unlabelled images with the same model."
        )
    if not np.isfinite(known).all():
        raise SelectionError(
            "Labelled.image_embeddings: expected finite numbers, got NaN or infinity; "
            "leave such images out."
        )
    return known


def _reasons(order: IntArray, distances: FloatArray, picks: int, known: int) -> tuple[str, ...]:
    """One sentence for each image in order: its distance, and from what it is measured.

    picks: number of picked images. known: number of labelled images.
    """
    sentences = []
    for place, row in enumerate(order.tolist()):
        if not known and place == 0 and picks:
            sentences.append(
                "first centre, at a seeded random place: no labelled image to start at"
            )
        elif not known and not picks:
            sentences.append("no labelled image to measure from; seeded random place")
        elif place < picks:
            sentences.append(
                f"distance {distances[row]:.3g} to the nearest labelled or picked image"
            )
        else:
            sentences.append(f"not picked; distance {distances[row]:.3g} to the nearest centre")
    return tuple(sentences)


@dataclass(frozen=True, eq=False)
class Centres:
    """The picks of farthest-first, and the distance of every point to its nearest centre."""

    picks: IntArray  # [count] int64 rows, in pick order
    distances: FloatArray  # [n] float64; of a pick: before it was picked; else: after the last pick


def farthest_first(
    points: FloatArray,
    known: FloatArray,
    count: int,
    *,
    order: IntArray | None = None,
    progress: ProgressCallback | None = None,
) -> Centres:
    """Pick `count` points, each the farthest from `known` and from those picked before.

    points: [n,D], finite. known: [L,D] centres to start from; if none, the first point in `order`
    is picked first, with the distance of the second pick (or of the farthest point). count: 0..n.
    order: [n] a permutation of the rows; the earlier wins a tie (None: the row order). Points that
    are not picked have the distance to the centre that float32 finds nearest, which may be too
    large by its rounding. Without any centre the distances are 0.
    """
    rows = np.arange(len(points)) if order is None else order
    race = _Race(points, known, count, rows)
    places: list[int] = []
    reached = np.zeros(count)
    while len(places) < count:
        place, distance = race.farthest()
        if distance == 0:  # every point lies on a centre, so all others tie
            places += np.flatnonzero(~race.taken)[: count - len(places)].tolist()
            if progress is not None:
                progress("core-set", count, count)
            break
        reached[len(places)] = distance
        race.pick(place)
        places.append(place)
        if progress is not None:
            progress("core-set", len(places), count)
    rest = race.distances()
    if count and not len(known):
        reached[0] = reached[1] if count > 1 else rest.max()
    distances = np.empty(len(points))
    distances[rows] = np.minimum(rest, reached[-1]) if count else rest
    distances[rows[places]] = reached
    return Centres(rows[places].astype(np.int64), distances)


class _Race:
    """Finds the point that is farthest from its nearest centre.

    Points are numbered by their place in the order. They are scaled by a power of two, so that no
    squared distance overflows.
    """

    def __init__(self, points: FloatArray, known: FloatArray, picks: int, rows: IntArray) -> None:
        n, width = points.shape
        self.points, self.rows = points, rows
        self.taken = np.zeros(n, bool)
        mean, self.scale = _middle(points, rows, known)
        self.centres = np.empty((len(known) + picks, width))  # [L+picks,D] float64, scaled
        self.centres[: len(known)] = np.asarray(known, np.float64) * self.scale
        self.made = len(known)  # rows of `centres` in use
        # Squared distances to the nearest centre: `near` in float32, -inf once picked; `owner` is
        # that centre. `exact` in float64, over the first `compared` centres only.
        self.near = np.full(n, np.inf, np.float32)
        self.owner = np.zeros(n, np.int64)
        self.exact = np.full(n, np.inf)
        self.compared = np.zeros(n, np.int64)
        self.columns: dict[int, Float32] = {}  # place -> -2 x its products [n] with all points
        mean *= self.scale
        self.flat = np.empty((n, width), np.float32)  # centred, to keep rounding errors small
        for top in range(0, n, _BLOCK_ROWS):
            places = slice(top, min(top + _BLOCK_ROWS, n))
            self.flat[places] = self._scaled(places) - mean
        flat_known = (self.centres[: self.made] - mean).astype(np.float32)
        self.lengths, known_lengths = _squares(self.flat), _squares(flat_known)
        longest = float(max(self.lengths.max(initial=0), known_lengths.max(initial=0)))
        # Bound of the rounding error of a float32 squared distance, with u = 2^-24 and relative to
        # the longest square: 2Du for the product, in any order of its sum, and 32u for the rest.
        self.error = 2 * (width + 32) * 2.0**-24 * longest
        self._start_from(flat_known, known_lengths)

    def _scaled(self, places: IntArray | slice) -> npt.NDArray[np.float64]:
        """The points [m,D] at the given places in float64, scaled but not centred."""
        return take(self.points, self.rows[places]).astype(np.float64) * self.scale

    def _start_from(self, known: Float32, lengths: Float32) -> None:
        """Find the nearest of the known centres [L,D] for every point."""
        for top in range(0, len(self.flat), _BLOCK_KNOWN):
            places = slice(top, top + _BLOCK_KNOWN)
            for left in range(0, len(known), _BLOCK_KNOWN):
                some = slice(left, left + _BLOCK_KNOWN)
                squared = self.flat[places] @ (-2 * known[some].T)
                squared += self.lengths[places, None]
                squared += lengths[some]
                nearest = squared.argmin(axis=1)
                least = squared[np.arange(len(squared)), nearest]
                closer = least < self.near[places]
                self.near[places] = np.where(closer, least, self.near[places])
                self.owner[places] = np.where(closer, left + nearest, self.owner[places])

    def farthest(self) -> tuple[int, float]:
        """The place of the farthest point and its distance; the first place if there is no centre.

        Points within the rounding error of the largest float32 distance are compared in float64.
        """
        if not self.made:
            return 0, float("inf")
        contenders = np.flatnonzero(self.near >= self.near.max() - 2 * self.error)
        self._compare(contenders)
        best = int(contenders[np.argmax(self.exact[contenders])])
        return best, float(np.sqrt(self.exact[best]) / self.scale)

    def _compare(self, places: IntArray) -> None:
        """Update `exact` of the given places to all centres."""
        for first in range(int(self.compared[places].min()), self.made, _FORESEEN):
            centres = self.centres[first : min(first + _FORESEEN, self.made)]
            step = max(1, _EXACT_NUMBERS // max(1, centres.size))
            for left in range(0, len(places), step):
                some = places[left : left + step]
                away = self._scaled(some)[:, None] - centres  # [some, centres, D]
                squared = np.square(away, out=away).sum(axis=2).min(axis=1)
                self.exact[some] = np.minimum(self.exact[some], squared)
        self.compared[places] = self.made

    def pick(self, place: int) -> None:
        """Make the point a centre, and update the distances in `near`."""
        squared = self._products(place) + self.lengths
        squared += self.lengths[place]
        closer = np.flatnonzero(squared < self.near)
        self.near[closer] = squared[closer]
        self.owner[closer] = self.made
        self.centres[self.made] = self._scaled(np.array([place]))[0]
        self.made += 1
        self.taken[place] = True
        self.near[place] = -np.inf

    def _products(self, place: int) -> Float32:
        """-2 x the products [n] of all points with the given one.

        If they are not stored yet, those of up to 32 points are computed.
        """
        if place not in self.columns:
            batch = self._foresee(place)
            self.columns.clear()
            products = (-2 * self.flat[batch]) @ self.flat.T
            self.columns = dict(zip(batch, products, strict=True))
        return self.columns[place]

    def _foresee(self, place: int) -> list[int]:
        """The place, and up to 31 places that farthest-first is likely to pick next.

        Only the `_FORESEEN` farthest points are considered. A wrong guess costs time, but never
        changes a pick.
        """
        if not self.made:
            return [place]
        few = np.arange(len(self.near))
        if len(few) > _FORESEEN:
            few = np.argpartition(self.near, -_FORESEEN)[-_FORESEEN:]
        few = np.concatenate([[place], few[(few != place) & ~self.taken[few]]])
        squared = self.flat[few] @ self.flat[few].T
        squared = self.lengths[few] - 2 * squared + self.lengths[few, None]
        batch: list[int] = []
        near, best = self.near[few], 0
        while len(batch) < min(COLUMNS, len(few)):
            batch.append(int(few[best]))
            near = np.minimum(near, squared[best])
            near[best] = -np.inf
            best = int(near.argmax())
        return batch

    def distances(self) -> FloatArray:
        """Float64 distance [n] of every place to its centre `owner`; 0 without any centre."""
        found = np.zeros(len(self.rows))
        for top in range(0, len(found) if self.made else 0, _BLOCK_ROWS):
            places = slice(top, top + _BLOCK_ROWS)
            away = self._scaled(places) - self.centres[self.owner[places]]
            found[places] = np.sqrt(np.square(away, out=away).sum(axis=1)) / self.scale
        return found


def _middle(points: FloatArray, rows: IntArray, known: FloatArray) -> tuple[FloatArray, float]:
    """The points' mean [D], summed in the order of `rows`, and a power of two as a scale.

    Times the scale, the largest element of the points and `known` is at most 1.
    """
    total = np.zeros(points.shape[1])
    peak = float(np.abs(known).max(initial=0))
    for top in range(0, len(rows), _BLOCK_ROWS):
        block = take(points, rows[top : top + _BLOCK_ROWS]).astype(np.float64)
        total += block.sum(axis=0)
        peak = max(peak, float(np.abs(block).max(initial=0)))
    return total / max(1, len(rows)), float(np.ldexp(1.0, -int(np.frexp(peak)[1])))


def _squares(flat: Float32) -> Float32:
    """Squared length of each row [n], added in float64."""
    squares: Float32 = np.einsum("nd,nd->n", flat, flat, dtype=np.float64).astype(np.float32)
    return squares

"""Algorithm 1 line 8: the chosen instances vote for their images, and every image gets a rank.

The paper ranks images by their number of chosen instances and stops at B. A queue of labelling
tasks needs an order of all images. Images with votes come first, then images with a candidate, then
images with a detection, then images without one. An instance that was chosen after the cover was
complete may have less than one vote (`taudis.selection.cover`). Equal votes go by the summed
uncertainty of the chosen instances, and remaining ties by a hash of seed and image id.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from taudis.types import FloatArray, IntArray

_MASK = (1 << 64) - 1


class Tier(IntEnum):
    """The value that ranks an image. All images of a smaller tier come first."""

    VOTED = 0  # by votes, then by the summed uncertainty of its chosen instances
    CANDIDATE = 1  # by the summed uncertainty of its candidates
    DETECTED = 2  # by the mean uncertainty of its detections
    EMPTY = 3  # no detections: in seeded random order


@dataclass(frozen=True, eq=False)
class Ranking:
    """A total order of the images, and the values behind it; all but `order` are by image row."""

    order: IntArray  # [I] int64, image rows, the first to label first
    tiers: IntArray  # [I] int64, values of `Tier`
    votes: FloatArray  # [I] float64
    chosen_uncertainty: FloatArray  # [I] float64, summed over the chosen instances
    candidate_uncertainty: FloatArray  # [I] float64, summed over the candidates
    mean_uncertainty: FloatArray  # [I] float64, over all detections; 0 without any


def _sum(image: IntArray, values: FloatArray, images: int) -> FloatArray:
    """Sum of the values of each image, [I] float64, added in the given order."""
    return np.bincount(image, weights=values, minlength=images).astype(np.float64)


def count_votes(image: IntArray, weights: FloatArray, images: int) -> FloatArray:
    """Votes of each image, [I] float64: the summed weights [k] of its chosen instances.

    image: [k] image row of each chosen instance. Weights of 1, 1/2, ... 2^-30 have exact sums up to
    4 million votes per image.
    """
    return _sum(image, weights, images)


def rank_images(
    image_ids: IntArray,
    image: IntArray,
    uncertainty: FloatArray,
    *,
    chosen: IntArray,
    weights: FloatArray,
    candidates: IntArray,
    seed: int,
) -> Ranking:
    """Rank all images by majority vote (Algorithm 1 line 8), then by `Tier`.

    image_ids: [I] unique. image: [N] image row of each instance. uncertainty: [N], larger is more
    uncertain. chosen: [k] instance rows. weights: [k] their votes. candidates: [C] instance rows.
    A hash of seed and image id breaks the last ties. Float sums depend on the order of their terms:
    pass instances in priority order.
    """
    images = len(image_ids)
    votes = count_votes(image[chosen], weights, images)
    picked = np.sort(chosen)
    chosen_sum = _sum(image[picked], uncertainty[picked], images)
    candidate_sum = _sum(image[candidates], uncertainty[candidates], images)
    detections = np.bincount(image, minlength=images)
    mean = _sum(image, uncertainty, images) / np.maximum(detections, 1)
    has_candidate = np.bincount(image[candidates], minlength=images) > 0
    standing = [votes > 0, has_candidate, detections > 0]
    tiers = np.select(standing, [Tier.VOTED, Tier.CANDIDATE, Tier.DETECTED], Tier.EMPTY)
    first = np.select(standing, [votes, candidate_sum, mean], 0.0)
    second = np.where(votes > 0, chosen_sum, 0.0)
    order = np.lexsort((seeded_hash(image_ids, seed), -second, -first, tiers))
    return Ranking(order, tiers.astype(np.int64), votes, chosen_sum, candidate_sum, mean)


def seeded_hash(ids: IntArray, seed: int) -> npt.NDArray[np.uint64]:
    """A pseudo-random 64-bit word for each id [n], the same on every machine and numpy version.

    For a given seed, different ids have different words. Any Python integer is a seed.
    """
    key = _mix(np.array([(seed * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) & _MASK], np.uint64))
    return _mix(_mix(ids.astype(np.int64).view(np.uint64) ^ key) + key)


def _mix(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of splitmix64, a bijection on 64-bit words."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))

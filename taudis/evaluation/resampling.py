"""The 95 % intervals of mAP50 and of a difference in mAP50, by resampling the images (bootstrap).

K labels, I images, R resamples. Each image is matched once; a resample only changes the weights of
the images. The intervals differ from plain bootstrap intervals in three ways. docs/evaluation.md
has the reasons and the measured coverage.

- The mean of a resample is over all labels of the whole set. A label that is missing in a resample
  keeps its average precision. Without it, the mean would jump.
- Average precision is biased upwards for few objects. A resample has fewer different objects than
  the whole set, so its mean is higher still. The bias of the whole set was measured as about twice
  that shift (SHIFTS), so the middle of the interval is moved down by this amount.
- A label that few images show varies less between resamples than between validation sets. A label
  that a single image shows hardly varies at all. So its variance is raised (`_missing_variance`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from taudis.evaluation.matching import NONE, EvaluatedImage, match
from taudis.types import BoolArray, FloatArray, IntArray, LabelMap

RECALLS = np.linspace(0.0, 1.0, 101)
"""Recall thresholds of COCO's interpolated precision."""
REACH = float(ndtri(0.975))
"""Standard deviations from the middle to the ends of a 95 % interval."""
SHIFTS = 2.0
"""The middle moves down by this times the shift of the resamples (measured, docs/evaluation.md)."""
ENOUGH = 3
"""Least number of images that must show a label to estimate its variance from resamples."""
CELLS = 2_000_000
"""Numbers in the largest array in memory."""


@dataclass(frozen=True, eq=False)
class LabelMatches:
    """The detections of a label in all images, best score first, without those in crowd regions."""

    image: IntArray  # [n] row of the image
    hit: BoolArray  # [n] whether the detection matches an object
    objects: IntArray  # [I] number of objects in each image, without crowd regions


def label_matches(
    images: Sequence[EvaluatedImage], label_map: LabelMap, limit: int
) -> list[LabelMatches]:
    """The matches of each label 1..K, with at most `limit` detections per image and label."""
    return [_matches_of(images, label, limit) for label in range(1, len(label_map) + 1)]


def _matches_of(images: Sequence[EvaluatedImage], label: int, limit: int) -> LabelMatches:
    rows, scores, hits = [], [], []
    objects = np.zeros(len(images), np.int64)
    for row, image in enumerate(images):
        matching = match(image, label=label, limit=limit)
        counted = ~matching.in_crowd
        objects[row] = ((image.true_labels == label) & ~image.iscrowd).sum()
        rows.append(np.full(int(counted.sum()), row))
        scores.append(image.scores[matching.found][counted])
        hits.append(matching.objects[counted] != NONE)
    best = np.argsort(-np.concatenate(scores), kind="stable")
    return LabelMatches(np.concatenate(rows)[best], np.concatenate(hits)[best], objects)


def average_precisions(labels: Sequence[LabelMatches], weights: FloatArray) -> FloatArray:
    """COCO's 101-point average precision [K,R] of each label, for rows of image weights [R,I].

    NaN if no image with a weight above 0 shows the label.
    """
    longest = max((len(label.image) for label in labels), default=0)
    rows = max(1, CELLS // max(1, longest))
    parts = [
        [_average_precision(label, weights[start : start + rows]) for label in labels]
        for start in range(0, len(weights), rows)
    ]
    return np.concatenate([np.array(part) for part in parts], axis=1)


def _average_precision(label: LabelMatches, weights: FloatArray) -> FloatArray:
    """Average precision [R] of a label. Only hits are needed, because precision peaks at hits."""
    wanted = weights @ label.objects
    hits = np.flatnonzero(label.hit)
    if not len(hits):
        return np.where(wanted > 0, 0.0, np.nan)
    weight = weights[:, label.image[: hits[-1] + 1]]
    found, seen = np.cumsum(weight[:, hits], axis=1), np.cumsum(weight, axis=1)[:, hits]
    precision = found / np.maximum(seen, np.spacing(1.0))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = found / np.maximum(wanted, np.spacing(1.0))[:, None]
    reached = np.searchsorted(RECALLS, recall, side="right")  # number of thresholds up to each hit
    mean = (precision * np.diff(reached, axis=1, prepend=0)).sum(axis=1) / len(RECALLS)
    return np.where(wanted > 0, mean, np.nan)


def weighted_map50(labels: Sequence[LabelMatches], weights: FloatArray) -> float:
    """map50 with weights [I] of the images; NaN without objects."""
    values = average_precisions(labels, weights[None])
    return float(np.nanmean(values)) if np.isfinite(values).any() else math.nan


def map50_interval(
    labels: Sequence[LabelMatches], seed: int, resamples: int
) -> tuple[float, float]:
    """The 95 % interval of map50 over the labels that the images show; it contains map50.

    It is symmetric in arcsin(sqrt(map50)), which makes the variance of a share constant, so its
    ends are in 0..1. NaN without objects, or for fewer than two resamples.
    """
    whole, drawn = _whole_and_drawn(labels, seed, resamples)
    if not np.isfinite(whole).any() or resamples < 2:
        return math.nan, math.nan
    known = np.isfinite(whole)
    map50 = float(whole[known].mean())
    middle, spread = _middle_and_spread(
        whole[known], drawn[known], _images_with(labels)[known], map50 * (1 - map50)
    )
    height = min(max(map50, 0.005), 0.995)
    reach = REACH * spread / (2 * math.sqrt(height * (1 - height)))
    turn = math.asin(math.sqrt(min(max(middle, 0.0), 1.0)))
    low = math.sin(max(turn - reach, 0.0)) ** 2
    high = math.sin(min(turn + reach, math.pi / 2)) ** 2
    return min(low, map50), max(high, map50)


def difference_interval(
    a: Sequence[LabelMatches], b: Sequence[LabelMatches], seed: int, resamples: int
) -> tuple[float, float]:
    """The 95 % interval of map50 of B minus map50 of A on the same images (paired).

    Both models get the same resamples, and the ends are quantiles of the differences. There is no
    shift, because the bias for few objects is similar in both models and cancels. Only labels that
    at least ENOUGH images show are included; for other labels, a single image would decide. NaN if
    there is no such label, or for fewer than two resamples.
    """
    (_, drawn_a), (_, drawn_b) = (_whole_and_drawn(each, seed, resamples) for each in (a, b))
    known = comparable_labels(a)
    if not known.any() or resamples < 2:
        return math.nan, math.nan
    low, high = np.quantile((drawn_b - drawn_a)[known].mean(axis=0), [0.025, 0.975])
    return float(low), float(high)


def comparable_labels(labels: Sequence[LabelMatches]) -> BoolArray:
    """Whether at least ENOUGH images show a label, so that models can be compared on it, [K]."""
    return _images_with(labels) >= ENOUGH


def _whole_and_drawn(
    labels: Sequence[LabelMatches], seed: int, resamples: int
) -> tuple[FloatArray, FloatArray]:
    """Average precision of each label on the whole set [K] and on each resample [K,R]."""
    images = len(labels[0].objects)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(images, np.full(images, 1 / images), size=resamples)
    weights = np.concatenate([np.ones((1, images)), draws])
    found = average_precisions(labels, weights)
    whole, drawn = found[:, 0], found[:, 1:]
    return whole, np.where(np.isfinite(drawn), drawn, whole[:, None])


def _images_with(labels: Sequence[LabelMatches]) -> IntArray:
    """Number of images that show each label [K]."""
    return np.array([int((label.objects > 0).sum()) for label in labels])


def _middle_and_spread(
    whole: FloatArray, drawn: FloatArray, counts: IntArray, most: float
) -> tuple[float, float]:
    """The middle of the interval of the mean over labels, and its standard deviation.

    whole: [K] average precision on the whole set. drawn: [K,R] on resamples. counts: [K] images
    that show each label. most: see `_missing_variance`.
    """
    means = drawn.mean(axis=0)
    middle = float(whole.mean() - SHIFTS * (means.mean() - whole.mean()))
    variance = float(means.var(ddof=1)) + _missing_variance(drawn, counts, most)
    return middle, math.sqrt(variance)


def _missing_variance(drawn: FloatArray, counts: IntArray, most: float) -> float:
    """The variance of the mean over labels that resamples of few images underestimate.

    The variance of resamples of n images is too small by a factor (n - 1) / n. A label that fewer
    than ENOUGH images show gets the mean variance per image of the other labels, or `most` if
    there are no other labels or they do not vary.
    """
    variance = drawn.var(axis=1, ddof=1)
    enough = counts >= ENOUGH
    an_image = float((variance * counts)[enough].mean()) if variance[enough].any() else most
    wanted = np.where(
        enough,
        variance * counts / np.maximum(counts - 1, 1),
        np.maximum(variance, an_image / counts),
    )
    return float((wanted - variance).sum()) / len(variance) ** 2

"""The 95 % intervals of mAP50 and of a difference in mAP50, by resampling the images (bootstrap).

K labels, I images, R resamples. Each image is matched once; a resample only gives the images other
weights. docs/evaluation.md says how often the intervals hold the truth, and why they are made so:

- A resample's mean is over the labels of the whole set. A label that a resample lacks keeps its
  average precision: without it the mean would jump, by as much as that label is better or worse.
- Average precision is too high on few objects, since each detection counts itself. A resample holds
  fewer different objects, so its mean is higher again. Measured, the error of the whole set is
  about twice that shift (SHIFTS), so the middle of the interval is moved down by it.
- A label that few images show varies less between resamples than between validation sets, and one
  that a single image shows hardly varies at all. Its variance is raised (`_missing_variance`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from taudis.evaluation.matching import NONE, EvaluatedImage, match
from taudis.types import BoolArray, FloatArray, IntArray, LabelMap

RECALLS = np.linspace(0.0, 1.0, 101)
"""Recall thresholds of COCO's interpolated precision."""
REACH = float(stats.norm.ppf(0.975))
"""Standard deviations from the middle to the ends of a 95 % interval."""
SHIFTS = 2.0
"""How often the shift of the resamples is taken off the middle. Measured: docs/evaluation.md."""
ENOUGH = 3
"""Images that must show a label before its resamples tell how much it varies."""
CELLS = 2_000_000
"""Numbers in the largest array that is held at a time."""


@dataclass(frozen=True, eq=False)
class LabelMatches:
    """The counted detections of one label in all images, best score first."""

    image: IntArray  # [n] row of the image
    hit: BoolArray  # [n] whether the detection found an object
    objects: IntArray  # [I] objects in each image, crowd regions not counted


def label_matches(
    images: Sequence[EvaluatedImage], label_map: LabelMap, limit: int
) -> list[LabelMatches]:
    """The matches of each label 1..K, with at most `limit` detections of a label in an image."""
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
    """COCO's 101-point average precision of each label under rows of image weights [R,I]: [K,R].

    NaN where no image with weight shows the label.
    """
    longest = max((len(label.image) for label in labels), default=0)
    rows = max(1, CELLS // max(1, longest))
    parts = [
        [_average_precision(label, weights[start : start + rows]) for label in labels]
        for start in range(0, len(weights), rows)
    ]
    return np.concatenate([np.array(part) for part in parts], axis=1)


def _average_precision(label: LabelMatches, weights: FloatArray) -> FloatArray:
    """Average precision [R] of one label. Precision peaks at hits, so only these are looked at."""
    wanted = weights @ label.objects
    hits = np.flatnonzero(label.hit)
    if not len(hits):
        return np.where(wanted > 0, 0.0, np.nan)
    weight = weights[:, label.image[: hits[-1] + 1]]
    found, seen = np.cumsum(weight[:, hits], axis=1), np.cumsum(weight, axis=1)[:, hits]
    precision = found / np.maximum(seen, np.spacing(1.0))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = found / np.maximum(wanted, np.spacing(1.0))[:, None]
    reached = np.searchsorted(RECALLS, recall, side="right")  # thresholds up to each hit
    mean = (precision * np.diff(reached, axis=1, prepend=0)).sum(axis=1) / len(RECALLS)
    return np.where(wanted > 0, mean, np.nan)


def weighted_map50(labels: Sequence[LabelMatches], weights: FloatArray) -> float:
    """map50 where each image counts as often as its weight [I]; NaN without any object."""
    values = average_precisions(labels, weights[None])
    return float(np.nanmean(values)) if np.isfinite(values).any() else math.nan


def map50_interval(
    labels: Sequence[LabelMatches], seed: int, resamples: int
) -> tuple[float, float]:
    """The 95 % interval of map50 over the labels that the images show; it holds map50 itself.

    Symmetric in arcsin(sqrt(map50)), where the spread of a share does not depend on its height, so
    the ends lie in 0..1. NaN without objects, or for fewer than two resamples.
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

    Both models get the same resamples, and the ends are quantiles of their differences. The errors
    that few objects make are alike in both and cancel, so nothing is shifted. The interval is over
    the labels that ENOUGH images show: of the others one image would decide. NaN if there is none,
    or for fewer than two resamples.
    """
    (_, drawn_a), (_, drawn_b) = (_whole_and_drawn(each, seed, resamples) for each in (a, b))
    known = comparable_labels(a)
    if not known.any() or resamples < 2:
        return math.nan, math.nan
    low, high = np.quantile((drawn_b - drawn_a)[known].mean(axis=0), [0.025, 0.975])
    return float(low), float(high)


def comparable_labels(labels: Sequence[LabelMatches]) -> BoolArray:
    """Which labels [K] are shown by so many images that two models can be compared on them."""
    return _images_with(labels) >= ENOUGH


def _whole_and_drawn(
    labels: Sequence[LabelMatches], seed: int, resamples: int
) -> tuple[FloatArray, FloatArray]:
    """Average precision of each label on the whole set [K], and on each resample of it [K,R]."""
    images = len(labels[0].objects)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(images, np.full(images, 1 / images), size=resamples)
    weights = np.concatenate([np.ones((1, images)), draws])
    found = average_precisions(labels, weights)
    whole, drawn = found[:, 0], found[:, 1:]
    return whole, np.where(np.isfinite(drawn), drawn, whole[:, None])


def _images_with(labels: Sequence[LabelMatches]) -> IntArray:
    """How many images show each label [K]."""
    return np.array([int((label.objects > 0).sum()) for label in labels])


def _middle_and_spread(
    whole: FloatArray, drawn: FloatArray, counts: IntArray, most: float
) -> tuple[float, float]:
    """The middle of the interval of a mean over labels, and its standard deviation.

    whole [K], drawn [K,R]: values of the whole set and of resamples. counts [K]: images that show
    each label. most: the variance of a value that one image gives, where no label tells.
    """
    means = drawn.mean(axis=0)
    middle = float(whole.mean() - SHIFTS * (means.mean() - whole.mean()))
    variance = float(means.var(ddof=1)) + _missing_variance(drawn, counts, most)
    return middle, math.sqrt(variance)


def _missing_variance(drawn: FloatArray, counts: IntArray, most: float) -> float:
    """The variance of the mean over labels that resamples of few images do not show.

    Resamples of n images vary by (n - 1) / n of what they should. A label that fewer than ENOUGH
    images show gets the variance an image that the other labels have on average; `most` where
    these never vary, or there are none.
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

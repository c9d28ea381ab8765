"""The detections that become visible as pre-annotations.

The selection uses every detection. For pre-annotations, the score must reach the threshold of the
label (`taudis.evaluation.thresholds` chooses it). A second mask on the same object is dropped, and
so are small islands, which masks of a weak model have. Nothing here needs torch.
Letters: n detections, K labels, M mask side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import cv2
import numpy as np

from taudis.errors import DataError
from taudis.types import BoolArray, FloatArray, Instances, IntArray, LabelMap

DEFAULT_THRESHOLD = 0.5
"""Lowest score of a visible detection, without validation images to choose it."""
SAME_LABEL_IOU = 0.5
"""Least mask IoU of two detections of the same object, for equal labels. (The model has already
dropped boxes that overlap too much.)"""
OTHER_LABEL_IOU = 0.8
"""The same for different labels. It is high because, for example, a window may fill most of a
balcony."""
SPECK_PX = 4
"""Masks and islands with fewer pixels are dropped."""
ISLAND_SHARE = 0.01
"""Islands with a smaller share of their instance's area are dropped."""
MASK_THRESHOLD = 0.5
CARD_KEY = "score_thresholds"
"""Key of the chosen thresholds, by label name, in a checkpoint's card."""
GRID = 48  # sample points per side to compare two masks; the IoU is correct to about 0.02
_CENTRES = (np.arange(GRID) + 0.5) / GRID  # the sample points, as shares of the side


def thresholds_for(
    label_map: LabelMap, chosen: Mapping[str, float], fixed: float | None = None
) -> FloatArray:
    """The score thresholds [K] in the order of the label map.

    fixed: for all labels, if given. chosen: by label name, from a checkpoint's card; other labels
    get DEFAULT_THRESHOLD.
    """
    if fixed is not None:
        return np.full(len(label_map), fixed, np.float64)
    return np.array([chosen.get(name, DEFAULT_THRESHOLD) for name in label_map.names], np.float64)


def visible(instances: Instances, thresholds: FloatArray) -> Instances:
    """The visible detections of an image, best score first, with masks without islands.

    thresholds: [K] least score of each label. Without masks, only the scores decide.
    """
    sure = instances.filter(instances.scores >= thresholds[instances.labels - 1])
    sure = sure.filter(np.argsort(-sure.scores, kind="stable"))
    return sure if sure.mask_probs is None else distinct(without_specks(sure))


def without_specks(instances: Instances) -> Instances:
    """The instances without islands in their masks, and without masks of fewer than SPECK_PX px.

    An island is an 8-connected part, but not the largest one, of fewer than SPECK_PX px or less
    than ISLAND_SHARE of the mask. Areas are computed from cells of the model's mask, so the time
    does not depend on the size of the image. Other cells of the mask do not change.
    """
    probs = _masks_of(instances)
    cell_px = _areas(instances.boxes) / max(probs.shape[1] * probs.shape[2], 1)
    cleaned = np.stack(
        [_largest_parts(mask, size) for mask, size in zip(probs, cell_px, strict=True)]
        or [np.zeros(probs.shape[1:], probs.dtype)]
    )[: len(probs)]
    cells = (cleaned >= MASK_THRESHOLD).sum((1, 2))
    large = (cells > 0) & (cells * cell_px >= SPECK_PX)
    return replace(instances, mask_probs=cleaned).filter(large)


def _largest_parts(probs: FloatArray, cell_px: float) -> FloatArray:
    """A mask [M,M] of probabilities with its islands set to 0."""
    filled = (probs >= MASK_THRESHOLD).astype(np.uint8)
    count, part_of, stats, _ = cv2.connectedComponentsWithStats(filled, connectivity=8)
    if count <= 2:  # the background and one part
        return probs
    cells = stats[1:, cv2.CC_STAT_AREA]
    least = max(SPECK_PX / max(cell_px, 1e-9), ISLAND_SHARE * cells.sum())
    stays = np.concatenate([[True], cells >= min(least, cells.max())])
    return np.where(stays[part_of], probs, 0).astype(probs.dtype)


def distinct(instances: Instances) -> Instances:
    """One detection per object, best score first: greedy non-maximum suppression by masks.

    A detection is dropped if the IoU of its mask with a better one is at least SAME_LABEL_IOU, or
    OTHER_LABEL_IOU for different labels, so that nested objects of different labels both stay.
    """
    rows = instances.filter(np.argsort(-instances.scores, kind="stable"))
    probs, areas = _masks_of(rows), _mask_areas(rows)
    keep = np.ones(len(rows), bool)
    for better, worse in _candidates(rows, areas).tolist():
        if keep[better] and keep[worse]:
            overlap = _overlap(probs[[better, worse]], rows.boxes[[better, worse]])
            union = areas[better] + areas[worse] - overlap
            keep[worse] = overlap < _limit(rows.labels[better], rows.labels[worse]) * union
    return rows.filter(keep)


def _limit(a: IntArray, b: IntArray) -> FloatArray:
    return np.where(a == b, SAME_LABEL_IOU, OTHER_LABEL_IOU)


def _candidates(rows: Instances, areas: FloatArray) -> IntArray:
    """Pairs [p,2] (better, worse), best first, whose IoU can reach the limit.

    An IoU is at most the intersection of the boxes divided by the area of the larger mask.
    """
    low = np.maximum(rows.boxes[:, None, :2], rows.boxes[None, :, :2])
    high = np.minimum(rows.boxes[:, None, 2:], rows.boxes[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(-1)  # [n,n]
    larger = np.maximum(areas[:, None], areas[None, :])
    limit = _limit(rows.labels[:, None], rows.labels[None, :])
    return np.argwhere(np.triu((shared > 0) & (shared >= limit * larger), k=1))


def _mask_areas(rows: Instances) -> FloatArray:
    """The masks' areas [n] px, from the same sample points as the overlaps."""
    probs = _masks_of(rows)
    weights = _weights(_CENTRES, probs.shape[-1])
    inside = weights @ probs @ weights.T >= MASK_THRESHOLD
    return np.asarray(inside.mean((1, 2), dtype=np.float64) * _areas(rows.boxes))


def _overlap(probs: FloatArray, boxes: FloatArray) -> float:
    """The intersection, in px, of two masks [2,M,M] in their boxes [2,4]."""
    common = np.concatenate([boxes[:, :2].max(0), boxes[:, 2:].min(0)])
    both = _inside(probs[0], boxes[0], common) & _inside(probs[1], boxes[1], common)
    return float(both.mean() * (common[2:] - common[:2]).prod())


def _inside(probs: FloatArray, box: FloatArray, window: FloatArray) -> BoolArray:
    """Whether a mask [M,M] in its box covers each of GRID x GRID points of a window (xyxy px)."""
    sides, spans = np.maximum(box[2:] - box[:2], 1e-6), window[2:] - window[:2]
    x, y = ((window[:2] - box[:2] + _CENTRES[:, None] * spans) / sides).T
    rows, columns = _weights(y, probs.shape[-1]), _weights(x, probs.shape[-1])
    return np.asarray(rows @ probs @ columns.T >= MASK_THRESHOLD)


def _weights(at: FloatArray, cells: int) -> FloatArray:
    """The weights [p,cells] of bilinear samples at positions [p] along a mask's side, 0..1.

    Outside of the mask, values are 0. Multiplying masks by weights samples many masks at once.
    """
    away = np.abs(at[:, None] * cells - 0.5 - np.arange(cells))
    return np.asarray(np.clip(1 - away, 0, None), np.float32)


def _areas(boxes: FloatArray) -> FloatArray:
    areas: FloatArray = (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(1).astype(np.float64)
    return areas


def _masks_of(instances: Instances) -> FloatArray:
    if instances.mask_probs is None:
        raise DataError("Instances.mask_probs: expected masks, since they become visible.")
    return instances.mask_probs

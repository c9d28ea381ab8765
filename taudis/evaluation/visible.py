"""Which detections become visible as pre-annotations.

The selection uses every detection. Pre-annotations are fewer: the score must reach the threshold of
the label (`taudis.evaluation.thresholds` chooses it), a second mask on the same object is dropped,
and so are the small islands that a weak model scatters beside an object. Nothing here needs torch.
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
"""Lowest score of a visible detection where no validation image decides."""
SAME_LABEL_IOU = 0.5
"""Mask IoU from which two detections of one label are one object. (The model has already dropped
boxes that overlap too much.)"""
OTHER_LABEL_IOU = 0.8
"""The same for two labels: high, because a window may fill most of its balcony."""
SPECK_PX = 4
"""Masks and islands with fewer pixels are dropped."""
ISLAND_SHARE = 0.01
"""Islands with a smaller share of their instance's area are dropped."""
MASK_THRESHOLD = 0.5
CARD_KEY = "score_thresholds"
"""Key of a checkpoint's card for the chosen thresholds, by label name."""
GRID = 48  # sample points a side where two masks are compared: IoU to about 0.02
_CENTRES = (np.arange(GRID) + 0.5) / GRID  # of the sample points, as shares of the side


def thresholds_for(
    label_map: LabelMap, chosen: Mapping[str, float], fixed: float | None = None
) -> FloatArray:
    """The score thresholds [K] in the order of the label map.

    `fixed` for all labels if given; else what was `chosen` for each (a checkpoint's card), and
    DEFAULT_THRESHOLD for labels that it does not name.
    """
    if fixed is not None:
        return np.full(len(label_map), fixed, np.float64)
    return np.array([chosen.get(name, DEFAULT_THRESHOLD) for name in label_map.names], np.float64)


def visible(instances: Instances, thresholds: FloatArray) -> Instances:
    """The visible detections of one image, best score first, their masks without islands.

    `thresholds` [K] are scores by label, inclusive. Without masks the scores alone decide.
    """
    sure = instances.filter(instances.scores >= thresholds[instances.labels - 1])
    sure = sure.filter(np.argsort(-sure.scores, kind="stable"))
    return sure if sure.mask_probs is None else distinct(without_specks(sure))


def without_specks(instances: Instances) -> Instances:
    """Instances whose masks lost their islands, without those of fewer than SPECK_PX pixels.

    An island is a part (8-connected) beside the largest one, of under SPECK_PX pixels or under
    ISLAND_SHARE of the mask. Sizes are counted in cells of the model's mask, so that the time does
    not depend on the size of the image. The pixels that stay do not change.
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
    """A mask [M,M] of probabilities with its islands at 0."""
    filled = (probs >= MASK_THRESHOLD).astype(np.uint8)
    count, part_of, stats, _ = cv2.connectedComponentsWithStats(filled, connectivity=8)
    if count <= 2:  # the background and one part
        return probs
    cells = stats[1:, cv2.CC_STAT_AREA]
    least = max(SPECK_PX / max(cell_px, 1e-9), ISLAND_SHARE * cells.sum())
    stays = np.concatenate([[True], cells >= min(least, cells.max())])
    return np.where(stays[part_of], probs, 0).astype(probs.dtype)


def distinct(instances: Instances) -> Instances:
    """One detection an object, best score first: greedy non-maximum suppression by masks.

    A detection is dropped if its mask overlaps that of a better one by an IoU of SAME_LABEL_IOU, or
    of OTHER_LABEL_IOU where the labels differ: nested objects of different labels both stay.
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
    """The pixels that two masks [2,M,M] in their boxes [2,4] share."""
    common = np.concatenate([boxes[:, :2].max(0), boxes[:, 2:].min(0)])
    both = _inside(probs[0], boxes[0], common) & _inside(probs[1], boxes[1], common)
    return float(both.mean() * (common[2:] - common[:2]).prod())


def _inside(probs: FloatArray, box: FloatArray, window: FloatArray) -> BoolArray:
    """Which of the GRID x GRID points of a window (xyxy px) a mask [M,M] in its box covers."""
    sides, spans = np.maximum(box[2:] - box[:2], 1e-6), window[2:] - window[:2]
    x, y = ((window[:2] - box[:2] + _CENTRES[:, None] * spans) / sides).T
    rows, columns = _weights(y, probs.shape[-1]), _weights(x, probs.shape[-1])
    return np.asarray(rows @ probs @ columns.T >= MASK_THRESHOLD)


def _weights(at: FloatArray, cells: int) -> FloatArray:
    """The weights [p,cells] of bilinear samples at places [p] of a mask's side, 0..1.

    Around the mask are zeros. Matrices sample any number of masks in one call.
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

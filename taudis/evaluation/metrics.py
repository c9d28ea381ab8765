"""mAP50 and mAP of masks by the COCO protocol, with a bootstrap interval over images.

The figures are faster-coco-eval's, which equal pycocotools'. The interval matches each image once
at IoU 0.5 and then only weighs images, so that a hundred resamples cost less than the figures.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from faster_coco_eval import mask as rle_tools

from taudis.detector.mask_rcnn import Detector
from taudis.errors import DataError
from taudis.evaluation.confusion import confusion
from taudis.evaluation.matching import Judged
from taudis.training.samples import Samples
from taudis.types import BoolArray, Detection, FloatArray, IntArray, LabelMap, Target

__all__ = ["COCO_DETECTIONS", "Judged", "Metrics", "evaluate", "judge", "worse_beyond_interval"]

logger = logging.getLogger(__name__)

RECALLS = np.linspace(0.0, 1.0, 101)
"""Recall thresholds of COCO's interpolated precision."""
COCO_DETECTIONS = 100
"""Detections per image and label that COCO counts; more where the model is set to give more."""


@dataclass(frozen=True)
class Metrics:
    """How good a detector is on a labelled set; every figure 0..1, NaN where there is no truth."""

    map50: float  # mean over labels of the average precision at mask IoU 0.5
    map: float  # the same, averaged over IoU 0.5, 0.55 .. 0.95
    per_label: dict[str, float]  # map50 of each label, NaN for one without instances
    interval: tuple[float, float]  # bootstrap 95 % of map50 over images
    images: int
    instances: int  # crowds not counted
    confusion: tuple[
        tuple[int, ...], ...
    ] = ()  # [K+1,K+1], taudis.evaluation.confusion; () if unknown

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold: NaN becomes None."""
        return {k: _without_nan(v) for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Metrics:
        """The inverse of `to_dict`, also after JSON. Raises DataError for anything else."""
        try:
            low, high = values["interval"]
            return cls(
                _with_nan(values["map50"]),
                _with_nan(values["map"]),
                {name: _with_nan(value) for name, value in values["per_label"].items()},
                (_with_nan(low), _with_nan(high)),
                int(values["images"]),
                int(values["instances"]),
                tuple(tuple(int(n) for n in row) for row in values.get("confusion", ())),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"Metrics: expected what to_dict gave, got {values!r}.") from error


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(inner) for name, inner in value.items()}
    if isinstance(value, tuple):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _with_nan(value: float | None) -> float:
    return math.nan if value is None else float(value)


def worse_beyond_interval(new: Metrics, old: Metrics) -> bool:
    """Whether the new detector's map50 lies under the old one's bootstrap interval.

    False where either is NaN: without a validation set nothing is known to be worse.
    """
    return new.map50 < old.interval[0]


def evaluate(
    detector: Detector,
    samples: Samples,
    *,
    seed: int = 0,
    bootstrap: int = 100,
    on_image: Callable[[Target, Detection], None] | None = None,
) -> Metrics:
    """Judge a detector on labelled images. An empty set gives NaN figures and images = 0.

    `bootstrap` resamples of the images make the interval; `seed` draws them; `on_image` gets
    each image's truth and detections as they pass. Raises DataError for a broken sample.
    """
    judged = []
    for row in range(len(samples)):
        image, target = samples[row]
        detection = detector.detect([image])[0]
        judged.append(Judged.of(target, detection))
        if on_image is not None:
            on_image(target, detection)
    limit = max(COCO_DETECTIONS, detector.config.detections_per_image)
    return judge(judged, detector.label_map, limit=limit, seed=seed, bootstrap=bootstrap)


def judge(
    judged: list[Judged],
    label_map: LabelMap,
    *,
    limit: int = COCO_DETECTIONS,
    seed: int = 0,
    bootstrap: int = 100,
) -> Metrics:
    """The metrics of images that went through the detector; `limit` detections a label count."""
    instances = sum(int((~image.iscrowd).sum()) for image in judged)
    if instances == 0:
        nothing = dict.fromkeys(label_map.names, math.nan)
        return Metrics(math.nan, math.nan, nothing, (math.nan, math.nan), len(judged), 0)
    precision = coco_precision(judged, len(label_map), limit)  # [T,R,K]
    per_label = _mean_of_known(precision[0], axis=0)  # [K]
    matches = [_matches(judged, label, limit) for label in range(1, len(label_map) + 1)]
    return Metrics(
        map50=float(np.nanmean(per_label)),
        map=float(np.nanmean(_mean_of_known(precision, axis=(0, 1)))),
        per_label=dict(zip(label_map.names, per_label.tolist(), strict=True)),
        interval=_interval(matches, len(judged), seed, bootstrap),
        images=len(judged),
        instances=instances,
        confusion=tuple(map(tuple, confusion(judged, len(label_map)).tolist())),
    )


def _mean_of_known(precision: FloatArray, axis: int | tuple[int, ...]) -> FloatArray:
    """The mean over `axis`; NaN for labels without truth, which COCO marks with -1."""
    known = precision > -1
    with np.errstate(invalid="ignore"):
        mean: FloatArray = np.where(known, precision, 0).sum(axis) / known.sum(axis)
    return mean


def coco_dicts(
    judged: list[Judged], labels: int
) -> tuple[dict[str, list[dict[str, Any]]], list[dict[str, Any]]]:
    """The truth as a COCO file's content and the detections as COCO results; K = `labels`."""
    truth: dict[str, list[dict[str, Any]]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": label, "name": str(label)} for label in range(1, labels + 1)],
    }
    found = []
    for number, image in enumerate(judged, start=1):
        height, width = image.size
        truth["images"].append({"id": number, "height": height, "width": width})
        for label, mask, crowd in zip(
            image.true_labels, image.true_masks, image.iscrowd, strict=True
        ):
            truth["annotations"].append({
                "id": len(truth["annotations"]) + 1,
                "image_id": number,
                "category_id": int(label),
                "segmentation": mask,
                "area": float(rle_tools.area(mask)),
                "bbox": [float(side) for side in rle_tools.toBbox(mask)],
                "iscrowd": int(crowd),
            })  # fmt: skip
        found += [
            {"image_id": number, "category_id": int(l), "score": float(s), "segmentation": m}
            for l, s, m in zip(image.labels, image.scores, image.masks, strict=True)  # noqa: E741
        ]
    return truth, found


def coco_precision(judged: list[Judged], labels: int, limit: int) -> FloatArray:
    """COCO's interpolated precision [10 IoUs, 101 recalls, K labels] over all areas."""
    truth, found = coco_dicts(judged, labels)
    if not found:
        known = {a["category_id"] for a in truth["annotations"] if not a["iscrowd"]}
        columns = [0.0 if label in known else -1.0 for label in range(1, labels + 1)]
        return np.broadcast_to(np.array(columns), (10, len(RECALLS), labels))
    gt = COCO(truth)
    run = COCOeval_faster(gt, gt.loadRes(found), iouType="segm", print_function=logger.debug)
    run.params.maxDets = [1, 10, limit]
    run.evaluate()
    run.accumulate()
    precision: FloatArray = np.asarray(run.eval["precision"])[:, :, :, 0, -1]
    return precision


@dataclass(frozen=True, eq=False)
class _Matches:
    """One label's detections in all images at IoU 0.5, best score first."""

    image: IntArray  # [n] row of the image
    hit: BoolArray  # [n] whether it found an instance
    wanted: IntArray  # [I] instances in each image


def _matches(judged: list[Judged], label: int, limit: int) -> _Matches:
    images, scores, hits = [], [], []
    wanted = np.zeros(len(judged), np.int64)
    for row, image in enumerate(judged):
        truth = np.flatnonzero(image.true_labels == label)
        truth = truth[np.argsort(image.iscrowd[truth], kind="stable")]
        wanted[row] = (~image.iscrowd[truth]).sum()
        found = np.flatnonzero(image.labels == label)
        found = found[np.argsort(-image.scores[found], kind="stable")][:limit]
        outcome = _match_image(image, truth, found)
        counted = outcome >= 0
        images.append(np.full(int(counted.sum()), row))
        scores.append(image.scores[found][counted])
        hits.append(outcome[counted] == 1)
    best = np.argsort(-np.concatenate(scores), kind="stable")
    return _Matches(np.concatenate(images)[best], np.concatenate(hits)[best], wanted)


def _match_image(image: Judged, truth: IntArray, found: IntArray) -> IntArray:
    """COCO's greedy matching at IoU 0.5: 1 a hit, 0 a miss, -1 not counted (in a crowd)."""
    outcome = np.zeros(len(found), np.int64)
    if not len(truth) or not len(found):
        return outcome
    crowd = image.iscrowd[truth]
    ious = np.asarray(
        rle_tools.iou(
            [image.masks[row] for row in found],
            [image.true_masks[row] for row in truth],
            crowd.astype(np.uint8).tolist(),
        )
    )  # [n,g]
    free = np.ones(len(truth), bool)
    for row, overlap in enumerate(ious):
        open_ = np.where(free & ~crowd & (overlap >= 0.5), overlap, -1.0)
        if open_.max() >= 0:  # of equal overlaps COCO takes the last
            free[len(open_) - 1 - int(np.argmax(open_[::-1]))] = False
            outcome[row] = 1
        elif (crowd & (overlap >= 0.5)).any():
            outcome[row] = -1
    return outcome


def _average_precision(label: _Matches, weights: FloatArray) -> float:
    """COCO's 101-point average precision with image weights [I]; NaN without instances."""
    wanted = float(label.wanted @ weights)
    if wanted == 0:
        return math.nan
    weight = weights[label.image]
    hits, seen = np.cumsum(label.hit * weight), np.cumsum(weight)
    precision = hits / np.maximum(seen, np.spacing(1.0))
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(hits / wanted, RECALLS, side="left")
    return float(np.append(precision, 0.0)[at].mean())


def _map50(labels: Iterable[_Matches], weights: FloatArray) -> float:
    values = np.array([_average_precision(label, weights) for label in labels])
    return float(np.nanmean(values)) if np.isfinite(values).any() else math.nan


def _interval(
    labels: list[_Matches], images: int, seed: int, bootstrap: int
) -> tuple[float, float]:
    """The 2.5 and 97.5 % quantiles of map50 when the images are drawn anew, with replacement."""
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(images, np.full(images, 1 / images), size=bootstrap)
    values = np.array([_map50(labels, draw.astype(np.float64)) for draw in draws])
    if not np.isfinite(values).any():
        return math.nan, math.nan
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)

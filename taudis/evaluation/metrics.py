"""The metrics of a detector on labelled images: mAP50, mAP and the confusion matrix, of masks.

mAP50 and mAP follow the COCO protocol. faster-coco-eval computes them, and the tests compare them
with pycocotools. The interval of mAP50 comes from resampling the images (`resampling`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from faster_coco_eval import mask as rle_tools

from taudis.detector.registry import TrainedDetector
from taudis.errors import DataError
from taudis.evaluation.matching import NONE, EvaluatedImage, match
from taudis.evaluation.resampling import RECALLS, label_matches, map50_interval
from taudis.training.samples import Samples
from taudis.types import Detection, FloatArray, IntArray, LabelMap, Target, labels_of_region

logger = logging.getLogger(__name__)

COCO_DETECTIONS = 100
"""Detections per image and label that COCO evaluates. A model with a higher limit is evaluated with
its own limit."""
RESAMPLES = 200
"""Resamples of the images for the interval. They determine its standard deviation to 5 %."""
CONFIDENT = 0.5
"""Lowest score of a detection in the confusion matrix; lower ones are rarely visible to people."""


@dataclass(frozen=True)
class Metrics:
    """The metrics of a detector on a labelled set; figures are 0..1, NaN without ground truth."""

    map50: float  # mean over labels of the average precision at mask IoU 0.5
    map: float  # map50 averaged over IoU 0.5, 0.55 .. 0.95
    per_label: dict[str, float]  # average precision at IoU 0.5; NaN for a label without instances
    interval: tuple[float, float]  # 95 % of map50 over images, by bootstrap; NaN if not computed
    images: int
    instances: int  # without crowds
    confusion: tuple[tuple[int, ...], ...] = ()  # [K+1,K+1] see `confusion`; () without instances

    def to_dict(self) -> dict[str, Any]:
        """The metrics as JSON values; NaN becomes None."""
        return {k: _without_nan(v) for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Metrics:
        """The inverse of `to_dict`. Raises DataError for anything else."""
        try:
            low, high = values["interval"]
            return cls(
                _with_nan(values["map50"]),
                _with_nan(values["map"]),
                {name: _with_nan(value) for name, value in values["per_label"].items()},
                (_with_nan(low), _with_nan(high)),
                int(values["images"]),
                int(values["instances"]),
                tuple(tuple(int(n) for n in row) for row in values["confusion"]),
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


def evaluate(
    detector: TrainedDetector,
    samples: Samples,
    *,
    seed: int = 0,
    bootstrap: int = RESAMPLES,
    on_image: Callable[[Target, Detection], None] | None = None,
) -> Metrics:
    """Evaluate a detector on labelled images. Without images, figures are NaN and `images` is 0.

    bootstrap: number of resamples for the interval. seed: of the resamples. on_image: called with
    the truth and the detections of each image. Raises DataError for a broken sample.
    """
    images = evaluated_images(detector, samples, on_image=on_image)
    limit = detection_limit(detector)
    return metrics_of(images, detector.label_map, limit=limit, seed=seed, bootstrap=bootstrap)


def evaluated_images(
    detector: TrainedDetector,
    samples: Samples,
    *,
    on_image: Callable[[Target, Detection], None] | None = None,
) -> list[EvaluatedImage]:
    """The ground truth and the detections of each image. Raises DataError for a broken sample."""
    images = []
    for row in range(len(samples)):
        image, target = samples[row]
        detection = detector.detect([image])[0]
        images.append(EvaluatedImage.of(target, detection))
        if on_image is not None:
            on_image(target, detection)
    return images


def detection_limit(*detectors: TrainedDetector) -> int:
    """Detections per image and label that are evaluated: COCO's, or a detector's higher limit."""
    return max(COCO_DETECTIONS, *(each.config.detections_per_image for each in detectors))


def metrics_of(
    images: Sequence[EvaluatedImage],
    label_map: LabelMap,
    *,
    limit: int = COCO_DETECTIONS,
    seed: int = 0,
    bootstrap: int = RESAMPLES,
) -> Metrics:
    """The metrics of evaluated images, with at most `limit` detections per image and label."""
    instances = sum(int((~image.iscrowd).sum()) for image in images)
    if instances == 0:
        nothing = dict.fromkeys(label_map.names, math.nan)
        return Metrics(math.nan, math.nan, nothing, (math.nan, math.nan), len(images), 0)
    precision = coco_precision(images, len(label_map), limit)  # [T,R,K]
    per_label = _mean_of_known(precision[0], axis=0)  # [K]
    matches = label_matches(images, label_map, limit)
    return Metrics(
        map50=float(np.nanmean(per_label)),
        map=float(np.nanmean(_mean_of_known(precision, axis=(0, 1)))),
        per_label=dict(zip(label_map.names, per_label.tolist(), strict=True)),
        interval=map50_interval(matches, seed, bootstrap),
        images=len(images),
        instances=instances,
        confusion=tuple(map(tuple, confusion(images, len(label_map)).tolist())),
    )


def _mean_of_known(precision: FloatArray, axis: int | tuple[int, ...]) -> FloatArray:
    """The mean over `axis`; NaN for labels without instances, which COCO marks with -1."""
    known = precision > -1
    with np.errstate(invalid="ignore"):
        mean: FloatArray = np.where(known, precision, 0).sum(axis) / known.sum(axis)
    return mean


def coco_dicts(
    images: Sequence[EvaluatedImage], labels: int
) -> tuple[dict[str, list[dict[str, Any]]], list[dict[str, Any]]]:
    """The ground truth as in a COCO file, and the detections as COCO results. labels: K.

    A crowd region with ANY_LABEL is there once for each label, since a crowd in COCO has one label.
    """
    truth: dict[str, list[dict[str, Any]]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": label, "name": str(label)} for label in range(1, labels + 1)],
    }
    found = []
    for number, image in enumerate(images, start=1):
        height, width = image.size
        truth["images"].append({"id": number, "height": height, "width": width})
        for label, mask, crowd in zip(
            image.true_labels, image.true_masks, image.iscrowd, strict=True
        ):
            for category in labels_of_region(int(label), labels):
                truth["annotations"].append({
                    "id": len(truth["annotations"]) + 1,
                    "image_id": number,
                    "category_id": category,
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


def coco_precision(images: Sequence[EvaluatedImage], labels: int, limit: int) -> FloatArray:
    """COCO's interpolated precision [10 IoUs, 101 recalls, K labels] over all areas."""
    truth, found = coco_dicts(images, labels)
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


def confusion(
    images: Iterable[EvaluatedImage], labels: int, *, score: float = CONFIDENT
) -> IntArray:
    """Numbers of instances [K+1,K+1]: true label by row, detected label by column. labels: K.

    Detections with a score of at least `score` are matched with objects of any label. Row 0 counts
    detections without an object, column 0 objects without a detection. Detections in a crowd region
    are not counted.
    """
    counts = np.zeros((labels + 1, labels + 1), np.int64)
    for image in images:
        matching = match(image, score=score)
        hit, found_labels = matching.objects != NONE, image.labels[matching.found]
        true = np.zeros(len(hit), np.int64)
        true[hit] = image.true_labels[matching.objects[hit]]
        counted = ~matching.in_crowd
        np.add.at(counts, (true[counted], found_labels[counted]), 1)
        missed = ~image.iscrowd
        missed[matching.objects[hit]] = False
        counts[:, 0] += np.bincount(image.true_labels[missed], minlength=labels + 1)
    return counts

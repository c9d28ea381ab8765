"""The figures are pycocotools' own; the interval is what resampling the images gives."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import math

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from taudis.data.coco import coco_of, encode, load_coco
from taudis.errors import DataError
from taudis.evaluation.matching import EvaluatedImage
from taudis.evaluation.metrics import Metrics, evaluate, metrics_of
from taudis.evaluation.resampling import label_matches, weighted_map50
from taudis.types import ANY_LABEL, LabelMap
from tests.taudis.detector_cases import LABELS, Pictures, detector, picture

THREE = LabelMap(("a", "b", "never"))


def evaluated_image(rng, crowd=True, size=(40, 48), levels=20):
    """Random rectangles as truth; detections are shifted copies and junk; few levels of score."""
    truth = int(rng.integers(0, 6))
    masks, labels = np.zeros((truth, *size), bool), rng.integers(1, 3, truth)
    found, found_labels = [], []
    for row in range(truth):
        y, x, h, w = rng.integers(0, 25), rng.integers(0, 30), rng.integers(4, 15), 12
        masks[row, y : y + h, x : x + w] = True
        for _ in range(int(rng.integers(0, 3))):
            shifted = np.roll(masks[row], rng.integers(-3, 4, 2), (0, 1))
            found.append(shifted)
            found_labels.append(labels[row] if rng.random() < 0.8 else 3 - labels[row])
    for _ in range(int(rng.integers(0, 3))):
        mask = np.zeros(size, bool)
        mask[rng.integers(0, 30) :, rng.integers(0, 30) :] = True
        found.append(mask)
        found_labels.append(1)
    return EvaluatedImage(
        size,
        labels,
        [encode(mask) for mask in masks],
        (rng.random(truth) < 0.2) & crowd,
        np.array(found_labels, np.int64),
        (rng.integers(1, levels, len(found)) / levels).astype(np.float32),
        [encode(mask) for mask in found],
    )


def by_pycocotools(images, labels, limit=100):
    """(map50, map, per label map50) of pycocotools on the same truth and detections."""
    truth = {"images": [], "annotations": [], "info": {},
             "categories": [{"id": i + 1, "name": str(i)} for i in range(labels)]}  # fmt: skip
    found = []
    for number, image in enumerate(images, 1):
        height, width = image.size
        truth["images"].append({"id": number, "height": height, "width": width})
        for label, mask, crowd in zip(
            image.true_labels, image.true_masks, image.iscrowd, strict=True
        ):
            truth["annotations"].append({
                "id": len(truth["annotations"]) + 1, "image_id": number, "bbox": [0, 0, 1, 1],
                "category_id": int(label), "segmentation": mask, "iscrowd": int(crowd), "area": 99,
            })  # fmt: skip
        for label, score, mask in zip(image.labels, image.scores, image.masks, strict=True):
            found.append({"image_id": number, "category_id": int(label), "score": float(score),
                          "segmentation": mask})  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        run = COCOeval(coco, coco.loadRes(found), "segm")
        run.params.maxDets = [1, 10, limit]
        run.evaluate()
        run.accumulate()
    precision = run.eval["precision"][:, :, :, 0, -1]
    per_label = [p[p > -1].mean() if (p > -1).any() else math.nan for p in precision[0].T]
    known = precision[0] > -1
    return precision[0][known].mean(), precision[precision > -1].mean(), per_label


@pytest.mark.parametrize("seed", range(8))
def test_the_figures_equal_pycocotools(seed, capsys, caplog):
    caplog.set_level("INFO")
    rng = np.random.default_rng(seed)
    images = [evaluated_image(rng) for _ in range(12)]
    limit = 100 if seed % 2 else 2
    metrics = metrics_of(images, THREE, limit=limit, bootstrap=2)
    map50, map_, per_label = by_pycocotools(images, 3, limit)
    assert metrics.map50 == pytest.approx(map50, abs=1e-12)
    assert metrics.map == pytest.approx(map_, abs=1e-12)
    assert list(metrics.per_label.values()) == pytest.approx(per_label, abs=1e-12, nan_ok=True)
    assert math.isnan(metrics.per_label["never"])
    assert capsys.readouterr().out == "" and caplog.text == ""


@pytest.mark.parametrize("seed", range(8))
def test_the_intervals_matching_equals_the_figures(seed):
    rng = np.random.default_rng(100 + seed)
    # without ties between detections: copies of an image would break them in another order
    images = [evaluated_image(rng, levels=10**7) for _ in range(10)]
    whole = metrics_of(images, THREE, bootstrap=1).map50
    matches = label_matches(images, THREE, 100)
    assert weighted_map50(matches, np.ones(10)) == pytest.approx(whole, abs=1e-12)
    # weights are what drawing an image several times means
    drawn = np.array([0, 0, 0, 3, 5, 5, 8, 9, 9, 9])
    weights = np.bincount(drawn, minlength=10).astype(float)
    again = metrics_of([images[row] for row in drawn], THREE, bootstrap=1).map50
    assert weighted_map50(matches, weights) == pytest.approx(again, abs=1e-12)


def test_a_crowd_region_of_any_label_counts_as_one_of_each_label():
    rng = np.random.default_rng(3)
    images = [evaluated_image(rng) for _ in range(25)]
    any_label, each_label = [], []
    for image in images:
        crowd, single = np.flatnonzero(image.iscrowd), np.flatnonzero(~image.iscrowd)
        labels = np.where(image.iscrowd, ANY_LABEL, image.true_labels)
        any_label.append(dataclasses.replace(image, true_labels=labels))
        rows = np.concatenate([single, crowd, crowd, crowd])
        repeated = np.repeat([1, 2, 3], len(crowd))
        each_label.append(dataclasses.replace(
            image,
            true_labels=np.concatenate([image.true_labels[single], repeated]),
            true_masks=[image.true_masks[row] for row in rows],
            iscrowd=image.iscrowd[rows],
        ))  # fmt: skip
    assert sum(image.iscrowd.sum() for image in images) > 1
    found, expected = (metrics_of(each, THREE) for each in (any_label, each_label))
    assert found.to_dict() == expected.to_dict()
    assert found.to_dict() != metrics_of(images, THREE).to_dict()


def test_the_interval_holds_the_figure_and_narrows_with_images():
    rng = np.random.default_rng(0)
    images = [evaluated_image(rng) for _ in range(60)]
    few, many = metrics_of(images[:10], THREE), metrics_of(images, THREE)
    for metrics in (few, many):
        assert metrics.interval[0] <= metrics.map50 <= metrics.interval[1]
    assert np.diff(many.interval) < np.diff(few.interval)
    assert metrics_of(images, THREE, seed=1).interval != many.interval
    assert metrics_of(images, THREE).interval == many.interval


def test_an_empty_validation_set_is_no_crash():
    metrics = evaluate(detector(), Pictures(0))
    assert math.isnan(metrics.map50) and metrics.images == metrics.instances == 0


def test_no_detection_at_all_is_zero_and_no_truth_is_nan():
    rng = np.random.default_rng(1)
    full = evaluated_image(rng, crowd=False)
    none = EvaluatedImage(full.size, full.true_labels, full.true_masks, full.iscrowd,
                  np.zeros(0, np.int64), np.zeros(0, np.float32), [])  # fmt: skip
    assert metrics_of([none], THREE).map50 == 0.0
    only_crowd = EvaluatedImage(full.size, full.true_labels, full.true_masks, ~full.iscrowd,
                        full.labels, full.scores, full.masks)  # fmt: skip
    assert math.isnan(metrics_of([only_crowd], THREE).map50)


def test_evaluate_runs_the_detector_on_every_image():
    metrics = evaluate(detector(), Pictures(3), bootstrap=5)
    assert metrics.images == 3 and metrics.instances == 6
    assert set(metrics.per_label) == set(LABELS.names)


def test_metrics_survive_json():
    metrics = Metrics(0.5, 0.25, {"a": 0.5, "b": math.nan}, (0.4, 0.6), 7, 20)
    text = json.dumps(metrics.to_dict(), allow_nan=False)
    back = Metrics.from_dict(json.loads(text))
    assert math.isnan(back.per_label.pop("b"))
    metrics.per_label.pop("b")
    assert back == metrics
    with pytest.raises(DataError, match="Metrics"):
        Metrics.from_dict({"map50": 1})


@pytest.mark.parametrize("ids", [[0, 1], [None, None], [5, 5]])
def test_perfect_detections_get_1_whatever_ids_the_annotations_have(tmp_path, ids):
    """faster-coco-eval and pycocotools both take a match with annotation id 0 for a miss."""
    image, target = picture(0)
    Image.fromarray(image).save(tmp_path / "0.png")
    content = coco_of(LABELS, [(1, "0.png", image.shape[:2])], [target])
    for annotation, number in zip(content["annotations"], ids, strict=True):
        annotation["id"] = number
    (tmp_path / "coco.json").write_text(json.dumps(content))
    truth = load_coco(tmp_path / "coco.json", tmp_path)[1].target(0)
    masks = [encode(mask) for mask in truth.masks]
    scores = np.ones(len(truth), np.float32)
    perfect = EvaluatedImage(
        image.shape[:2], truth.labels, masks, truth.iscrowd, truth.labels, scores, masks
    )
    found = metrics_of([perfect], LABELS)
    assert found.map50 == 1.0 and found.map == 1.0

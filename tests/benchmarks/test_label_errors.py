"""The benchmark of `review` plants what it says, and counts a planted error once."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks import label_errors
from benchmarks.label_errors import Claim, by_loss, moved, plant, right
from taudis.data.coco import load_coco
from taudis.evaluation.label_errors import HeldOutImage, find_suspects
from taudis.evaluation.matching import EvaluatedImage
from taudis.types import Detection, Instances, Target
from tests.taudis.detector_cases import LABELS, save_coco

PLACES = [(2, 2), (2, 22), (2, 42), (22, 2), (22, 22), (22, 42), (42, 2), (42, 22), (42, 42)]


def target():
    masks = np.zeros((9, 64, 64), bool)
    for row, (top, left) in enumerate(PLACES):
        masks[row, top : top + 12, left : left + 12] = True
    return Target.from_masks(masks, 1 + np.arange(9) % 2)


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """Ten images of nine objects with five errors of each kind; the file, and what a model that
    knows the truth detects."""
    monkeypatch.setattr(label_errors, "LEAST", 5)
    monkeypatch.setattr(label_errors, "FIRST", 20)
    images = [(7 + row, f"{row}.png", (64, 64)) for row in range(10)]
    for _, name, size in images:
        Image.fromarray(np.zeros((*size, 3), np.uint8)).save(tmp_path / name)
    save_coco(tmp_path / "coco.json", LABELS, images, [target()] * 10)
    found = plant(json.loads((tmp_path / "coco.json").read_text()), seed=3)
    (tmp_path / "wrong.json").write_text(json.dumps(found.coco))
    _, samples = load_coco(tmp_path / "wrong.json", tmp_path)
    truth = target()
    masks = EvaluatedImage.of(truth, _nothing()).true_masks
    probs = np.full((9, 3), 0.05)
    probs[np.arange(9), truth.labels] = 0.9
    held_out = []
    for row in range(10):
        of = EvaluatedImage.of(samples.target(row), _nothing())
        seen = EvaluatedImage(
            of.size, of.true_labels, of.true_masks, of.iscrowd,
            truth.labels, np.full(9, 0.9), masks,
        )  # fmt: skip
        held_out.append(HeldOutImage(row, seen, probs))
    return found, samples, held_out


def _nothing():
    none, no = np.zeros(0, np.int64), np.zeros(0, np.float32)
    rows = Instances(
        none, no.reshape(0, 4), no, none, no.reshape(0, 3), no.reshape(0, 4), no.reshape(0, 28, 28)
    )
    return Detection(rows, np.zeros(4, np.float32), (64, 64))


def test_five_errors_of_each_kind_are_planted(planted):
    found, samples, _ = planted
    kinds = list(found.wrong.values())
    assert [kinds.count(kind) for kind in ("label", "outline", "missed", "double")] == [5, 5, 5, 10]
    assert len(found.deleted) == 5
    assert sum(len(rows) for rows in samples.annotations) == 90 - 5 + 5


def test_with_a_model_that_knows_the_truth_the_first_suspects_are_the_errors(planted):
    found, samples, images = planted
    claims = [Claim(s.image, s.object, s.detection) for s in find_suspects(images)]
    named = right(claims, images, samples, found)
    assert sorted(named) == sorted(5 * ["label", "outline", "missed", "double"])


def test_an_error_counts_once_and_loss_knows_no_doubles(planted):
    found, samples, images = planted
    (first, *_) = claims = by_loss(images)
    assert right([first, first], images, samples, found)[1] == ""
    assert right(claims, images, samples, found).count("double") < 5


def test_both_objects_of_a_doubled_one_are_one_error(planted):
    found, samples, images = planted
    copy, original = next(iter(found.originals.items()))
    places = {row["id"]: (image, place)
              for image, rows in enumerate(samples.annotations)
              for place, row in enumerate(rows)}  # fmt: skip
    claims = [Claim(*places[number], -1) for number in (copy, original)]
    assert right(claims, images, samples, found) == ["double", ""]


def test_a_moved_mask_keeps_half_of_itself_and_overlaps_less():
    mask = np.zeros((20, 20), bool)
    mask[:8, :8] = True
    there = moved(mask, np.random.default_rng(0))
    assert mask.sum() / 2 <= there.sum() <= mask.sum()
    assert (there & mask).sum() <= 0.55 * mask.sum()

"""The command `review`: from a COCO file with wrong labels to a list of them."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from taudis.data.coco import load_coco
from taudis.detector.checkpoint import save_checkpoint
from taudis.detector.mask2former_config import Mask2FormerConfig
from taudis.evaluation import held_out
from taudis.evaluation.held_out import held_out_images, name_of_model
from taudis.training.recipes import Recipe
from tests.taudis.cli.cli_cases import call, run
from tests.taudis.detector_cases import TINY_QUERIES, detector, save_pictures


@pytest.fixture
def folder(tmp_path):
    save_pictures(tmp_path, 6)
    return tmp_path


@pytest.mark.slow
def test_a_doubled_object_is_listed_with_its_id_and_the_models_are_removed(folder):
    coco = json.loads((folder / "coco.json").read_text())
    copy = {**coco["annotations"][0], "id": 4711}
    coco["annotations"].append(copy)
    (folder / "coco.json").write_text(json.dumps(coco))
    out = folder / "suspects.csv"
    done = call("review", folder / "coco.json", folder, out, "--folds", 2, "--steps", 2,
                "--link", "http://studio/projects/3/data?task={image_id}")  # fmt: skip
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert done["rows"] == len(rows) and done["kinds"]["double"] == 1 and done["images"] == 6
    first = rows[0]
    assert (first["rank"], first["kind"], first["annotation_id"]) == ("1", "double", "4711")
    assert int(first["image_id"]) == copy["image_id"] and float(first["suspicion"]) == 1
    assert first["link"] == f"http://studio/projects/3/data?task={copy['image_id']}"
    box = [int(first[key]) for key in ("x", "y", "width", "height")]
    assert np.allclose(box, copy["bbox"], atol=1) and "lies on another" in first["reason"]
    assert not out.with_name("suspects.csv.folds").exists()


@pytest.mark.slow
def test_a_mask2former_judges_the_labels(folder, monkeypatch):
    monkeypatch.setattr(Mask2FormerConfig, "small", classmethod(lambda cls: TINY_QUERIES))
    made, real = [], held_out.save_checkpoint
    monkeypatch.setattr(
        held_out, "save_checkpoint", lambda *a, **k: (made.append(a[1].config), real(*a, **k))
    )
    done = call("review", folder / "coco.json", folder, folder / "suspects.csv", "--folds", 2,
                "--steps", 1, "--model", "mask2former", "--weights", "none")  # fmt: skip
    assert done["images"] == 6 and [config.architecture for config in made] == ["mask2former"] * 2


def test_models_that_are_there_are_used_again(folder, tmp_path):
    """Two folds whose models exist: no step is trained, and each image is in one fold."""
    labels, samples = load_coco(folder / "coco.json", folder)
    folds, steps = [[0, 2, 4], [1, 3, 5]], []
    for fold, others in enumerate([[1, 3, 5], [0, 2, 4]]):
        name = name_of_model(samples.subset(others), labels, Recipe.cpu(4), fold, "none")
        save_checkpoint(tmp_path / "models" / name, detector(seed=fold), card={})
    found = held_out_images(
        samples, labels, Recipe.cpu(4), folds, seed=0, weights="none",
        folder=tmp_path / "models", on_step=lambda *step: steps.append(step),
    )  # fmt: skip
    images = list(found)
    assert [image.number for image in images] == [0, 2, 4, 1, 3, 5] and steps == []
    own = detector(seed=1).fast().detect([samples.image(3)])[0]
    assert np.array_equal(images[4].class_probs, own.instances.class_probs)


def test_a_model_has_another_name_if_it_was_trained_on_anything_else(folder):
    labels, samples = load_coco(folder / "coco.json", folder)
    usual = (samples.subset([0, 2]), labels, Recipe.cpu(4), 0, "none")
    changed = replace(samples.subset([0, 2]), annotations=((), ()))
    others = [
        (samples.subset([0, 3]), *usual[1:]),
        (changed, *usual[1:]),
        (*usual[:2], Recipe.cpu(5), 0, "none"),
        (*usual[:3], 1, "none"),
        (*usual[:4], "imagenet"),
    ]
    names = {name_of_model(*each) for each in (usual, *others)}
    assert len(names) == 6 and name_of_model(*usual) in names


def test_a_link_without_the_image_is_refused(folder):
    done = run("review", folder / "coco.json", folder, folder / "out.csv", "--link", "http://x/")
    assert done.exit_code == 1 and "--link: expected an address with {image_id}" in str(
        done.exception
    )


def test_too_many_folds_are_refused(folder):
    done = run("review", folder / "coco.json", folder, folder / "out.csv", "--folds", 7)
    assert done.exit_code == 1 and "--folds: expected 2 to 6" in str(done.exception)

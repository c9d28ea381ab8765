"""A version as a folder for others."""

import json

import pytest

from taudis.cli.coco_check import open_labelled
from tests.backend.local_loop import number_of
from tests.taudis.detector_cases import picture


@pytest.fixture
def project(make_loop):
    """Three pictures with labels of the validation split, one that cannot be read, a model."""
    made = make_loop(VALIDATION_FRACTION="0.999").project(3)
    made.first = made.version()
    made.model = made.give_model()
    return made


@pytest.mark.slow
def test_every_image_with_what_the_model_sees(project, tmp_path):
    with project.loop.studio.records.lock:
        gone = next(iter(project.loop.studio.records.uploads))
        del project.loop.studio.records.uploads[gone]
    out = tmp_path / "out"
    printed = project.cli("export", project.model, str(out), "--every-image")
    assert "on 2 images" in printed and "1 without a readable image" in printed
    truth = json.loads((out / "coco_images.json").read_text())
    tasks = {task["id"]: task["data"]["image"] for task in project.tasks()}
    assert {row["id"]: row["file_name"] for row in truth["images"]} == {
        task: image for task, image in tasks.items() if image != gone
    }
    assert truth["annotations"] == []
    found = json.loads((out / "coco_predictions.json").read_text())
    assert {row["image_id"] for row in found} <= {row["id"] for row in truth["images"]}
    assert {row["category_id"] for row in found} <= {1, 2} and found
    assert (out / "weights.safetensors").exists() and (out / "model.py").exists()
    assert "`square`, `bar`" in (out / "README.md").read_text()

    assert "new or empty folder" in project.cli("export", project.model, str(out), well=False)


@pytest.mark.slow
def test_the_validation_split_with_its_truth(project, tmp_path):
    project.label_some(2)
    project.cli("export", project.model, str(tmp_path / "out"), "--segmentation", "polygon")
    truth = json.loads((tmp_path / "out/coco_images.json").read_text())
    labelled = [task["id"] for task in project.tasks() if task["is_labeled"]]
    assert [row["id"] for row in truth["images"]] == labelled
    assert [row["category_id"] for row in truth["annotations"]] == [1, 2, 1, 2]
    areas = [row["area"] for row in truth["annotations"]]
    assert areas == [256, 192, 256, 192]  # squares of 16 px, bars of 8 x 24 px
    assert all(isinstance(row["segmentation"], list) for row in truth["annotations"])


@pytest.mark.slow
def test_a_failed_export_leaves_nothing(project, tmp_path):
    listing = "/api/tasks"
    project.loop.studio.fault("GET", listing, status=403, detail="no")
    out = tmp_path / "out"
    assert "403" in project.cli("export", project.model, str(out), "--every-image", well=False)
    assert list(tmp_path.glob("*out*")) == []
    assert "kept model" in project.cli("export", project.first, str(out), well=False)
    assert list(tmp_path.glob("*out*")) == []


@pytest.mark.slow
def test_the_labels_as_a_coco_data_set_equal_their_masks(project, tmp_path):
    project.label_some(3)
    lost = next(task for task in project.tasks() if task["is_labeled"])
    with project.loop.studio.records.lock:
        del project.loop.studio.records.uploads[lost["data"]["image"]]
    out = tmp_path / "labels"
    printed = project.cli("export", "--coco", str(out))
    assert "4 objects in 2 labelled images" in printed and "left_out.json" in printed
    (reason,) = json.loads((out / "left_out.json").read_text())
    assert reason["task"] == lost["id"]

    checked = open_labelled(out / "instances.json", out / "images", "ask", skip_bad=False)
    assert checked.label_map.names == ("square", "bar")
    tasks = [each for each in project.tasks() if each["is_labeled"] and each["id"] != lost["id"]]
    for row, task in enumerate(tasks):
        drawn, target = picture(number_of(task))
        image, found = checked.samples[row]
        assert (image == drawn).all()
        assert (found.masks == target.masks).all() and (found.labels == target.labels).all()

    for wrong in (("--coco", str(out)), (), (project.model, "--coco", str(tmp_path / "x"))):
        assert "xpected" in project.cli("export", *wrong, well=False)

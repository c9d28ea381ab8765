"""`python -m taudis pool`: the images of a folder that have no object in a COCO file."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from tests.taudis.cli.cli_cases import call, run


@pytest.fixture
def folder(tmp_path):
    """Three images, one of them in a subfolder, and a text."""
    for name in ("a.png", "deep/b.JPG", "c.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    (tmp_path / "images" / "notes.txt").write_text("no image")
    return tmp_path


def coco(folder, names, with_object):
    """A COCO file that lists these images, numbered as text from 1, with objects on some."""
    content = {
        "images": [{"id": str(row), "file_name": name} for row, name in enumerate(names, 1)],
        "annotations": [{"id": row, "image_id": row, "category_id": 1} for row in with_object],
        "categories": [{"id": 1, "name": "cell"}],
    }
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    return path, content


def test_images_without_an_object_are_the_pool_and_the_others_are_to_train_on(folder):
    path, content = coco(folder, ["a.png", "c.png", "/server/path/gone.png"], with_object=(1, 3))
    out, labelled = folder / "pool.json", folder / "labelled.json"
    found = call("pool", path, folder / "images", out, "--labelled", labelled)
    assert found == {"pool": str(out), "unlabelled": 2, "labelled": 2, "not_found": 1}
    assert json.loads(out.read_text()) == {
        "images": [{"id": 1, "file_name": "c.png"}, {"id": 2, "file_name": "deep/b.JPG"}]
    }
    kept = json.loads(labelled.read_text())
    assert [each["file_name"] for each in kept["images"]] == ["a.png", "/server/path/gone.png"]
    assert {**kept, "images": content["images"]} == content


def test_nothing_to_label_and_a_record_without_a_name_are_said(folder):
    path, _ = coco(folder, ["a.png", "deep/b.JPG", "c.png"], with_object=(1, 2, 3))
    done = run("pool", path, folder / "images", folder / "pool.json")
    assert "expected an image without an object" in str(done.exception)
    path.write_text('{"images": [{"id": 1}], "annotations": [{"image_id": 1}]}')
    done = run("pool", path, folder / "images", folder / "pool.json")
    assert "expected 'file_name' in each record" in str(done.exception)
    assert not (folder / "pool.json").exists()
    path, _ = coco(folder, ["a.png"], with_object=(1,))
    before = path.read_text()
    done = run("pool", path, folder / "images", folder / "pool.json", "--labelled", path)
    assert "expected another file than the one that is read" in str(done.exception)
    assert path.read_text() == before

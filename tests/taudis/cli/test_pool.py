"""`python -m taudis pool`: the images of a folder that have no object in a COCO file."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from taudis.data.coco.check import check_coco
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
    assert found == {"pool": str(out), "unlabelled": 2, "labelled": 2, "not_found": 1,
                     "not_images": 1}  # fmt: skip
    assert json.loads(out.read_text()) == {
        "images": [{"id": 1, "file_name": "c.png"}, {"id": 2, "file_name": "deep/b.JPG"}]
    }
    kept = json.loads(labelled.read_text())
    assert [each["file_name"] for each in kept["images"]] == ["a.png", "/server/path/gone.png"]
    assert {**kept, "images": content["images"]} == content


@pytest.mark.parametrize(
    ("image", "image_id"),
    [
        ({"id": 7}, 7.0),
        ({"id": 7.0}, "7"),
        ({"id": "--5"}, "--5"),
        ({"id": 7, "file_name": None, "coco_url": "http://images/train2017/a.png"}, 7),  # LVIS
    ],
)
def test_an_image_is_labelled_where_check_and_train_take_it_so(folder, image, image_id):
    content = {
        "images": [{"file_name": "a.png", **image}, {"id": 500, "file_name": "c.png"}],
        "annotations": [{"image_id": image_id, "category_id": 1, "bbox": [1, 1, 5, 5]}],
        "categories": [{"id": 1, "name": "cell"}],
    }
    path, out, labelled = (folder / f"{name}.json" for name in ("instances", "pool", "labelled"))
    path.write_text(json.dumps(content))
    call("pool", path, folder / "images", out, "--labelled", labelled)
    names = [each["file_name"] for each in json.loads(out.read_text())["images"]]
    assert names == ["c.png", "deep/b.JPG"]
    assert json.loads(labelled.read_text())["images"] == content["images"][:1]
    checked = check_coco(labelled, folder / "images")
    assert (len(checked.samples), checked.objects) == (1, 1) and not checked.found.of("bad")


def test_every_kind_of_picture_that_is_read_is_in_the_pool(folder):
    path, _ = coco(folder, ["a.png"], with_object=(1,))
    kinds = {"JPEG": ("jfif", "jpe", "jpg"), "PPM": ("pgm", "ppm"), "WEBP": ("WEBP",),
             "GIF": ("gif",), "BMP": ("bmp",), "TIFF": ("tif", "tiff")}  # fmt: skip
    names = set()
    for format, ends in kinds.items():
        for end in ends:
            picture = Image.new("L" if end == "pgm" else "RGB", (8, 8))
            picture.save(folder / "images" / f"x.{end}", format)
            names.add(f"x.{end}")
    (folder / "images" / "x.psd").write_bytes(b"8BPS")
    found = call("pool", path, folder / "images", folder / "pool.json")
    rows = json.loads((folder / "pool.json").read_text())["images"]
    assert {row["file_name"] for row in rows} == names | {"c.png", "deep/b.JPG"}
    assert found["not_images"] == 2
    assert not check_coco(folder / "pool.json", folder / "images", labels=False).found.of("bad")


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

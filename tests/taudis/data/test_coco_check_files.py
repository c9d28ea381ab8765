"""`check` on pictures, sizes, ids and whole files; the same check before train and score."""

from __future__ import annotations

import codecs
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from taudis.data.coco import load_coco, read_image
from taudis.data.coco.check import check_coco
from taudis.data.coco.kinds import EFFECTS, KINDS, kinds_table
from taudis.data.pool_reader import load_pool
from taudis.detector.checkpoint import save_checkpoint
from taudis.errors import DataError, ImageNotRead
from tests.taudis.data.coco_cases import SQUARE, area, content, look, run, write
from tests.taudis.data.picture_writers import standing
from tests.taudis.detector_cases import LABELS, detector, picture

ROOT = Path(__file__).resolve().parents[3]


# --- pictures and sizes --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["/data/upload/3/0.png", "images/0.png", "C:\\pictures\\0.png", "/data/local-files/?d=x/0.png",
     "https://host/a/0.png?token=1", "../0.png"],
)  # fmt: skip
def test_a_path_of_another_machine_is_found_by_its_base_name_and_said(folder, name):
    value = content()
    value["images"][0]["file_name"] = name
    checked = look(folder, value)
    assert checked.to_dict().get("read") == {"elsewhere": 1} or (folder / name).is_file()
    assert np.array_equal(checked.samples.image(0), picture(0)[0])
    (folder / "images").mkdir()
    (folder / "0.png").rename(folder / "images/0.png")
    assert np.array_equal(look(folder, value).samples.image(0), picture(0)[0])


def test_two_images_of_one_base_name_are_not_confused(folder):
    value = content()
    value["images"][0]["file_name"], value["images"][1]["file_name"] = "a/0.png", "b/0.png"
    assert look(folder, value).found.of("bad") == {"ambiguous": 2}


def test_missing_is_called_missing_and_broken_broken(folder):
    value = content()
    (folder / "0.png").unlink()
    (folder / "1.png").write_bytes(b"no picture")
    checked = look(folder, value)
    assert checked.found.of("bad") == {"missing": 1, "undecodable": 1}
    assert "0.png" in checked.found.sentence("missing")
    with pytest.raises(DataError, match=r"0\.png.*missing"):
        load_coco(folder / "coco.json", folder)[1].image(0)


@pytest.mark.parametrize(
    "name", ["a" * 300 + ".png", "\ud800.png", "deep/" + "a" * 5000, "a\0.png"]
)
def test_a_name_that_no_file_can_have_is_a_missing_picture(folder, name):
    value = content()
    value["images"][0]["file_name"] = name
    checked = look(folder, value, skip_bad=True)
    assert checked.found.of("bad") == {"missing": 1} and checked.samples.file_names == ("1.png",)
    with pytest.raises(ImageNotRead, match="missing there"):
        load_coco(folder / "coco.json", folder)[1].image(0)
    done, said = run("check", folder / "coco.json", folder, "--skip-bad")
    assert done.exit_code == 0 and said["images"] == 1 and "whose file is not there" in done.stdout


def test_a_size_that_exif_swaps_is_named_with_its_remedy(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (96, 64)).save(folder / "0.jpg", exif=exif)
    value = content()
    value["images"][0].update(file_name="0.jpg", width=96, height=64)
    value["annotations"][1]["segmentation"] = SQUARE
    checked = look(folder, value)
    assert checked.found.of("bad") == {"exif": 1} and checked.found.counts["turned"] == 1
    said = checked.found.sentence("exif")
    assert "EXIF (6)" in said and "Remove the orientation tag" in said and "96 x 64" in said
    value["images"][0].update(width=64, height=96)
    assert look(folder, value).found.of("bad") == {}
    value["images"][0].update(width=60, height=96)
    assert look(folder, value).found.of("bad") == {"other_size": 1}


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_picture_is_called_turned_where_the_decoder_turns_it(folder, format):
    name = f"0.{format.lower()}"
    (folder / name).write_bytes(standing(format))  # 32 x 16 px, stored on its side
    height, width = read_image(folder / name).shape[:2]
    value = content()
    for annotation in value["annotations"][:2]:
        annotation["segmentation"] = [[2, 2, 12, 2, 12, 12, 2, 12]]
    value["images"][0].update(file_name=name, width=width, height=height)
    turned = {} if format == "WEBP" else {"turned": 1}
    checked = look(folder, value)
    assert checked.to_dict().get("read", {}) == turned and checked.found.of("bad") == {}
    value["images"][0].update(width=height, height=width)
    kind = "other_size" if format == "WEBP" else "exif"
    assert look(folder, value).found.of("bad") == {kind: 1}


@pytest.mark.parametrize("size", [{}, {"width": None, "height": None}, {"width": 0, "height": -1}])
def test_a_size_that_the_file_does_not_give_is_the_pictures(folder, size):
    value = content()
    value["images"][0] = {"id": 7, "file_name": "0.png", **size}
    checked = look(folder, value)
    assert checked.to_dict()["read"] == {"picture_size": 1} and area(checked) == [256, 64]
    assert load_coco(folder / "coco.json", folder)[1].sizes == ((64, 64), (64, 64))
    without = check_coco(folder / "coco.json", None)
    assert without.found.of("bad") == {"no_size": 1} and not without.with_pictures


@pytest.mark.parametrize("size", [("64", "64"), (64.0, 64.0)])
def test_sizes_as_text_or_with_a_point_are_read(folder, size):
    value = content()
    value["images"][0].update(width=size[0], height=size[1])
    assert look(folder, value).samples.sizes[0] == (64, 64)


def test_an_image_record_of_absurd_size_takes_no_memory(folder, monkeypatch):
    monkeypatch.setattr("taudis.data.coco.parse.MAX_PIXELS", 4000)
    assert look(folder, content()).found.of("bad") == {"bad_image": 2}


def test_an_outline_of_absurd_length_takes_no_memory(folder, monkeypatch):
    monkeypatch.setattr("taudis.data.coco.masks.MAX_OUTLINE", 50)
    assert look(folder, content()).found.of("bad") == {"bad_mask": 2}


# --- ids -----------------------------------------------------------------------------------------


def numbered(first, second):
    value = content()
    for image, key in zip(value["images"], (first, second), strict=True):
        for annotation in value["annotations"]:
            if annotation["image_id"] == image["id"]:
                annotation["image_id"] = key
        image["id"] = key
    return value


@pytest.mark.parametrize("ids", [("a", "b"), (2**63, 5), (10**30, "x"), ("--5", "-")])
def test_image_ids_that_are_no_64_bit_numbers_train_and_are_refused_by_name_to_score(folder, ids):
    checked = look(folder, numbered(*ids))
    assert checked.samples.image_ids == (1, 2) and area(checked) == [256, 64]
    save_checkpoint(folder / "model", detector(seed=2), card={})
    done, _ = run("score", folder / "model", folder / "coco.json", folder, folder / "p.safetensors")
    assert done.exit_code == 1 and repr(ids[0])[:20] in str(done.exception)


@pytest.mark.parametrize("ids", [(0, -1), ("7", "8"), (7.0, 8.0)])
def test_image_ids_that_are_numbers_are_kept(folder, ids):
    checked = look(folder, numbered(*ids))
    assert checked.samples.image_ids == tuple(int(key) for key in ids) and checked.refusals == []
    assert area(checked) == [256, 64]


def test_category_ids_may_be_text_zero_or_have_gaps_on_both_sides(folder):
    for keys in (("1", "2"), ("x", "y"), (0, 90)):
        value = content()
        for category, key in zip(value["categories"], keys, strict=True):
            category["id"] = key
        for annotation in value["annotations"]:
            annotation["category_id"] = keys[annotation["category_id"] - 1]
        checked = look(folder, value)
        assert checked.refusals == [] and checked.samples.target(0).labels.tolist() == [1, 2]


def test_two_categories_of_one_name_are_merged_and_two_names_of_one_id_refused(folder):
    value = content(categories=[{"id": 1, "name": "a"}, {"id": 2, "name": "a"}])
    checked = look(folder, value)
    assert checked.names == ("a",) and checked.samples.target(0).labels.tolist() == [1, 1]
    assert checked.to_dict()["read"] == {"merged": 1} and checked.refusals == []
    value["categories"] = [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}, {"id": 2, "name": "c"}]
    assert "'a' and 'b'" in look(folder, value).refusals[0]
    value["categories"] = [{"id": 1}, {"id": 2, "name": "c"}]
    assert look(folder, value).found.counts["bad_category"] == 1


def test_an_image_listed_twice_is_one_image_and_two_images_of_one_id_are_unusable(folder):
    value = content()
    value["images"].append(value["images"][0])
    checked = look(folder, value)
    assert len(checked.samples) == 2 and checked.to_dict()["read"] == {"same_file": 1}
    value["images"][2] = {**value["images"][0], "file_name": "1.png"}
    assert look(folder, value).found.counts["doubled_image"] == 2
    value["images"][2] = {**value["images"][0], "id": 99}
    assert look(folder, value).found.counts["same_file"] == 1


# --- the whole file ------------------------------------------------------------------------------


def test_coordinates_in_0_to_1_are_recognised_and_named(folder):
    value = content()
    for annotation in value["annotations"]:
        annotation["segmentation"] = [[side / 64 for side in SQUARE[0]]]
    checked = look(folder, value)
    assert "4 objects with coordinates in 0..1" in checked.refusals[0]
    assert "Multiply" in checked.refusals[0]


def test_a_file_of_which_most_objects_lie_outside_is_refused(folder):
    value = content()
    for annotation in value["annotations"][:3]:
        annotation["segmentation"] = [[200, 200, 300, 200, 300, 300]]
    assert "3 objects, most of the file, have no pixel" in look(folder, value).refusals[0]


@pytest.mark.parametrize("mark", [codecs.BOM_UTF8, codecs.BOM_UTF16_LE])
def test_a_byte_order_mark_is_read(folder, mark):
    text = json.dumps(content())
    body = text.encode("utf-8" if mark == codecs.BOM_UTF8 else "utf-16-le")
    checked = look(folder, mark + body)
    assert checked.to_dict()["read"] == {"encoding": 1} and checked.objects == 4


OTHERS = {
    "panoptic": ({**content(), "annotations": [{"image_id": 7, "segments_info": []}]}, "panoptic"),
    "captions": ({**content(), "annotations": [{"image_id": 7, "caption": "a"}]}, "captions"),
    "results": ([{"image_id": 7, "category_id": 1, "score": 0.5, "bbox": []}], "COCO results"),
    "Label Studio": ([{"id": 1, "data": {}, "annotations": []}], "Label Studio's own JSON"),
    "a list": ([1, 2], "a list of 2 values"),
    "an empty list": ([], "a list of 0 values"),
    "info alone": ({"info": {}}, "without a list 'images' .*'info'"),
    "images an object": ({**content(), "images": {}}, "without a list 'images'"),
    "annotations an object": ({**content(), "annotations": {}}, "list 'annotations', got dict"),
    "a number": (5, "a JSON int"),
    "labelme": ({"shapes": [], "imagePath": "x"}, "labelme"),
    "VIA": ({"a.png1": {"regions": []}}, "VIA"),
    "GeoJSON": ({"type": "FeatureCollection", "features": []}, "GeoJSON"),
    "JSON Lines": (b'{"a": 1}\n{"b": 2}\n', "JSON Lines"),
    "gzip": (b"\x1f\x8b\x08\x00", "gunzip"),
    "zip": (b"PK\x03\x04", "zip"),
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "XML": (b"<annotation/>", "XML"),
    "nothing": (b"", "an empty one"),
    "a cut file": (b'{"images": [', "expected a COCO JSON file"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_another_kind_of_file_is_refused_by_its_name(folder, name):
    value, said = OTHERS[name]
    with pytest.raises(DataError, match=said):
        look(folder, value)
    done, last = run("check", folder / "coco.json", folder)
    assert done.exit_code == 3 and last["use"] is False and "coco.json" in last["why"][0]


def test_lvis_files_have_no_file_name_and_no_iscrowd(folder):
    value = content()
    for row, image in enumerate(value["images"]):
        del image["file_name"]
        image.update(coco_url=f"http://host/train2017/{row}.png", neg_category_ids=[3])
    for annotation in value["annotations"]:
        del annotation["iscrowd"]
    checked = look(folder, value)
    assert checked.to_dict()["read"] == {"elsewhere": 2, "federated": 2} and checked.objects == 4


@pytest.mark.slow
def test_a_file_without_annotations_is_for_score_alone(folder):
    value = {"images": content()["images"]}
    path = write(folder, value)
    done, said = run("check", path, folder)
    assert done.exit_code == 3 and "it has no annotations" in said["why"][0]
    done, said = run("check", path, folder, "--pictures")
    assert done.exit_code == 0 and said["images"] == 2
    save_checkpoint(folder / "model", detector(seed=2), card={})
    done, said = run("score", folder / "model", path, folder, folder / "p.safetensors")
    assert done.exit_code == 0 and said["images"] == 2
    assert load_pool(folder / "p.safetensors").image_ids.tolist() == [7, 8]


@pytest.mark.slow
def test_score_leaves_out_pictures_that_cannot_be_had_when_told_to(folder):
    path = write(folder, content())
    (folder / "1.png").unlink()
    save_checkpoint(folder / "model", detector(seed=2), card={})
    arguments = ["score", folder / "model", path, folder, folder / "p.safetensors"]
    done, _ = run(*arguments)
    assert done.exit_code == 1 and "1.png" in str(done.exception)
    done, said = run(*arguments, "--skip-bad")
    assert said["coco"]["bad"] == {"missing": 1} and said["images"] == 1


@pytest.mark.slow
def test_categories_in_another_order_are_matched_by_name_and_it_is_said(folder):
    save_checkpoint(folder / "model", detector(seed=2), card={})
    plain = run("evaluate", folder / "model", write(folder, content()), folder)[1]
    value = content()
    value["categories"].reverse()
    done, said = run("evaluate", folder / "model", write(folder, value), folder)
    assert done.exit_code == 0 and "matched by name" in done.stderr
    assert said["per_label"] == plain["per_label"] and said["map50"] == plain["map50"]
    for command, out in (("score", "p.safetensors"), ("predict", "found.json")):
        done, _ = run(command, folder / "model", folder / "coco.json", folder, folder / out)
        assert done.exit_code == 0 and "matched by name" in done.stderr
    value["categories"][0]["name"] = "other"
    done, _ = run("evaluate", folder / "model", write(folder, value), folder)
    assert done.exit_code == 1 and "['other']" in str(done.exception)
    assert LABELS.names == ("square", "bar")


def test_no_pictures_are_needed_to_check_and_a_wrong_folder_is_named(folder):
    path = write(folder, content())
    done, said = run("check", path)
    assert done.exit_code == 0 and "no image file was read" in done.stdout
    assert said["objects"] == 4
    done, _ = run("check", path, folder / "nowhere")
    assert done.exit_code == 3 and "nowhere" in done.stdout


def test_every_kind_says_what_becomes_of_it_and_the_documentation_has_them():
    assert all(kind.effect in EFFECTS for kind in KINDS.values())
    assert kinds_table() in (ROOT / "docs/coco.md").read_text()

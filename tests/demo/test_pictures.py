import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from demo.dataset import load_dataset
from demo.errors import DemoError
from demo.options import Options
from demo.pictures import KINDS, generate, held_out, picture


def test_same_seed_same_files_and_a_larger_set_begins_with_the_smaller(tmp_path):
    small = generate(tmp_path / "a", 4, seed=3)
    large = generate(tmp_path / "b", 6, seed=3)
    for path in sorted((small.parent / "images").iterdir()):
        assert path.read_bytes() == (large.parent / "images" / path.name).read_bytes()
    assert len(list((large.parent / "images").iterdir())) == 6


def test_held_out_differs_from_the_pool(tmp_path):
    pool = json.loads(generate(tmp_path / "a", 3, seed=0).read_text())
    held = json.loads(held_out(tmp_path / "b", 3).read_text())
    names = {i["file_name"] for i in pool["images"]}
    assert not names & {i["file_name"] for i in held["images"]}
    assert pool["annotations"] != held["annotations"]


# pycocotools' own decode() under numpy 2.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_truth_is_the_visible_part_exactly(tmp_path):
    truth = json.loads(generate(tmp_path, 12, seed=5).read_text())
    for image in truth["images"]:
        _, owner, kinds = picture(np.random.default_rng([5, image["id"] - 1]), 192)
        rows = [a for a in truth["annotations"] if a["image_id"] == image["id"]]
        assert [a["category_id"] - 1 for a in rows] == kinds
        for number, row in enumerate(rows, start=1):
            rle = coco_mask.frPyObjects(row["segmentation"], 192, 192)
            mask = coco_mask.decode(rle).astype(bool)
            assert np.array_equal(mask, owner == number)
            assert row["area"] == mask.sum() == coco_mask.area(rle)
            assert row["bbox"] == coco_mask.toBbox(rle).tolist()
        pixels = cv2.imread(str(tmp_path / "images" / image["file_name"]))
        assert pixels.shape == (192, 192, 3)


@pytest.mark.slow
def test_rare_kinds_are_rare_and_some_pictures_empty(tmp_path):
    truth = json.loads(generate(tmp_path, 400, seed=1).read_text())
    seen = {k.name: 0 for k in KINDS}
    for category in truth["categories"]:
        rows = [a for a in truth["annotations"] if a["category_id"] == category["id"]]
        seen[category["name"]] = len({a["image_id"] for a in rows}) / 400
    for kind in KINDS:
        assert 0.05 <= seen[kind.name] <= 0.11 if kind.rare else seen[kind.name] > 0.3
    empty = 400 - len({a["image_id"] for a in truth["annotations"]})
    assert 4 <= empty <= 40


def test_a_data_set_whose_masks_are_all_crowds_is_asked_about(tmp_path):
    truth = generate(tmp_path, 6, seed=1, size=64)
    content = json.loads(truth.read_text())
    for annotation in content["annotations"]:
        annotation["iscrowd"] = 1
    truth.write_text(json.dumps(content))
    options = Options(True, tmp_path, truth, tmp_path / "images", held_out_size=2)
    with pytest.raises(DemoError, match="DEMO_CROWDS=objects"):
        load_dataset(options)
    dataset = load_dataset(replace(options, crowds="objects"))
    objects = sum(len(dataset.samples.target(row)) for row in dataset.pool + dataset.held_out)
    assert objects == len(content["annotations"]) > 0


@pytest.mark.parametrize(("auto", "held_out"), [(True, 2), (False, 0)])
def test_pictures_are_held_back_only_where_something_measures_them(tmp_path, auto, held_out):
    found = load_dataset(Options(auto, tmp_path, None, None, pool_size=4, held_out_size=2))
    assert (len(found.pool), len(found.held_out)) == (4, held_out)
    assert len(found.samples) == 4 + held_out

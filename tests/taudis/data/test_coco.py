"""COCO files: every mask form, against pycocotools; broken ones are named."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from pycocotools import mask as oracle

from taudis.data.coco import decode, encode, load_coco, read_image
from taudis.data.coco.check import check_coco
from taudis.data.coco.masks import shape_of
from taudis.data.coco.write import coco_of, polygons_of
from taudis.errors import DataError
from taudis.types import ANY_LABEL, LabelMap, Target
from tests.taudis.detector_cases import LABELS, picture, save_coco

# pycocotools' decode, the oracle, speaks to numpy 2 in numpy 1's words.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

DATA = Path(__file__).resolve().parents[3] / "../shared/data"

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))


@given(masks)
@settings(max_examples=150)
def test_run_lengths_go_both_ways_as_in_pycocotools(mask):
    theirs = oracle.encode(np.asfortranarray(mask, dtype=np.uint8))
    ours = encode(mask)
    assert ours["counts"].encode() == theirs["counts"] and ours["size"] == list(mask.shape)
    assert np.array_equal(decode(ours, *mask.shape), mask)
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat.astype(int), prepend=0)) if flat.size else []
    counts = np.diff([0, *edges, flat.size]).tolist()
    assert np.array_equal(decode({"size": list(mask.shape), "counts": counts}, *mask.shape), mask)


@given(st.lists(st.lists(st.integers(-5, 45), min_size=6, max_size=12), min_size=1, max_size=3))
@settings(max_examples=150)
def test_polygons_are_rasterised_as_in_pycocotools(parts):
    parts = [part[: len(part) // 2 * 2] for part in parts]
    wanted = oracle.decode(oracle.merge(oracle.frPyObjects(parts, 30, 40))).astype(bool)
    assert np.array_equal(decode(parts, 30, 40), wanted)


@pytest.mark.slow
@given(masks)
@settings(max_examples=300)
def test_polygons_give_the_mask_back_in_pycocotools(mask):
    outlines = polygons_of(mask)
    assert bool(outlines) == mask.any()
    if outlines:
        runs = oracle.merge(oracle.frPyObjects(outlines, *mask.shape))
        assert np.array_equal(oracle.decode(runs).astype(bool), mask)
        assert np.array_equal(decode(outlines, *mask.shape), mask)


def test_a_hole_is_cut_open_from_its_outline_and_every_part_is_one_polygon():
    mask = np.zeros((20, 30), bool)
    mask[2:12, 2:22] = True
    mask[5:8, 6:12] = False
    mask[15:18, 3:9] = True
    plate, part = sorted(polygons_of(mask), key=len, reverse=True)
    assert len(part) == 8 and len(plate) == 2 * (4 + 4 + 2)  # two corners are passed twice
    assert np.array_equal(decode([plate, part], 20, 30), mask)


def test_a_coco_file_is_written_with_polygons_and_crowds_stay_run_lengths(tmp_path):
    image, target = picture(0)
    size = image.shape[:2]
    content = coco_of(LABELS, [(1, "a.png", size)], [target], "polygon")
    assert all(isinstance(a["segmentation"], list) for a in content["annotations"])
    for mask, annotation in zip(target.masks, content["annotations"], strict=True):
        assert np.array_equal(decode(annotation["segmentation"], *size), mask)
    crowd = dataclasses.replace(target, iscrowd=np.ones(len(target), bool))
    content = coco_of(LABELS, [(1, "a.png", size)], [crowd], "polygon")
    assert all(isinstance(a["segmentation"], dict) for a in content["annotations"])
    unknown = dataclasses.replace(crowd, labels=np.full(len(target), ANY_LABEL))
    rows = coco_of(LABELS, [(1, "a.png", size)], [unknown])["annotations"]
    assert [row["category_id"] for row in rows] == [1, 2] * len(target)
    assert [row["id"] for row in rows] == list(range(1, len(rows) + 1))
    with pytest.raises(DataError, match="0 is for crowds alone"):
        dataclasses.replace(target, labels=np.full(len(target), ANY_LABEL))


@given(masks)
def test_a_shapes_area_and_box_are_the_masks(mask):
    shape = shape_of(encode(mask), *mask.shape)
    assert shape.area == mask.sum()
    if mask.any():
        ys, xs = np.nonzero(mask)
        assert shape.box == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]


@pytest.mark.parametrize(
    "segmentation",
    [
        None,
        [],
        "text",
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, 6, 7]],
        [[1, 2, float("nan"), 4, 5, 6]],
        [[1, 2, "x", 4, 5, 6]],
        {"size": [8, 8]},
        {"size": [9, 8], "counts": [64]},
        {"size": [8, 8], "counts": [63]},
        {"size": [8, 8], "counts": [60, -4, 8]},
        {"size": [8, 8], "counts": [10**30]},
        {"size": [8, 8], "counts": "PPPPPPPP0"},
        {"size": [8, 8], "counts": "R"},
        {"size": [8, 8], "counts": "::"},
        {"size": [8, 8], "counts": "\u00e9"},
        {"size": [8, 8], "counts": "\ud800"},
        {"size": [8, 8], "counts": "P2\n"},
    ],
)
def test_a_broken_mask_is_refused(segmentation):
    with pytest.raises(DataError):
        decode(segmentation, 8, 8)


@given(st.binary(max_size=30))
def test_any_run_length_string_gives_a_mask_or_a_data_error(counts):
    with contextlib.suppress(DataError):
        assert decode({"size": [8, 8], "counts": counts}, 8, 8).shape == (8, 8)


def write(folder, count=3):
    pairs = [picture(seed) for seed in range(count)]
    images = [(10 + i, f"{i}.png", pair[0].shape[:2]) for i, pair in enumerate(pairs)]
    for (_, name, _), (image, _) in zip(images, pairs, strict=True):
        Image.fromarray(image).save(folder / name)
    save_coco(folder / "coco.json", LABELS, images, [target for _, target in pairs])
    return pairs


def test_what_was_saved_is_loaded(tmp_path):
    pairs = write(tmp_path)
    labels, samples = load_coco(tmp_path / "coco.json", tmp_path)
    assert labels == LABELS
    assert samples.image_ids == (10, 11, 12)
    assert samples.file_names == ("0.png", "1.png", "2.png")
    for row, (image, target) in enumerate(pairs):
        loaded, truth = samples[row]
        assert np.array_equal(loaded, image)
        for name in ("boxes", "labels", "masks", "iscrowd"):
            assert np.array_equal(getattr(truth, name), getattr(target, name)), name
    assert samples.subset([2, 0]).image_ids == (12, 10)
    assert np.array_equal(samples.subset([2])[0][0], pairs[2][0])


def change(folder, edit):
    content = json.loads((folder / "coco.json").read_text())
    edit(content)
    (folder / "coco.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    "edit",
    [
        lambda c: c.pop("annotations"),
        lambda c: c["images"][0].pop("file_name"),
        lambda c: c["images"].append({**c["images"][0], "file_name": "1.png"}),
        lambda c: c["categories"].append({"id": 1, "name": "other"}),
        lambda c: c["annotations"][0].update(category_id=7),
        lambda c: c["annotations"][0].update(image_id=99),
        lambda c: c.update(categories=[]),
        lambda c: c.update(images="none"),
    ],
)
def test_a_broken_file_is_refused_with_its_name(tmp_path, edit):
    write(tmp_path)
    change(tmp_path, edit)
    with pytest.raises(DataError, match=r"coco\.json|LabelMap"):
        load_coco(tmp_path / "coco.json", tmp_path)


def test_a_file_that_is_no_json_is_refused(tmp_path):
    (tmp_path / "coco.json").write_bytes(b"{")
    for name in ("coco.json", "missing.json"):
        with pytest.raises(DataError, match=name):
            load_coco(tmp_path / name, tmp_path)


def test_a_broken_annotation_is_named_when_it_is_read(tmp_path):
    write(tmp_path)
    change(tmp_path, lambda c: c["annotations"][1].update(segmentation=[[1, 2]]))
    samples = load_coco(tmp_path / "coco.json", tmp_path)[1]
    with pytest.raises(DataError, match="annotation 2"):
        samples.target(0)
    assert len(samples.target(1)) == 2


def test_images_that_are_missing_broken_or_resized_are_named(tmp_path):
    write(tmp_path)
    samples = load_coco(tmp_path / "coco.json", tmp_path)[1]
    Image.new("RGB", (5, 5)).save(tmp_path / "0.png")
    (tmp_path / "1.png").write_bytes((tmp_path / "2.png").read_bytes()[:100])
    (tmp_path / "2.png").unlink()
    for row in range(3):
        with pytest.raises(DataError, match=f"{row}.png"):
            samples.image(row)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "I;16"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    path = tmp_path / ("x.tif" if mode in ("CMYK",) else "x.png")
    Image.new(mode, (6, 4)).save(path)
    image = read_image(path)
    assert image.shape == (4, 6, 3) and image.dtype == np.uint8


def test_exif_rotation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (6, 4)).save(tmp_path / "x.jpg", exif=exif)
    assert read_image(tmp_path / "x.jpg").shape == (6, 4, 3)


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr("taudis.data.coco.MAX_PIXELS", 100)
    Image.new("RGB", (60, 40)).save(tmp_path / "x.png")
    with pytest.raises(DataError, match="60 x 40"):
        read_image(tmp_path / "x.png")


@pytest.mark.slow
@pytest.mark.skipif(not DATA.exists(), reason="../shared/data is not there")
@pytest.mark.parametrize(
    ("name", "images", "instances", "labels", "crowds"),
    [("fruits_nuts", 18, 165, 3, 0), ("coco_cc", 155, 1386, 74, 17)],
)
def test_real_data_sets_equal_pycocotools(name, images, instances, labels, crowds, capsys):
    from pycocotools.coco import COCO

    label_map, samples = load_coco(DATA / name / "instances.json", DATA / name / "images")
    coco = COCO(str(DATA / name / "instances.json"))
    capsys.readouterr()
    assert len(samples) == images and len(label_map) == labels
    targets = [samples.target(row) for row in range(min(images, 40))]
    assert sum(len(rows) for rows in samples.annotations) == instances
    found = sum(bool(a["iscrowd"]) for rows in samples.annotations for a in rows)
    assert found == crowds
    for row, target in enumerate(targets):
        wanted = [coco.annToMask(a) for a in coco.imgToAnns[samples.image_ids[row]]]
        assert all(np.array_equal(m, w) for m, w in zip(target.masks, wanted, strict=True))
    assert samples.image(0).shape[:2] == samples.sizes[0]


def test_labels_keep_the_files_order(tmp_path):
    write(tmp_path)
    change(tmp_path, lambda c: c["categories"].reverse())
    labels, samples = load_coco(tmp_path / "coco.json", tmp_path)
    assert labels == LabelMap(("bar", "square"))
    assert samples.target(0).labels.tolist() == [2, 1]


def test_a_file_tells_how_dense_and_large_its_objects_are_with_boxes_or_without(tmp_path):
    write(tmp_path)
    _, samples = load_coco(tmp_path / "coco.json", tmp_path)
    with_boxes = samples.statistics()
    assert (with_boxes.images, with_boxes.densest, with_boxes.mean_instances) == (3, 2, 2.0)
    assert with_boxes.object_share == pytest.approx(24 / 64) and with_boxes.image_side == 64
    assert samples.labels_at(0).tolist() == [1, 2]
    change(tmp_path, lambda c: [each.pop("bbox") for each in c["annotations"]])
    assert load_coco(tmp_path / "coco.json", tmp_path)[1].statistics() == with_boxes


@pytest.mark.parametrize("labels", [1, 5, 40])
def test_an_export_with_a_region_of_no_label_is_read_again_without_a_question(tmp_path, labels):
    """It is written as a crowd of each label. Twenty objects and one region are few crowds."""
    masks = np.zeros((21, 64, 64), bool)
    for row in range(20):
        masks[row, row // 5 * 10 : row // 5 * 10 + 6, row % 5 * 10 : row % 5 * 10 + 6] = True
    masks[20, 50:60, 50:60] = True
    names = LabelMap(tuple(f"label {number}" for number in range(labels)))
    numbers = np.array([*(1 + row % labels for row in range(20)), ANY_LABEL])
    target = Target.from_masks(masks, numbers, np.arange(21) == 20)
    path = tmp_path / "export.json"
    path.write_text(json.dumps(coco_of(names, [(1, "a.png", (64, 64))], [target])))
    found = check_coco(path, None)
    assert not found.refusals and found.crowds == labels


def test_samples_whose_categories_were_exchanged_are_others(tmp_path):
    """The same annotations and the same names of labels, for other objects."""
    record = {"id": 1, "image_id": 1, "bbox": [1, 1, 5, 5], "iscrowd": 0}
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 9, "height": 9}],
        "annotations": [{**record, "category_id": 1, "segmentation": [[1, 1, 6, 1, 6, 6]]}],
    }
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    found = []
    for first, second in ((1, 2), (2, 1)):
        names = [{"id": first, "name": "cat"}, {"id": second, "name": "dog"}]
        path = tmp_path / "coco.json"
        path.write_text(json.dumps(content | {"categories": names}))
        found.append(load_coco(path, tmp_path)[1].identity())
    assert found[0] != found[1]

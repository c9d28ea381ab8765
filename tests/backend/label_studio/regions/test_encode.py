"""Detections become the regions of one prediction, as Label Studio writes them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.detection.roi_heads import paste_masks_in_image

from backend.errors import RegionError
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.regions import decode_annotation, encode_prediction
from backend.label_studio.regions.encode import paste
from taudis.types import Instances
from tests.backend.label_studio.regions.drawn import (
    CONFIG,
    SIZE,
    only,
)  # fmt: skip


def detection(boxes, probs, labels, scores, size=SIZE):
    n = len(boxes)
    instances = Instances(
        image_index=np.zeros(n, np.int64),
        boxes=np.array(boxes, np.float32).reshape(n, 4),
        scores=np.array(scores, np.float32),
        labels=np.array(labels, np.int64),
        class_probs=np.full((n, 5), 0.2, np.float32),
        embeddings=np.zeros((n, 3), np.float32),
        mask_probs=np.array(probs, np.float32).reshape(n, 28, 28),
    )
    return SimpleNamespace(instances=instances, size=size)


def disc():
    y, x = np.mgrid[:28, :28] - 13.5
    return np.clip(1 - np.hypot(y, x) / 28, 0, 1)


def smooth(seed):
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((1, 1, 5, 5), np.float32))
    return torch.nn.functional.interpolate(coarse, 28, mode="bicubic")[0, 0].numpy().clip(0, 1)


@given(st.integers(0, 10_000))
@settings(max_examples=200, deadline=None)
def test_pasting_is_torchvisions_pasting(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(2, 120, 2).tolist()
    corners = np.sort(rng.random((2, 2)) * (width, height), axis=0)
    box = np.array([*corners[0], *(corners[1] + 0.02)], np.float32).clip(0, [width, height] * 2)
    probs = smooth(seed).astype(np.float32)
    theirs = paste_masks_in_image(
        torch.from_numpy(probs)[None, None], torch.from_numpy(box)[None], (height, width)
    )[0, 0].numpy()
    crop = paste(probs, box, height, width)
    ours = np.zeros((height, width), bool) if crop is None else crop.paste(height, width)
    decided = np.abs(theirs - 0.5) > 1e-4  # cv2 and torch round the weights differently
    assert np.array_equal(ours[decided], (theirs >= 0.5)[decided])


def test_every_kind_is_encoded_as_label_studio_writes_it_and_read_back():
    labels = [1, 2, 3, 4]  # cat (brush), dog (brush), tree (polygon), car (rectangle)
    boxes = [[5, 5, 25, 30], [30, 5, 50, 30], [5, 32, 30, 58], [40, 32, 70, 50]]
    found = detection(boxes, [disc()] * 4, labels, [0.9, 0.8, 0.7, 0.6])
    regions = encode_prediction(found, CONFIG, threshold=0.5)
    assert [each["type"] for each in regions] == [
        "brushlabels", "brushlabels", "polygonlabels", "rectanglelabels",
    ]  # fmt: skip
    first = regions[0]
    assert first["value"]["brushlabels"] == ["cat"] and first["value"]["format"] == "rle"
    assert (first["from_name"], first["to_name"]) == ("brush", "img")
    assert (first["original_width"], first["original_height"]) == (80, 60)
    assert first["score"] == pytest.approx(0.9) and first["image_rotation"] == 0
    decoded = decode_annotation(regions, CONFIG)
    assert decoded.problems == () and decoded.target is not None
    assert decoded.target.labels.tolist() == labels
    assert np.abs(decoded.target.boxes[3] - boxes[3]).max() <= 1
    expected = paste(found.instances.mask_probs[0], found.instances.boxes[0], *SIZE)
    assert expected is not None
    assert np.array_equal(decoded.target.masks[0], expected.paste(*SIZE))


def test_ids_are_short_unique_and_the_same_each_time():
    boxes = [[5, 5, 25, 30], [30, 5, 50, 30], [5, 5, 25, 30]]  # the last of another label
    found = detection(boxes, [disc(), disc(), disc() * 0.6], [1, 1, 3], [0.9, 0.9, 0.9])
    first, again = (encode_prediction(found, CONFIG, threshold=0.5) for _ in range(2))
    assert first == again
    ids = [each["id"] for each in first]
    assert len(set(ids)) == 3 and all(0 < len(each) <= 10 for each in ids)


def test_only_scores_at_the_threshold_and_masks_above_a_speck_are_shown():
    low = np.zeros((28, 28))
    boxes = [[5, 5, 25, 30], [5, 5, 25, 30], [5, 5, 25, 30], [5.2, 5.2, 5.6, 5.6]]
    found = detection(boxes, [disc(), disc(), low, disc()], [1] * 4, [0.5, 0.49, 0.9, 0.9])
    assert [r["score"] for r in encode_prediction(found, CONFIG, threshold=0.5)] == [0.5]
    nothing = detection([], [], [], [])
    assert encode_prediction(nothing, CONFIG, threshold=0.0) == []


def test_a_polygon_in_parts_becomes_tied_regions_and_one_instance_again():
    probs = np.zeros((28, 28))
    probs[2:11, 2:26] = probs[17:26, 2:26] = 1
    config = only("PolygonLabels", "x")
    found = detection([[10, 5, 70, 55]], [probs], [1], [0.9])
    regions = encode_prediction(found, config, threshold=0.5)
    assert len(regions) == 2 and len({each["id"] for each in regions}) == 2
    decoded = decode_annotation(regions, config)
    assert decoded.target is not None and len(decoded.target) == 1
    brushed = encode_prediction(found, only("BrushLabels", "x"), threshold=0.5)
    reference = decode_annotation(brushed, only("BrushLabels", "x")).target
    assert reference is not None
    both = (decoded.target.masks[0] & reference.masks[0]).sum()
    assert both / (decoded.target.masks[0] | reference.masks[0]).sum() >= 0.98


@pytest.mark.parametrize("tool", ["Brush", "Bitmask", "Polygon", "Ellipse", "Rectangle"])
def test_beside_labels_a_region_is_written_as_the_editor_writes_it(tool):
    config = parse_label_config(
        f'<View><Image name="img" value="$image"/><{tool} name="tool" toName="img"/>'
        '<Labels name="labels" toName="img"><Label value="x"/></Labels></View>'
    )
    found = detection([[10, 5, 70, 55]], [disc()], [1], [0.9])
    first, second = encode_prediction(found, config, threshold=0.5)
    assert (first["from_name"], first["type"]) == ("tool", tool.lower())
    assert (second["from_name"], second["type"]) == ("labels", "labels")
    assert first["id"] == second["id"] and first["score"] == second["score"]
    assert second["value"] == first["value"] | {"labels": ["x"]}
    decoded = decode_annotation([first, second], config)
    assert decoded.problems == () and decoded.target is not None and len(decoded.target) == 1


def test_an_ellipse_pre_annotation_lies_on_its_mask():
    config = only("EllipseLabels", "x")
    found = detection([[10, 5, 70, 55]], [disc()], [1], [0.9])
    target = decode_annotation(encode_prediction(found, config, threshold=0.5), config).target
    mask = paste(found.instances.mask_probs[0], found.instances.boxes[0], *SIZE)
    assert target is not None and mask is not None
    both = target.masks[0] & mask.paste(*SIZE)
    assert both.sum() / (target.masks[0] | mask.paste(*SIZE)).sum() >= 0.97


def test_rectangles_need_no_masks_brushes_do():
    found = detection([[5, 5, 25, 30]], [disc()], [1], [0.9])
    without = Instances(**{**vars(found.instances), "mask_probs": None})
    bare = SimpleNamespace(instances=without, size=SIZE)
    (box,) = encode_prediction(bare, only("RectangleLabels", "x"), threshold=0.5)
    assert box["value"]["width"] == pytest.approx(25)
    with pytest.raises(RegionError, match="mask_probs"):
        encode_prediction(bare, only("BrushLabels", "x"), threshold=0.5)

"""One pass equals the stock model bit for bit, and keeps what the stock model drops."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.detection import maskrcnn_resnet50_fpn
from torchvision.ops import MultiScaleRoIAlign, box_iou

from taudis.detector.architecture import ModelConfig, build_model, make_model
from taudis.detector.mask_rcnn import to_tensor
from taudis.detector.pasting import pasted_masks
from taudis.errors import DataError, WeightsError
from tests.taudis.detector_cases import LABELS, TINY, detector, picture


def stock(model, images):
    model.eval()
    with torch.inference_mode():
        return model([to_tensor(image) for image in images])


def assert_equal_to_stock(found, wanted):
    assert len(found.instances) == len(wanted["labels"])
    rows = found.instances
    assert torch.equal(torch.from_numpy(rows.boxes), wanted["boxes"])
    assert torch.equal(torch.from_numpy(rows.scores), wanted["scores"])
    assert torch.equal(torch.from_numpy(rows.labels), wanted["labels"])
    assert np.array_equal(pasted_masks(found), wanted["masks"][:, 0].numpy() >= 0.5)


@pytest.mark.parametrize("size", [(64, 64), (50, 70), (200, 120), (7, 90), (1, 1)])
def test_one_pass_equals_the_stock_model_bit_for_bit(size):
    one = detector(seed=3)
    image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    found = one.detect([image])[0]
    assert_equal_to_stock(found, stock(one.model, [image])[0])
    assert found.size == size
    if size == (64, 64):
        assert len(found.instances) == TINY.detections_per_image


def test_a_batch_equals_the_stock_model_bit_for_bit():
    one = detector(seed=1)
    images = [picture(seed)[0] for seed in range(3)]
    for found, wanted in zip(one.detect(images), stock(one.model, images), strict=True):
        assert_equal_to_stock(found, wanted)


@pytest.mark.slow
def test_the_standard_architecture_is_torchvisions_own():
    ours = make_model(ModelConfig.standard(), 90)
    stock_model = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=91)
    shapes = {name: value.shape for name, value in ours.state_dict().items()}
    expected = {
        name: value.shape
        for name, value in stock_model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    assert {n: s for n, s in shapes.items() if not n.endswith("num_batches_tracked")} == expected
    for part in ("rpn", "roi_heads"):
        for name, value in vars(getattr(stock_model, part)).items():
            if isinstance(value, int | float):
                assert getattr(getattr(ours, part), name) == value, name
    image = np.random.default_rng(0).integers(0, 256, (60, 50, 3)).astype(np.uint8)
    ours.load_state_dict(stock_model.state_dict(), strict=False)
    stock_model.transform.min_size, ours.transform.config = (
        (96,),
        dataclasses.replace(ModelConfig.standard(), min_size=96),
    )
    left, right = stock(ours, [image])[0], stock(stock_model, [image])[0]
    assert torch.equal(left["boxes"], right["boxes"])


def test_class_probabilities_are_a_softmax_that_contains_the_score():
    rows = detector(seed=2).detect([picture(0)[0]])[0].instances
    assert rows.class_probs.shape == (len(rows), len(LABELS) + 1)
    assert np.allclose(rows.class_probs.sum(1), 1, atol=1e-6)
    assert np.array_equal(rows.class_probs[np.arange(len(rows)), rows.labels], rows.scores)
    assert rows.mask_probs.shape == (len(rows), 28, 28)
    assert 0 <= rows.mask_probs.min() <= rows.mask_probs.max() <= 1


def by_hand(one, image, before_relu):
    """r_n from the model's parts at the final boxes, with the average written as a sum."""
    model, heads = one.model.eval(), one.model.roi_heads
    with torch.inference_mode():
        batch, _ = model.transform([to_tensor(image)])
        features = model.backbone(batch.tensors)
        rows = one.detect([image])[0].instances
        scale = batch.image_sizes[0][0] / image.shape[0]
        assert scale == 1.0  # so that the final boxes need no scaling back
        pool = MultiScaleRoIAlign(["0", "1", "2", "3"], 14, 2)
        rois = pool(features, [torch.from_numpy(rows.boxes)], batch.image_sizes)
        rois = heads.mask_head[0](rois)
        convolution = heads.mask_head[1][0]
        cells = torch.nn.functional.conv2d(rois, convolution.weight, convolution.bias, padding=1)
        if not before_relu:
            cells = cells.clamp(min=0)
    total = np.zeros(cells.shape[:2])
    for row in range(14):
        for column in range(14):
            total += cells[:, :, row, column].double().numpy()
    return total / 196


@pytest.mark.parametrize("before_relu", [False, True])
def test_r_is_the_average_pool_of_the_mask_heads_last_convolution(before_relu):
    one, (image, _) = detector(seed=4), picture(5)
    rows = one.detect([image], before_relu=before_relu)[0].instances
    assert np.allclose(rows.embeddings, by_hand(one, image, before_relu), atol=1e-5)
    assert (rows.embeddings.min() < 0) == before_relu


def test_the_box_embedding_is_what_the_class_logits_come_from():
    one, (image, _) = detector(seed=4), picture(5)
    rows = one.detect([image], embedding="box")[0].instances
    predictor = one.model.roi_heads.box_predictor.cls_score
    with torch.inference_mode():
        probs = torch.softmax(predictor(torch.from_numpy(rows.embeddings)), -1).numpy()
    assert rows.embeddings.shape[1] == TINY.box_mlp
    assert np.allclose(probs, rows.class_probs, atol=1e-6)


def test_the_image_embedding_leaves_the_padding_out():
    one = detector(seed=0)
    image = picture(0, 50, 70)[0]  # padded to 64 x 96: 13 x 18 of 16 x 24 cells hold pixels
    with torch.inference_mode():
        batch, _ = one.model.eval().transform([to_tensor(image)])
        level = one.model.backbone(batch.tensors)["0"][0]
    assert level.shape == (TINY.fpn_width, 16, 24)
    wanted = level[:, :13, :18].double().mean((1, 2)).numpy()
    assert np.allclose(one.detect([image])[0].image_embedding, wanted, atol=1e-6)


def test_a_batch_of_one_size_equals_single_images():
    one = detector(seed=6)
    images = [picture(seed)[0] for seed in range(4)]
    for together, image in zip(one.detect(images), images, strict=True):
        alone = one.detect([image])[0]
        assert len(alone.instances) == len(together.instances)
        for name in ("boxes", "scores", "class_probs", "embeddings", "mask_probs"):
            left, right = getattr(alone.instances, name), getattr(together.instances, name)
            assert np.allclose(left, right, atol=1e-4), name
        assert np.allclose(alone.image_embedding, together.image_embedding, atol=1e-4)


def test_other_sizes_beside_an_image_change_nothing():
    one = detector(seed=6)
    images = [picture(0)[0], picture(1, 90, 40)[0], picture(2, 50, 80)[0]]
    for together, image in zip(one.detect(images), images, strict=True):
        alone = one.detect([image])[0].instances
        assert np.array_equal(alone.boxes, together.instances.boxes)
        assert np.array_equal(alone.embeddings, together.instances.embeddings)


def test_no_detection_has_the_shapes_of_many():
    config = dataclasses.replace(TINY, score_threshold=0.999)
    found = detector(config=config).detect([picture(0)[0]])[0]
    assert len(found.instances) == 0
    assert found.instances.class_probs.shape == (0, 3)
    assert found.instances.mask_probs.shape == (0, 28, 28)
    assert pasted_masks(found).shape == (0, 64, 64)
    assert detector().detect([]) == []


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8, 3)),
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
        "picture.jpg",
    ],
)
def test_anything_but_an_rgb_image_is_refused(image):
    with pytest.raises(DataError, match="image: expected"):
        detector().detect([image])


def test_one_seed_gives_one_model_and_leaves_torchs_generator_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = build_model(TINY, 2, seed=1).state_dict()
    assert torch.equal(torch.rand(3), expected)
    second, other = (build_model(TINY, 2, seed=seed).state_dict() for seed in (1, 2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_the_config_survives_json():
    for config in (ModelConfig.small(), ModelConfig.standard(), TINY):
        assert ModelConfig.from_dict(json.loads(json.dumps(dataclasses.asdict(config)))) == config
    with pytest.raises(DataError, match="ModelConfig"):
        ModelConfig.from_dict({"depth": 3})


def test_dense_images_get_room():
    small = ModelConfig.small()
    assert small.for_densest(10) == small
    dense = small.for_densest(369)
    assert dense.detections_per_image == 462 and dense.proposals == 738


@given(st.integers(1, 30_000), st.integers(1, 30_000))
@settings(max_examples=200)
def test_the_working_size_is_never_empty_never_enlarged_never_beyond_its_limit(height, width):
    config = ModelConfig.small()
    size = config.working_size(height, width)
    assert min(size) >= 1 and max(size) <= config.max_size
    assert size[0] <= height and size[1] <= width
    if max(height, width) <= config.max_size:
        assert size == (height, width)


@pytest.mark.slow
def test_weights_from_a_file_fill_all_but_the_label_predictors(tmp_path):
    source, fresh = build_model(TINY, 5, seed=1), build_model(TINY, 2, seed=2)
    path = tmp_path / "state.pt"
    torch.save(source.state_dict(), path)
    loaded = build_model(TINY, 2, seed=2, weights=str(path)).state_dict()
    for name, value in loaded.items():
        dependent = "box_predictor" in name or "mask_fcn_logits" in name
        origin = fresh if dependent else source
        assert torch.equal(value, origin.state_dict()[name]), name


@pytest.mark.slow
def test_weights_that_cannot_be_had_are_told_never_replaced(tmp_path):
    other = dataclasses.replace(TINY, fpn_width=8)
    torch.save(build_model(other, 2, seed=0).state_dict(), tmp_path / "other.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({1: torch.zeros(2)}, tmp_path / "numbered.pt")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0")
    (tmp_path / "junk.pt").write_bytes(b"no weights at all")
    for name in (
        "other.pt",
        "list.pt",
        "numbered.pt",
        "cut.safetensors",
        "junk.pt",
        "missing.pt",
        ".",
    ):
        with pytest.raises(WeightsError, match="'none'"):
            build_model(TINY, 2, seed=0, weights=str(tmp_path / name))


@pytest.mark.slow
def test_coco_weights_that_cannot_be_downloaded_are_told(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    with pytest.raises(WeightsError, match=r"no route to host.*maskrcnn_resnet50_fpn_coco"):
        build_model(ModelConfig.standard(), 2, seed=0, weights="coco")


def test_a_frozen_norm_is_not_trained_from_nothing():
    with pytest.raises(WeightsError, match="frozen"):
        build_model(ModelConfig.standard(), 2, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "finest"), [("resnet18", 4), ("resnet50", 4), ("mobilenet_v3_large", 4)]
)
def test_every_backbone_gives_the_levels_that_the_anchors_expect(backbone, finest):
    config = dataclasses.replace(TINY, backbone=backbone)
    model = build_model(config, 2, seed=0).eval()
    with torch.inference_mode():
        levels = model.backbone(torch.zeros(1, 3, 64, 96))
    strides = [64 // level.shape[-2] for level in levels.values()]
    assert strides == [finest, 8, 16, 32, 64]
    assert {level.shape[1] for level in levels.values()} == {config.fpn_width}
    found = detector(config=config).detect([picture(0, 64, 96)[0]])[0]
    assert len(found.instances.boxes) <= config.detections_per_image


@pytest.mark.slow
def test_bfloat16_moves_no_box_by_much_and_leaves_the_detector_as_it_is():
    exact = detector()
    before = {name: value.clone() for name, value in exact.model.state_dict().items()}
    rough = dataclasses.replace(exact.fast(), precision="bf16")
    image, _ = picture(0, 96, 128)
    one, other = exact.detect([image])[0].instances, rough.detect([image])[0].instances
    assert all(torch.equal(before[k], v) for k, v in exact.model.state_dict().items())
    assert other.boxes.dtype == other.scores.dtype == other.embeddings.dtype == np.float32
    iou = box_iou(torch.from_numpy(one.boxes[:5]), torch.from_numpy(other.boxes))
    assert iou.max(1).values.min() > 0.9  # anchors in bfloat16 would be off by pixels


def test_bfloat16_is_only_taken_where_the_hardware_has_it(monkeypatch):
    exact = detector()
    monkeypatch.setattr("taudis.detector.mask_rcnn.has_bf16", lambda _: False)
    assert exact.fast().precision == "fp32" and exact.fast().model is exact.model
    monkeypatch.setattr("taudis.detector.mask_rcnn.has_bf16", lambda _: True)
    assert exact.fast().precision == "bf16" and exact.fast().fast().precision == "bf16"


@pytest.mark.parametrize("embedding", ["mask", "box"])
@pytest.mark.parametrize("before_relu", [False, True])
def test_a_fast_detector_pads_what_it_computes_but_finds_the_same(embedding, before_relu):
    """So that few numbers of detections are met, each of which oneDNN would compile kernels for."""
    exact = detector()
    few = dataclasses.replace(exact, few_shapes=True)
    assert exact.fast().few_shapes and not exact.few_shapes
    images = [picture(seed, 64 + 16 * seed, 96)[0] for seed in range(4)]
    wanted = exact.detect(images, embedding=embedding, before_relu=before_relu)
    heads, met = exact.model.roi_heads, {"box": set(), "mask": set()}
    for layer in (heads.box_head, heads.box_predictor):
        layer.register_forward_pre_hook(lambda _, given: met["box"].add(len(given[0])))
    for layer in (heads.mask_head[0][0], heads.mask_predictor):
        layer.register_forward_pre_hook(lambda _, given: met["mask"].add(len(given[0])))
    found = few.detect(images, embedding=embedding, before_relu=before_relu)
    assert met["box"] and all(count % 64 == 0 for count in met["box"])
    assert met["mask"] and all(count % 16 == 0 for count in met["mask"])
    for one, other in zip(found, wanted, strict=True):
        assert len(one.instances.labels) % 16 and np.array_equal(
            one.instances.labels, other.instances.labels
        )
        for field in ("boxes", "scores", "class_probs", "embeddings", "mask_probs"):
            got, expected = (getattr(each.instances, field) for each in (one, other))
            np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4, err_msg=field)

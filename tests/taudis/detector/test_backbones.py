"""Backbones: folded batch norms change nothing, and the ImageNet weights sit where they belong."""

import hashlib
import json
import re
from importlib import metadata

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torchvision import models

from taudis.detector import imagenet
from taudis.detector.architecture import ModelConfig, build_model
from taudis.detector.backbones import fold_batch_norms, make_backbone
from taudis.detector.imagenet import PREFIX, backbone_state, packaged_file, packaged_weights
from taudis.detector.weights import check_weights
from taudis.errors import WeightsError
from tests.taudis.detector_cases import PRETRAINED_TINY, varied

PALACE, DAISY = 698, 985
"""ImageNet's numbers of what scikit-learn's two sample photographs show: china.jpg, flower.jpg."""


@pytest.mark.parametrize(
    "name", ["efficientnet_lite0", "resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_large"]
)
@torch.inference_mode()
def test_folding_batch_norms_changes_rounding_alone(name):
    torch.manual_seed(0)
    body, layers, widths = make_backbone(name, "batch")
    varied(body)
    images = torch.rand(2, 3, 96, 64)
    before = feature_maps(body, layers, images)
    assert [level.shape[1:] for level in before] == [
        (width, 96 // stride, 64 // stride)
        for width, stride in zip(widths, (4, 8, 16, 32), strict=True)
    ]
    fold_batch_norms(body)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in body.modules())
    for one, other in zip(before, feature_maps(body, layers, images), strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-3 * float(one.abs().max()))


def feature_maps(body, layers, images):
    found = []
    for name, child in body.named_children():
        images = child(images)
        if name in layers:
            found.append(images)
        if len(found) == len(layers):
            return found
    raise AssertionError("a stage is missing")


def top(image, count):
    """ImageNet's likeliest classes of a photograph: our backbone under the file's classifier."""
    state = torch.load(packaged_file(), weights_only=True)
    body = make_backbone("efficientnet_lite0", "folded")[0]
    body.load_state_dict({k.removeprefix(PREFIX): v for k, v in packaged_weights().items()})
    middle = image[:, (image.shape[1] - image.shape[0]) // 2 :][:, : image.shape[0]]
    pixels = torch.from_numpy(middle.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    pixels = functional.interpolate(pixels, (224, 224), mode="bilinear", antialias=True)
    norm = [state[f"_bn1.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
    with torch.inference_mode():
        features = functional.conv2d(body(pixels), state["_conv_head.weight"])
        features = functional.batch_norm(features, *norm, eps=1e-3).clamp(0, 6).mean((2, 3))
        scores = functional.linear(features, state["_fc.weight"], state["_fc.bias"])
    return scores[0].topk(count).indices.tolist()


@pytest.mark.slow
def test_the_packaged_weights_name_what_photographs_show():
    from sklearn.datasets import load_sample_images  # takes seconds to import

    china, flower = load_sample_images().images
    assert top(china, 1) == [PALACE]
    assert top(flower, 1) == [DAISY]


def test_a_detector_starts_from_the_packaged_weights(tmp_path):
    model = build_model(PRETRAINED_TINY, 2, seed=0, weights="imagenet", weights_dir=tmp_path / "w")
    own = model.state_dict()
    for name, value in packaged_weights().items():
        assert torch.equal(own[name], value), name
    other = build_model(PRETRAINED_TINY, 2, seed=1, weights="imagenet")
    differ = {name for name, value in other.state_dict().items() if not value.equal(own[name])}
    assert differ and not any(name.startswith(PREFIX) for name in differ)
    assert model.transform.image_mean == model.transform.image_std == [0.5, 0.5, 0.5]


def test_weights_are_converted_once_and_a_damaged_conversion_again(tmp_path, monkeypatch):
    folder = tmp_path / "imagenet"
    first = packaged_weights(folder)
    assert json.loads((folder / "source.json").read_text())["sha256"] == imagenet.SHA256
    with monkeypatch.context() as patched:
        patched.setattr(imagenet, "packaged_file", lambda: pytest.fail("converted again"))
        again = packaged_weights(folder)
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    file = folder / "backbone.safetensors"
    content = file.read_bytes()
    file.unlink()  # what was loaded is a view of the file
    file.write_bytes(content[:-1])
    repaired = packaged_weights(folder)
    assert all(torch.equal(first[name], repaired[name]) for name in first)


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_a_damaged_file_of_the_package_is_refused(tmp_path, monkeypatch, damage):
    content = bytearray(packaged_file().read_bytes())
    if damage == "cut":
        del content[-1000:]
    else:
        content[len(content) // 2] ^= 1
    file = tmp_path / imagenet.FILE
    file.parent.mkdir(parents=True)
    file.write_bytes(content)

    class Package:
        @staticmethod
        def locate_file(path):
            return tmp_path / path

    monkeypatch.setattr(metadata, "distribution", lambda _: Package)
    found = hashlib.sha256(content).hexdigest()
    with pytest.raises(WeightsError, match=f"expected the SHA-256 {imagenet.SHA256}, got {found}"):
        check_weights("imagenet")
    file.unlink()
    with pytest.raises(WeightsError, match="cannot be read"):
        check_weights("imagenet")


def test_a_missing_package_is_named_never_replaced(monkeypatch):
    monkeypatch.setattr(imagenet, "PACKAGE", "a-package-that-nobody-has")
    with pytest.raises(WeightsError, match="a-package-that-nobody-has, which is not installed"):
        build_model(PRETRAINED_TINY, 2, seed=0, weights="imagenet")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "mobilenet_v3_large"])
def test_a_classification_model_of_ones_own_fills_the_backbone(tmp_path, name):
    torch.manual_seed(3)
    classifier = varied(getattr(models, name)(weights=None))
    torch.save(classifier.state_dict(), tmp_path / "own.pth")
    assert check_weights(str(tmp_path / "own.pth")).endswith("of a backbone")
    config = ModelConfig(backbone=name, norm="folded", fpn_width=16, box_mlp=16, mask_head=(16,))
    model = build_model(config, 2, seed=0, weights=str(tmp_path / "own.pth")).eval()
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        levels = model.backbone.body(images)
        inside = classifier.features if name.startswith("mobilenet") else classifier
        _, layers, _ = make_backbone(name, "batch")
        for row, wanted in enumerate(feature_maps(inside, layers, images)):
            scale = float(wanted.abs().max())
            assert torch.allclose(levels[str(row)], wanted, rtol=1e-3, atol=1e-3 * scale)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda state: state.pop("_blocks.3._expand_conv.weight"), "4.layers.0.0.weight"),
        (lambda state: state.update(stranger=torch.zeros(1)), "stranger"),
        (
            lambda state: state.update({"_blocks.0._se_reduce.weight": torch.zeros(8, 32, 1, 1)}),
            "_blocks.0._se_reduce.weight",
        ),
        (lambda state: state.update({"_conv_stem.weight": torch.zeros(32, 4, 3, 3)}), "0.0.weight"),
    ],
    ids=["a tensor less", "a tensor more", "another EfficientNet", "four channels"],
)
def test_weights_of_another_layout_are_refused_by_the_tensors_name(change, named):
    state = torch.load(packaged_file(), weights_only=True)
    change(state)
    with pytest.raises(WeightsError, match=f"such as {re.escape(named)}"):
        backbone_state("efficientnet_lite0", "folded", state, "own.pth")


def test_weights_of_another_backbone_are_refused():
    config = ModelConfig(backbone="mobilenet_v2", norm="folded")
    with pytest.raises(WeightsError, match=r"such as backbone\.body"):
        build_model(config, 2, seed=0, weights="imagenet")


def test_folded_norms_are_not_trained_from_nothing():
    with pytest.raises(WeightsError, match="folded"):
        build_model(PRETRAINED_TINY, 2, seed=0)
    assert np.isfinite(float(packaged_weights()[f"{PREFIX}0.0.weight"].sum()))

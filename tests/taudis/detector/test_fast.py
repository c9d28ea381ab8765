"""The fast pass gives what torchvision's parts give, up to rounding, and the same in any batch."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.misc import Conv2dNormActivation

from taudis.detector.fast import Engine, can_run
from taudis.detector.fused import LAYOUTS, Fused, prepared
from tests.taudis.detector_cases import PRETRAINED_TINY, TINY, detector, picture

FIELDS = ("boxes", "scores", "labels", "class_probs", "embeddings", "mask_probs")
SIZES = [(64, 64), (50, 70), (200, 120), (7, 90), (1, 1)]


def exact_engine(plain):
    """The detector with an engine in float32, so that rounding alone is left."""
    return dataclasses.replace(plain, engine=Engine(plain.model, torch.float32))


@pytest.mark.parametrize("config", [TINY, PRETRAINED_TINY], ids=["group norm", "folded"])
@pytest.mark.parametrize("embedding", ["mask", "box"])
@pytest.mark.parametrize("before_relu", [False, True])
def test_the_engine_finds_what_torchvisions_parts_find(config, embedding, before_relu):
    plain = detector(seed=3, config=config)
    images = [np.random.default_rng(0).integers(0, 256, (*s, 3)).astype(np.uint8) for s in SIZES]
    images += [picture(seed)[0] for seed in range(3)]
    wanted = plain.detect(images, embedding=embedding, before_relu=before_relu)
    found = exact_engine(plain).detect(images, embedding=embedding, before_relu=before_relu)
    assert sum(len(each.instances) for each in wanted) > 20
    for one, other in zip(found, wanted, strict=True):
        assert one.size == other.size
        for field in FIELDS:
            got, expected = (getattr(each.instances, field) for each in (one, other))
            np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3, err_msg=field)
        np.testing.assert_allclose(one.image_embedding, other.image_embedding, atol=1e-4)


@pytest.mark.parametrize("config", [TINY, PRETRAINED_TINY], ids=["group norm", "folded"])
def test_an_image_gives_the_same_bits_in_any_batch(config):
    fast = detector(seed=2, config=config).fast()
    assert fast.engine is not None
    images = [picture(seed)[0] for seed in range(5)]
    for together, image in zip(fast.detect(images), images, strict=True):
        alone = fast.detect([image])[0]
        assert len(alone.instances) > 0
        for field in FIELDS:
            left, right = getattr(alone.instances, field), getattr(together.instances, field)
            assert np.array_equal(left, right), field
        assert np.array_equal(alone.image_embedding, together.image_embedding)


def test_no_detection_has_the_shapes_of_many():
    quiet = detector(config=dataclasses.replace(TINY, score_threshold=0.999))
    rows = exact_engine(quiet).detect([picture(0)[0]])[0].instances
    assert rows.mask_probs.shape == (0, 28, 28) and rows.embeddings.shape == (0, 16)
    assert rows.class_probs.shape == (0, 3) and rows.boxes.shape == (0, 4)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.ReLU6, None, nn.Hardswish])
@pytest.mark.parametrize("has_call", [True, False])
def test_a_convolution_and_its_activation_are_one_call_with_the_same_result(activation, has_call):
    layer = Conv2dNormActivation(
        6, 12, 3, 2, groups=3, norm_layer=None, activation_layer=activation, inplace=None
    )
    made = prepared(nn.Sequential(layer), torch.float32)
    assert isinstance(made[0], Fused) == (activation is not nn.Hardswish)
    if isinstance(made[0], Fused) and not has_call:
        made[0].call = None
    pixels = 5 * torch.randn(2, 6, 9, 11, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(made(pixels), layer(pixels), rtol=1e-5, atol=1e-5)


def test_a_convolution_keeps_its_weights_for_a_few_shapes():
    layer = nn.Conv2d(8, 16, 3, padding=1)
    made = Fused(layer, None, torch.float32)
    generator = torch.Generator().manual_seed(1)
    with torch.inference_mode():
        for side in (*range(6, 6 + LAYOUTS + 2), 6):
            pixels = torch.randn(2, 8, side, 9, generator=generator)
            torch.testing.assert_close(made(pixels), layer(pixels), rtol=1e-5, atol=1e-5)
    sides = [shape[2] for shape in made.packed]
    assert sides == [*range(9, 6 + LAYOUTS + 2), 6]  # the latest ones


CONVERSIONS = """
import torch
from tests.taudis.detector_cases import PRETRAINED_TINY, detector
engine = detector(config=PRETRAINED_TINY).fast().engine
with torch.inference_mode():
    for side in (192, 256):
        pixels = torch.rand(1, 3, side, side)
        engine.features(pixels)
        with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
            engine.features(pixels)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    torch.cpu._is_amx_tile_supported() or not torch.cpu._is_avx512_bf16_supported(),
    reason="the layouts of other CPUs were not looked into",
)
def test_no_layer_converts_its_weights_in_each_call():
    """Such a conversion took 20 of 25 ms at 192 px, on an AMD EPYC without AMX."""
    done = subprocess.run(
        [sys.executable, "-c", CONVERSIONS], check=True, capture_output=True, text=True
    )
    calls = [line.split(",") for line in done.stdout.splitlines() if ",exec," in line]
    kinds = Counter(call[5] for call in calls)
    weights = [call for call in calls if call[5] == "reorder" and not call[-2].startswith("1x")]
    assert kinds["convolution"] > 100 and not weights, kinds


def test_a_model_of_other_parts_has_no_engine():
    plain = detector()
    plain.model.roi_heads.box_roi_pool = MultiScaleRoIAlign(["0", "1"], 7, 2)
    assert not can_run(plain.model) and plain.fast().engine is None

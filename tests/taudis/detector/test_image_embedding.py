"""Image embeddings: the mean of a feature map of the packaged ImageNet backbone."""

import numpy as np
import PIL.Image
import pytest
import torch

from taudis.detector.backbones import make_backbone
from taudis.detector.image_embedding import LEVEL, SIDE, ImageEmbedder
from taudis.detector.imagenet import BACKBONE, PREFIX, backbone_state, packaged_file
from taudis.errors import DataError, WeightsError
from taudis.selection.params import Labelled, SelectionParams
from taudis.selection.strategies import query
from taudis.types import Pool

BLOCKS = {0: 3, 1: 5, 2: 11, 3: 16}
"""Level -> its last block, counted from the published table of EfficientNet-B0: 1, 2, 2, 3, 3, 4, 1
blocks at strides 2, 4, 8, 16, 16, 32, 32, after a stem that is block 0."""
WIDTHS = {0: 24, 1: 40, 2: 112, 3: 320}


def image_of(height, width, seed):
    """Smooth random colours: what a resize changes little."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(PIL.Image.fromarray(coarse).resize((width, height), PIL.Image.BICUBIC))


@pytest.fixture(scope="module")
def embedder():
    return ImageEmbedder.packaged()


@pytest.fixture(scope="module")
def unfolded():
    """The backbone of the packaged file with its batch norms as they are."""
    state = torch.load(packaged_file(), map_location="cpu", weights_only=True)
    tensors = backbone_state(BACKBONE, "batch", state, "the package")
    body = make_backbone(BACKBONE, "batch")[0].eval()
    body.load_state_dict({k.removeprefix(PREFIX): v for k, v in tensors.items()}, strict=False)
    return body


@pytest.mark.parametrize("level", BLOCKS)
def test_an_embedding_is_the_mean_of_the_feature_map(unfolded, level):
    embedder = ImageEmbedder.packaged(level=level)
    image = image_of(160, SIDE, seed=1)  # at the working size: nothing is scaled
    pixels = (image.transpose(2, 0, 1)[None] / 255.0 - 0.5) / 0.5
    with torch.inference_mode():
        cells = unfolded[: BLOCKS[level] + 1](torch.tensor(pixels, dtype=torch.float32))[0].numpy()
    assert cells.shape[0] == embedder.width == WIDTHS[level]
    by_hand = cells.astype(np.float64).reshape(len(cells), -1).mean(axis=1)
    found = embedder.embed(image)
    assert found.shape == (embedder.width,) and found.dtype == np.float32
    np.testing.assert_allclose(found, by_hand, atol=2e-4 * np.abs(by_hand).max())


def test_the_level_is_the_one_that_was_measured(embedder):
    assert LEVEL == 2 and embedder.width == 112 and "level 2" in embedder.made_by


@pytest.mark.parametrize(
    ("size", "scaled"),
    [
        ((300, 448), (150, 224)),
        ((448, 96), (224, 48)),
        ((56, 40), (224, 160)),
        ((1, 999), (1, 224)),
    ],
)
def test_images_are_scaled_to_one_longer_side_as_pillow_does(embedder, size, scaled):
    image = image_of(*size, seed=2)
    pillow = PIL.Image.fromarray(image).resize(scaled[::-1], PIL.Image.BILINEAR)
    expected = np.asarray(pillow).transpose(2, 0, 1)[None] / 127.5 - 1
    ready = embedder.prepared(image)
    assert tuple(ready.shape) == (1, 3, *scaled)
    np.testing.assert_allclose(ready.numpy(), expected, atol=1.01 / 127.5)  # a grey level


def test_an_embedding_depends_on_its_image_alone(embedder):
    image = image_of(90, 120, seed=3)
    before = embedder.embed(image)
    embedder.embed(image_of(200, 40, seed=4))
    assert np.array_equal(embedder.embed(image), before)
    image.setflags(write=False)  # as a decoder may give it
    assert np.array_equal(embedder.embed(image), before)


@pytest.mark.parametrize(
    "wrong", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3)), np.zeros((0, 8, 3), np.uint8)]
)
def test_what_is_no_image_is_refused(embedder, wrong):
    with pytest.raises(DataError, match="image: expected"):
        embedder.embed(wrong)


def test_core_set_begins_with_one_image_of_each_kind(embedder):
    """Three kinds with four near copies each: no copy comes before every kind has come."""
    rng = np.random.default_rng(5)
    kinds = [image_of(64, 64, seed=seed) for seed in (6, 7, 8)]
    images = [
        np.clip(kind + rng.integers(-2, 3, kind.shape), 0, 255).astype(np.uint8)
        for kind in kinds
        for _ in range(4)
    ]
    vectors = np.stack([embedder.embed(image) for image in images])
    pool = Pool.without_detections(np.arange(12), vectors)
    for seed in range(4):
        found = query(
            "core_set", pool, budget=12, labelled=Labelled(1.0), params=SelectionParams(), seed=seed
        )
        order = found.order.tolist()
        assert sorted(order) == list(range(12))
        assert {row // 4 for row in order[:3]} == {0, 1, 2}
        away = np.linalg.norm(vectors.astype(np.float64)[:, None] - vectors[order[:3]], axis=2)
        assert away.min(axis=1)[order[3]] == pytest.approx(found.utilities[order[3]])


def test_missing_weights_say_what_to_install(monkeypatch):
    monkeypatch.setattr("taudis.detector.imagenet.PACKAGE", "no-such-package-of-weights")
    with pytest.raises(WeightsError, match="which is not installed"):
        ImageEmbedder.packaged()

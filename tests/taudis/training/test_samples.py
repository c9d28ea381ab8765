"""The stream of examples: keyed by seed and place, balanced, and read ahead."""

from __future__ import annotations

import dataclasses
import json
import threading
import tracemalloc
from contextvars import ContextVar

import numpy as np
import pytest
import torch
from PIL import Image

from taudis.data.coco import decode, load_coco
from taudis.errors import DataError
from taudis.training.recipes import Recipe
from taudis.training.samples import Loader, Stream, labels_of, prepare, repeat_factors
from taudis.types import Target
from tests.taudis.detector_cases import TINY, Pictures

RECIPE = Recipe(name="quick", steps=4, model=TINY, batch=2, crop=48, colour=0.3)


def stream(count=5, seed=3, **changes):
    return Stream(Pictures(count), dataclasses.replace(RECIPE, **changes), 2, seed)


def test_an_example_depends_on_seed_and_place_alone():
    first, second = stream(), stream()
    for place in (7, 0, 3):
        (one, truth), (other, same) = first[place], second[place]
        assert torch.equal(one, other)
        assert all(torch.equal(truth[name], same[name]) for name in truth)
    assert not torch.equal(first[0][0], stream(seed=4)[0][0])


def test_every_epoch_shows_every_image_once():
    plain = stream()
    for epoch in (0, 1, 9):
        assert sorted(plain.order(epoch).tolist()) == [0, 1, 2, 3, 4]
    assert any(plain.order(0).tolist() != plain.order(epoch).tolist() for epoch in range(1, 5))


def test_repeat_factors_are_those_of_lvis_by_hand():
    rows = [np.array([1, 1])] * 12 + [np.array([1, 2])] * 3 + [np.zeros(0, np.int64)]
    factors = repeat_factors(rows, threshold=0.75)
    assert factors[:12] == pytest.approx(1.0)  # 15 of 16 images hold label 1
    assert factors[12:15] == pytest.approx(2.0)  # sqrt(0.75 / (3 / 16))
    assert factors[15] == 1.0


def test_images_of_a_rare_label_come_as_often_as_their_factor_says():
    balanced = stream()
    balanced.factors = np.array([1.0, 1.0, 2.5, 1.0, 1.0])
    balanced.epoch = 6
    counts = np.bincount(np.concatenate([balanced.order(e) for e in range(60)]), minlength=5)
    assert counts.sum() == 360
    assert counts[2] == pytest.approx(360 * 2.5 / 6.5, rel=0.1)
    assert counts.min() >= 30


def test_labels_are_asked_for_without_decoding_where_the_samples_know_them():
    class Known(Pictures):
        def labels_at(self, index):
            return np.array([index])

        def __getitem__(self, index):
            raise AssertionError("decoded")

    assert labels_of(Known(3), 2).tolist() == [2]
    assert labels_of(Pictures(3), 1).tolist() == Pictures(3)[1][1].labels.tolist()


def test_the_loader_gives_the_stream_in_order_whatever_the_threads():
    plain = stream()
    with Loader(stream(), last=12, workers=3) as loader:
        for first, size in ((0, 2), (2, 2), (2, 1), (3, 1), (4, 4)):  # as if a batch was halved
            images, targets = loader.batch(first, size)
            for at, (image, target) in enumerate(zip(images, targets, strict=True), start=first):
                assert torch.equal(image, plain[at][0])
                assert torch.equal(target["masks"], plain[at][1]["masks"])
        assert loader.waited > 0


def test_a_broken_sample_reaches_the_caller():
    class Broken(Pictures):
        def __getitem__(self, index):
            raise DataError("picture 1: expected an image.")

    with (
        Loader(Stream(Broken(2), RECIPE, 2, 0), last=8) as loader,
        pytest.raises(DataError, match="picture 1"),
    ):
        loader.batch(0, 2)


def test_samples_see_the_context_variables_of_the_caller():
    caller, seen = ContextVar("caller", default="nobody"), []

    class Asking(Pictures):
        def __getitem__(self, index):
            seen.append(caller.get())
            return super().__getitem__(index)

    caller.set("a round")
    with Loader(Stream(Asking(4), RECIPE, 2, 0), last=8, workers=2) as loader:
        loader.batch(0, 2)
    assert set(seen) == {"a round"}


def test_no_thread_is_left_behind():
    with Loader(stream(), last=8) as loader:
        loader.batch(0, 2)
    assert not [t for t in threading.enumerate() if t.name.startswith("examples")]


def large(folder, size, count, rng):
    """A COCO file of one picture: triangles, one in five a crowd, and one without a pixel."""
    height, width = size
    Image.fromarray(rng.integers(0, 255, (height, width, 3), np.uint8)).save(folder / "a.png")
    parts = rng.uniform(0, 1, (count, 3, 2)) * 40 + rng.uniform(0, 1, (count, 1, 2)) * (
        width,
        height,
    )
    polygons = [part.ravel().tolist() for part in parts] + [[1, 1, 1.1, 1, 1.1, 1.1]]
    annotations = [
        {"id": row, "image_id": 1, "category_id": 1 + row % 2, "iscrowd": int(row % 5 == 4),
         "segmentation": [polygon]}
        for row, polygon in enumerate(polygons)
    ]  # fmt: skip
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": height, "width": width}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}],
    }
    (folder / "coco.json").write_text(json.dumps(content))
    masks = np.stack([decode([polygon], height, width) for polygon in polygons])
    crowd = np.array([bool(row["iscrowd"]) for row in annotations])
    labels = np.array([row["category_id"] for row in annotations])
    return load_coco(folder / "coco.json", folder)[1], Target.from_masks(masks, labels, crowd)


@pytest.mark.parametrize("size", [(64, 96), (50, 70), (300, 410), (97, 1000)])
def test_masks_of_a_coco_file_are_prepared_as_masks_in_an_array(tmp_path, size):
    samples, plain = large(tmp_path, size, 20, np.random.default_rng(size[0]))
    image, target = samples[0]
    for found, expected in (
        ((image, target), (image, plain)),
        (prepare(image, target, TINY, 2), prepare(image, plain, TINY, 2)),
    ):
        assert np.array_equal(found[0], expected[0])
        for field in dataclasses.fields(Target):
            one, other = (np.asarray(getattr(each[1], field.name)) for each in (found, expected))
            assert one.dtype == other.dtype and np.array_equal(one, other)
    assert isinstance(prepare(image, target, TINY, 2)[1].masks, np.ndarray)


def test_preparing_a_large_image_takes_memory_for_one_mask_at_a_time(tmp_path):
    samples, _ = large(tmp_path, (1200, 1600), 60, np.random.default_rng(0))
    image, one_mask = samples.image(0), 1200 * 1600
    prepare(image, samples.target(0), TINY, 2)  # what is loaded at first use is there afterwards
    tracemalloc.start()
    try:
        _, target = prepare(image, samples.target(0), TINY, 2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(target) > 5
    assert peak < 12 * one_mask, f"{peak / one_mask:.1f} masks"


def drawn(size, objects):
    """Masks [n,h,w] of rectangles (y, x, height, width)."""
    masks = np.zeros((len(objects), *size), bool)
    for mask, (y, x, height, width) in zip(masks, objects, strict=True):
        mask[y : y + height, x : x + width] = True
    return masks


@pytest.mark.parametrize(
    ("height", "width"), [(2, 300), (300, 2), (6, 6), (1, 1)], ids=["thin", "tall", "small", "px"]
)
def test_no_object_vanishes_at_the_working_size(height, width):
    """Small objects lie between the px that a mask is resized to."""
    rng, size, count = np.random.default_rng(0), (600, 800), 40
    corners = rng.integers(0, (600 - height, 800 - width), (count, 2))
    objects = [(y, x, height, width) for y, x in corners]
    target = Target.from_masks(drawn(size, objects), np.ones(count, np.int64))
    scaled, left = prepare(np.zeros((*size, 3), np.uint8), target, TINY, 1)
    assert len(left) == count
    ratio = scaled.shape[0] / size[0]
    for box, (y, x, *_) in zip(left.boxes, objects, strict=True):
        wanted = ratio * np.array([x, y, x + width, y + height])
        assert np.abs(box - wanted).max() <= 1.0


@pytest.mark.parametrize("size", [(600, 800), (97, 130)], ids=["shrinks", "hardly"])
def test_a_mask_has_the_px_that_it_covers_by_half(size):
    """By a count of the covered subpixels, 8 x 8 in each px of the working size."""
    masks = drawn(size, [(10, 20, 60, 70), (40, 50, 50, 40)])
    target = Target.from_masks(masks, np.ones(2, np.int64))
    _, left = prepare(np.zeros((*size, 3), np.uint8), target, TINY, 1)
    small = left.masks.shape[1:]
    rows, columns = (
        ((np.arange(8 * n) + 0.5) * whole / (8 * n)).astype(int)
        for n, whole in zip(small, size, strict=True)
    )
    fine = masks[:, rows][:, :, columns].reshape(2, small[0], 8, small[1], 8)
    covered = fine.mean((2, 4))
    clear = np.abs(covered - 0.5) > 0.1  # the count of subpixels is not exact
    assert clear.mean() > 0.9 and np.array_equal(left.masks[clear], (covered >= 0.5)[clear])


@pytest.mark.parametrize("side", [90, 100, 128, 150, 161])
def test_a_mask_stays_where_its_image_is(side):
    """The mirror image of a mask is the mirror image of the resized one: nothing moves it."""
    rows, columns = np.mgrid[:side, :side]
    disc = (rows - side / 2.3) ** 2 + (columns - side / 1.9) ** 2 < (side / 5) ** 2
    both = Target.from_masks(np.stack([disc, disc[::-1, ::-1]]), np.ones(2, np.int64))
    _, left = prepare(np.zeros((side, side, 3), np.uint8), both, TINY, 1)
    one, turned = left.masks[0], left.masks[1][::-1, ::-1]
    assert (one & turned).sum() / (one | turned).sum() > 0.99

"""Scoring keeps what selection needs, image by image, and drops the masks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from taudis import scoring
from taudis.data.pool_reader import load_pool, read_header
from taudis.detector.mask_rcnn import Detector
from taudis.errors import DataError
from taudis.scoring import join_pools, mask_areas, score_pool, score_to_file
from taudis.selection.uncertainty import uncertainty_of
from taudis.types import Instances
from tests.taudis.detector_cases import LABELS, TINY, detector, picture

SIZES = [(64, 64), (64, 64), (50, 70), (64, 64), (40, 40)]


def pictures():
    return [(100 + i, picture(i, *size)[0]) for i, size in enumerate(SIZES)]


def test_the_pool_is_what_the_detector_sees():
    one = detector(seed=2)
    seen = {}
    pool = score_pool(one, iter(pictures()), on_image=seen.__setitem__, batch=3)
    assert pool.image_ids.tolist() == list(range(100, 105)) == list(seen)
    assert pool.sizes.tolist() == [list(size) for size in SIZES]
    assert pool.instances.mask_probs is None
    for row, (number, image) in enumerate(pictures()):
        alone, own = one.detect([image])[0], pool.instances.image_index == row
        rows = alone.instances
        assert len(rows) == own.sum() == len(seen[number].instances)
        assert np.allclose(pool.instances.boxes[own], rows.boxes, atol=1e-3)
        assert np.allclose(pool.instances.embeddings[own], rows.embeddings, atol=1e-4)
        assert np.allclose(pool.image_embeddings[row], alone.image_embedding, atol=1e-4)
        assert np.allclose(pool.mask_areas[own], mask_areas(rows), atol=1)
        wanted = uncertainty_of(rows)
        for name in ("cm", "ce", "se"):
            assert np.allclose(
                getattr(pool.uncertainty, name)[own], getattr(wanted, name), atol=1e-4
            )
        assert seen[number].instances.mask_probs.shape[1:] == (28, 28)


def test_areas_are_the_share_of_cells_times_the_box():
    probs = np.zeros((2, 28, 28), np.float32)
    probs[0, :14] = 0.5
    rows = Instances(
        np.zeros(2, int), np.array([[0, 0, 10, 20], [5, 5, 6, 8]], np.float32),
        np.ones(2, np.float32), np.ones(2, int), np.full((2, 2), 0.5), np.zeros((2, 3)), probs,
    )  # fmt: skip
    assert mask_areas(rows).tolist() == [100.0, 0.0]
    with pytest.raises(DataError, match="mask_probs"):
        mask_areas(dataclasses.replace(rows, mask_probs=None))


@pytest.mark.parametrize(("embedding", "width"), [("mask", 16), ("box", 16)])
def test_no_images_and_no_detections_give_pools_with_shapes(embedding, width):
    blind = detector(config=dataclasses.replace(TINY, score_threshold=0.999))
    for images in ([], pictures()):
        pool = score_pool(blind, images, embedding=embedding)
        assert len(pool) == len(images) and len(pool.instances) == 0
        assert pool.instances.embeddings.shape == (0, width)
        assert pool.instances.class_probs.shape == (0, 3)
        assert pool.image_embeddings.shape == (len(images), TINY.fpn_width)


def test_images_are_asked_for_as_they_are_needed():
    asked = []

    def stream():
        for number, image in pictures():
            asked.append(number)
            yield number, image

    ahead = []
    score_pool(detector(), stream(), batch=2, on_image=lambda *_: ahead.append(len(asked)))
    assert ahead == [2, 2, 4, 4, 5]


def test_large_images_make_small_batches_and_are_let_go(monkeypatch):
    monkeypatch.setattr(scoring, "BATCH_BYTES", 2 * 64 * 64 * 3)
    held = [len(rows) for rows in scoring.batches(iter(pictures()), 4)]
    assert held == [2, 2, 1]  # none goes over a multiple of 4
    rows = next(batches := scoring.batches(iter(pictures()), 4))
    next(batches)
    assert [number for number, _ in rows] == [102, 103]  # the first two are gone


def test_short_memory_halves_the_batch(monkeypatch, caplog):
    detect, sizes = Detector.detect, []

    def short(self, images, **options):
        sizes.append(len(images))
        if len(images) > 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return detect(self, images, **options)

    monkeypatch.setattr(Detector, "detect", short)
    pool = score_pool(detector(), pictures()[:4], batch=4)
    assert sizes == [4, 2, 1, 1, 2, 1, 1] and len(pool) == 4
    assert "Out of memory" in caplog.text


@pytest.mark.slow
def test_other_errors_and_bad_input_are_raised():
    with pytest.raises(DataError, match="batch"):
        score_pool(detector(), [], batch=0)
    with pytest.raises(DataError, match="duplicates"):
        score_pool(detector(), [(1, picture(0)[0])] * 2)
    with pytest.raises(DataError, match="uint8"):
        score_pool(detector(), [(1, np.zeros((4, 4, 3)))])


def test_a_file_holds_what_the_pool_in_memory_holds(tmp_path):
    path, one, seen = tmp_path / "pool.safetensors", detector(seed=2), {}
    counts = score_to_file(
        path, one, iter(pictures()), on_image=seen.__setitem__, batch=3, about="tiny",
        embedding_dtype="float32",
    )  # fmt: skip
    pool, back = score_pool(one, pictures(), batch=3), load_pool(path)
    assert counts == (5, len(pool.instances)) and list(seen) == list(range(100, 105))
    for name in ("image_ids", "sizes", "mask_areas", "image_embeddings"):
        assert np.array_equal(getattr(back, name), getattr(pool, name))
    for name in ("image_index", "boxes", "scores", "labels", "class_probs", "embeddings"):
        assert np.array_equal(getattr(back.instances, name), getattr(pool.instances, name))
    assert np.array_equal(back.uncertainty.se, pool.uncertainty.se)
    assert read_header(path).model == "tiny" and read_header(path).label_names == LABELS.names


@pytest.mark.parametrize("embedding", ["mask", "box"])
def test_a_file_of_no_images_has_shapes(tmp_path, embedding):
    path = tmp_path / "pool.safetensors"
    assert score_to_file(path, detector(), [], embedding=embedding) == (0, 0)
    back = load_pool(path)
    assert back.instances.embeddings.shape == (0, 16)
    assert back.image_embeddings.shape == (0, TINY.fpn_width)


def test_a_failed_scoring_leaves_no_file(tmp_path):
    broken = [*pictures(), (100, picture(0)[0])]
    with pytest.raises(DataError, match="duplicates: 100"):
        score_to_file(tmp_path / "pool.safetensors", detector(), broken)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_joined_pools_keep_rows_and_places():
    pool = score_pool(detector(seed=2), pictures())
    halves = [pool.subset(np.arange(2)), pool.subset(np.arange(2, 5))]
    back = join_pools(halves)
    assert np.array_equal(back.instances.image_index, pool.instances.image_index)
    assert np.array_equal(back.instances.embeddings, pool.instances.embeddings)
    assert np.array_equal(back.image_ids, pool.image_ids)
    with pytest.raises(DataError, match="duplicates"):
        join_pools([pool, halves[0]])

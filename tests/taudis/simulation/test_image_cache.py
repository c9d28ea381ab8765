"""Decoded images are read once, in bounded memory, and train as they would without the cache."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from taudis.data.coco import load_coco
from taudis.detector.architecture import ModelConfig
from taudis.simulation.image_cache import EvaluationImages, ImageCache, TrainingImages
from taudis.training.samples import Prepared, prepare
from tests.taudis.detector_cases import TINY
from tests.taudis.simulation.simulation_cases import RECIPE, write_data

SMALLER = replace(TINY, max_size=48)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = write_data(tmp_path_factory.mktemp("cache") / "data", images=6)
    return load_coco(folder / "instances.json", folder)[1]


@pytest.fixture
def decoded(samples, monkeypatch):
    """The rows that were decoded, in order."""
    rows, usual = [], type(samples).image

    def counted(self, index):
        rows.append(index)
        return usual(self, index)

    monkeypatch.setattr(type(samples), "image", counted)
    return rows


def same(one, other):
    return np.array_equal(one[0], other[0]) and np.array_equal(one[1].masks, other[1].masks)


def test_an_image_is_decoded_once_for_all_that_read_it(samples, decoded):
    cache = ImageCache(samples, 2, SMALLER)
    for _ in range(2):
        for row in range(6):
            cache.image(row)
            cache.training_pair(row)
            EvaluationImages(cache, [row])[0]
    assert decoded == [0, 1, 2, 3, 4, 5]


def test_pairs_are_those_of_the_training_and_stay_as_they_are(samples):
    cache, images = ImageCache(samples, 2, SMALLER), TrainingImages
    recipe = replace(RECIPE, model=SMALLER)
    own = Prepared(images(cache, [4, 1]), recipe, 2)
    for place, row in enumerate((4, 1)):
        wanted = prepare(*samples[row], SMALLER, 2)
        assert wanted[0].shape == (48, 48, 3) and same(own[place], wanted)
        assert own[place][0] is cache.training_pair(row)[0], "no second copy in memory"
    assert images(cache, [4, 1]).labels_at(0).tolist() == samples.labels_at(4).tolist()


def test_a_size_that_would_be_resized_twice_is_left_to_the_training(samples):
    config = replace(ModelConfig.small(), min_size=7, max_size=1333)

    def odd(height, width):
        return (height - 1, width - 1)

    cache = ImageCache(samples, 2, config)
    object.__setattr__(config, "working_size", odd)
    assert same(cache.training_pair(0), samples[0])


def test_the_least_recently_used_go_first(samples, decoded):
    one = 64 * 64 * 3
    cache = ImageCache(samples, 2, TINY, limit=3 * one)
    for row in (0, 1, 2, 0, 3, 0, 1):
        cache.image(row)
        assert cache.bytes <= cache.limit
    assert decoded == [0, 1, 2, 3, 1]


def test_what_is_larger_than_the_limit_is_not_kept(samples, decoded):
    cache = ImageCache(samples, 2, TINY, limit=100)
    cache.image(0)
    cache.image(0)
    assert decoded == [0, 0] and cache.bytes == 0

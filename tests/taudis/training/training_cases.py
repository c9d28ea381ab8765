"""A quick recipe, and what the tests of training do with it."""

import torch

from taudis.training.train import Recipe, train
from tests.taudis.detector_cases import LABELS, TINY, Pictures

QUICK = Recipe(name="quick", steps=4, model=TINY, batch=2, crop=48, warmup=1, checkpoint_every=2)


def weights(detector):
    return detector.model.state_dict()


def assert_same(left, right):
    assert all(torch.equal(left[name], right[name]) for name in left)


def run(samples=None, recipe=QUICK, seed=1, **options):
    return train(Pictures(3) if samples is None else samples, LABELS, recipe, seed=seed, **options)

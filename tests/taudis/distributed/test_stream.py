"""Images that the caller reads, scored by actors: in order, and with what each death costs."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taudis.detector.checkpoint import load_checkpoint
from taudis.distributed.blocks import DIED
from taudis.distributed.stream import StreamWork, _Stream, score_stream
from taudis.scoring import join_pools, score_pool
from tests.taudis.distributed.ray_cases import make_set, same_arrays


def count_or_die(detection):
    """The number of detections; the process dies at an image of 40 x 40 px."""
    if detection.size == (40, 40):
        os.kill(os.getpid(), signal.SIGKILL)
    return len(detection.instances)


def pairs(samples):
    return [(number, samples.image(row)) for row, number in enumerate(samples.image_ids)]


@given(st.integers(0, 13), st.sets(st.integers(0, 12), max_size=2), st.randoms())
def test_answers_come_in_the_callers_order_whatever_dies(count, deadly, rng):
    left = {}
    images = ((n, np.zeros((1, 1, 3), np.uint8)) for n in range(count))
    stream, taken, given_out = _Stream(images, left.__setitem__), [], []
    while not stream.is_done:
        while (batch := stream.next(3)) is not None:
            given_out.append(batch)
        if given_out:
            batch = given_out.pop(rng.randrange(len(given_out)))
            if deadly.intersection(number for number, _ in batch.images):
                stream.died(batch)
            else:
                batch.found = batch.images
        taken += [number for number, _ in stream.take()]
    assert taken == [n for n in range(count) if n not in deadly]
    assert left == dict.fromkeys(sorted(deadly & set(range(count)), key=list(left).index), DIED)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_actors_give_the_pool_of_one_process(cluster, tmp_path):
    samples, model = make_set(tmp_path, 9)
    wanted = score_pool(load_checkpoint(model)[0].fast(), pairs(samples))
    work, left = StreamWork.of(model, "mask", count_or_die, 1), {}
    images = pairs(samples)
    images.insert(3, (7, np.zeros((40, 40, 3), np.uint8)))
    found = list(score_stream(cluster, work, images, actors=2, left_out=left.__setitem__))
    assert left == {7: DIED}
    assert [made for _, made in found] == [len(part.instances) for part, _ in found]
    assert same_arrays(join_pools([part for part, _ in found]), wanted)

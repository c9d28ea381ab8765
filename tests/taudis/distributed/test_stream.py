"""Images that the caller reads, scored by actors: in order, and with what each death costs."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taudis.detector.checkpoint import load_checkpoint
from taudis.distributed.blocks import DIED, MOST_DEATHS
from taudis.distributed.stream import Stream, StreamWork, score_stream
from taudis.errors import ClusterError
from taudis.scoring import join_pools, score_pool
from tests.taudis.distributed.ray_cases import make_set, same_arrays
from tests.taudis.distributed.stand_in import StandIn


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
    stream, taken, given_out = Stream(images, left.__setitem__), [], []
    while not stream.is_done:
        while (batch := stream.next(3)) is not None:
            given_out.append(batch)
        if given_out:
            batch = given_out.pop(rng.randrange(len(given_out)))
            if deadly.intersection(number for number, _ in batch.images):
                stream.died(batch)
            else:
                stream.finished(batch, batch.images)
        taken += [number for number, _ in stream.take()]
    assert taken == [n for n in range(count) if n not in deadly]
    assert left == dict.fromkeys(sorted(deadly & set(range(count)), key=list(left).index), DIED)


@given(st.integers(0, 13), st.integers(0, 3), st.sets(st.integers(0, 12), max_size=1))
def test_the_rest_is_all_that_was_not_taken(count, steps, deadly):
    images, left = ((n, np.zeros((1, 1, 3), np.uint8)) for n in range(count)), {}
    stream, taken = Stream(images, left.__setitem__), []
    for _ in range(steps):
        batch = stream.next(2)
        while batch is not None and deadly.intersection(number for number, _ in batch.images):
            stream.died(batch)
            batch = stream.next(2)
        if batch is not None:
            stream.finished(batch, batch.images)
    taken = [number for number, _ in stream.take()]
    assert taken + [n for n, _ in stream.rest()] == [n for n in range(count) if n not in left]


def test_without_images_no_actor_starts(tmp_path):
    ray = StandIn()
    _, model = make_set(tmp_path, 1)
    work = StreamWork.of(model, "mask", count_or_die, 1)
    assert list(score_stream(ray.cluster(), work, Stream(iter(())))) == [] and not ray.log


def test_many_deaths_without_a_finished_batch_stop_ray():
    images = ((n, np.zeros((1, 1, 3), np.uint8)) for n in range(8))
    left = {}
    stream = Stream(images, left.__setitem__)
    with pytest.raises(ClusterError, match=f"{MOST_DEATHS + 1} times"):
        while True:
            stream.died(stream.next(8))
    assert [n for n, _ in stream.rest()] == [n for n in range(8) if n not in left]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_actors_give_the_pool_of_one_process(cluster, tmp_path):
    samples, model = make_set(tmp_path, 9)
    wanted = score_pool(load_checkpoint(model)[0].fast(), pairs(samples))
    work, left = StreamWork.of(model, "mask", count_or_die, 1), {}
    images = pairs(samples)
    images.insert(3, (7, np.zeros((40, 40, 3), np.uint8)))
    found = list(score_stream(cluster, work, Stream(images, left.__setitem__), actors=2))
    assert left == {7: DIED}
    assert [made for _, made in found] == [len(part.instances) for part, _ in found]
    assert same_arrays(join_pools([part for part, _ in found]), wanted)

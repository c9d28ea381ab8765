"""What ray's errors mean to the driver: a death that costs a batch, or an error that says why."""

from __future__ import annotations

import sys
import time

import pytest
from ray import exceptions

from taudis.distributed import actors
from taudis.distributed.actors import Actors
from taudis.distributed.cluster import connected
from taudis.errors import ClusterError, DataError
from tests.taudis.distributed.stand_in import NEVER, StandIn

DEATHS = [
    exceptions.ActorDiedError(),
    exceptions.ActorUnavailableError("not reached", b"0" * 16),
    exceptions.NodeDiedError("its node died"),
    exceptions.OutOfMemoryError("the node was short of memory"),
    exceptions.WorkerCrashedError(),
    exceptions.ObjectLostError("0" * 56, None, ""),
    exceptions.OwnerDiedError("0" * 56, None, ""),
]
OTHERS = [
    exceptions.OutOfDiskError("the disk is full"),
    exceptions.RaySystemError("a part of ray failed"),
    exceptions.RayTaskError("score", "the traceback", KeyError("x")),
]


class Doubler:
    """An actor."""

    def prepare(self):
        """It needs nothing."""

    def double(self, number):
        return 2 * number


@pytest.mark.parametrize("death", DEATHS, ids=lambda each: type(each).__name__)
def test_a_death_ends_the_actor_before_another_takes_its_place(death):
    fates = iter([death])
    ray = StandIn(lambda _, method, __: next(fates, None) if method == "double" else None)
    with Actors(ray.cluster(), Doubler, (), 1, 1) as pool:
        (started,) = pool.answers()
        pool.give(started.actor, 4, lambda one: one.double.remote(4))
        (dead,) = pool.answers()
        assert (dead.actor, dead.work) == (None, 4)
        (again,) = pool.answers()
        pool.give(again.actor, 4, lambda one: one.double.remote(4))
        assert [answer.value for answer in pool.answers()] == [8]
    first, second = (one for word, one in ray.log if word == "start")
    assert ray.log == [("start", first), ("kill", first), ("start", second)]


@pytest.mark.parametrize("error", OTHERS, ids=lambda each: type(each).__name__)
def test_every_other_error_of_ray_is_one_of_ours(error):
    ray = StandIn(lambda *_: error)
    with Actors(ray.cluster(), Doubler, (), 1, 1) as pool, pytest.raises(ClusterError) as raised:
        list(pool.answers())
    assert raised.value.__cause__ is error and str(error) in str(raised.value)


@pytest.mark.parametrize("error", [*DEATHS, *OTHERS[:2]], ids=lambda each: type(each).__name__)
def test_a_task_that_ray_gave_up_says_what_to_do(error):
    ray = StandIn(lambda *_: error)
    with pytest.raises(ClusterError, match="run the command again"):
        ray.cluster().result(ray.call(None, "edges"))


def test_errors_of_ray_itself_in_the_block_are_ours(monkeypatch):
    ray = StandIn()
    ray.is_initialized, ray.cluster_resources = lambda: True, dict
    monkeypatch.setitem(sys.modules, "ray", ray)
    with pytest.raises(ClusterError, match="LocalRayletDiedError"), connected("auto"):
        raise exceptions.LocalRayletDiedError


def test_actors_that_die_as_they_start_end_the_run():
    ray = StandIn(lambda *_: DEATHS[0])
    with Actors(ray.cluster(), Doubler, (), 1, 1) as pool, pytest.raises(DataError, match="5 act"):
        while True:
            assert not list(pool.answers())


@pytest.mark.parametrize("after", [0, 1])
def test_a_cluster_without_room_is_not_waited_for(monkeypatch, after):
    """Neither at the start nor once the last actor died."""
    monkeypatch.setattr(actors, "START_SECONDS", 0.0)
    fates = iter([None, DEATHS[0]][: 2 * after])
    ray = StandIn(lambda *_: next(fates, NEVER), free={"CPU": 0.5})
    asked = r"no actor started.* 1 were asked for, with 1 CPU each.* free: 0\.5 CPU and 0 GPU"
    with Actors(ray.cluster(), Doubler, (), 1, 1) as pool, pytest.raises(ClusterError, match=asked):
        for _ in range(9):
            for answer in pool.answers():
                if answer.actor is not None:
                    pool.give(answer.actor, 4, lambda one: one.double.remote(4))


def test_actors_that_work_are_waited_for(monkeypatch):
    monkeypatch.setattr(actors, "START_SECONDS", 0.0)
    ray = StandIn(lambda _, method, __: NEVER if method == "double" else None)
    with Actors(ray.cluster(), Doubler, (), 1, 1) as pool:
        (started,) = pool.answers()
        pool.give(started.actor, 4, lambda one: one.double.remote(4))
        assert not list(pool.answers()) and pool.busy == 1


def test_a_process_that_hangs_ends_the_run_although_others_answer():
    hangs = []
    ray = StandIn(lambda one, method, _: NEVER if method == "double" and one in hangs else None)
    with Actors(ray.cluster(2), Doubler, (), 2, 2, longest=0.05) as pool:
        first, second = (answer.actor for _ in range(2) for answer in pool.answers())
        hangs.append(first.one)
        pool.give(first, 1, lambda one: one.double.remote(1))
        end = time.monotonic() + 10
        with pytest.raises(ClusterError, match="did not answer within"):
            while time.monotonic() < end:
                pool.give(second, 2, lambda one: one.double.remote(2))
                assert [answer.value for answer in pool.answers()] == [4]

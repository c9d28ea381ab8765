"""The connection: what is said without ray and without an answer, and which address is meant."""

from __future__ import annotations

import socket
import sys

import numpy as np
import pytest

from taudis.distributed import cluster
from taudis.distributed.cluster import Cluster, connected
from taudis.errors import DataError
from taudis.selection.graph import edges_between, using_edges
from taudis.selection.params import Labelled, SelectionParams
from taudis.selection.strategies import STRATEGIES, query
from tests.taudis.cli.cli_cases import run


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DataError, match=r"taudis-label-studio\[ray\]"), connected("local"):
        pass


def test_nothing_that_answers_is_said_at_once():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(DataError, match="expected a cluster at"), connected(address):
        pass


@pytest.mark.parametrize(
    ("cpus", "gpus", "wanted", "found"),
    [
        (4, 0, None, (4, {"num_cpus": 1})),
        (4, 2, None, (2, {"num_cpus": 1, "num_gpus": 1})),
        (0, 0, None, (1, {"num_cpus": 1})),
        (4, 0, 9, (9, {"num_cpus": 1})),
    ],
)
def test_actors_are_one_a_gpu_or_one_a_core(cpus, gpus, wanted, found):
    assert Cluster(None, cpus, gpus).actors(wanted) == found
    assert "num_gpus" not in Cluster(None, cpus, gpus).actors(wanted, "cpu")[1]
    with pytest.raises(DataError, match="1 or more"):
        Cluster(None, cpus, gpus).actors(0)


@pytest.mark.parametrize(
    ("given", "address"),
    [
        (("--ray",), "local"),
        (("--ray", "--seed", "3"), "local"),
        (("--ray", "auto"), "auto"),
        (("--ray", "10.0.0.1:6379", "--seed", "3"), "10.0.0.1:6379"),
    ],
)
def test_the_option_may_stand_without_an_address(monkeypatch, given, address):
    asked = []

    def stand_in(where):
        asked.append(where)
        raise DataError("no cluster here")

    monkeypatch.setattr(cluster, "connected", stand_in)
    done = run("select", "pool.json", 2, *given)
    assert asked == [address] and "no cluster here" in str(done.exception)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (("--only", "ids.txt"), "--only"),
        (("--least-score", 0.3), "--least-score"),
        (("--strategy", "wse"), "got wse, for which a cluster does nothing"),
        (("--strategy", "core_set"), "got core_set"),
    ],
)
def test_what_a_cluster_does_not_go_with_is_said_before_it_starts(monkeypatch, given, named):
    monkeypatch.setattr(cluster, "connected", None)
    done = run("select", "pool.json", 2, *given, "--ray")
    assert isinstance(done.exception, DataError) and named in str(done.exception)
    done = run("select", "pool.npz", 2, "--ray")
    assert isinstance(done.exception, DataError) and "pool.npz is read into" in str(done.exception)


@pytest.mark.parametrize("name", STRATEGIES)
def test_strategies_say_whether_they_compute_similarities(build, name):
    pool, seen = build.mixed_pool(12, seed=1), []

    def maker(candidates, columns, sigma, own, progress):
        seen.append(len(candidates))
        return edges_between(candidates, columns, sigma)

    known = Labelled(
        4.0, np.asarray(pool.image_embeddings), pool.image_ids, pool.instances.embeddings
    )
    with using_edges(maker):
        query(name, pool, budget=2, labelled=known, params=SelectionParams(), seed=0)
    assert STRATEGIES[name].edges == bool(seen)

"""One cluster for all tests of this folder: each of its nodes takes seconds to start."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.taudis.distributed.ray_cases import Nodes

# Read by ray's own processes: no usage report leaves, and local nodes need no token.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
# Ray runs its workers at niceness 15: on a busy machine they would hardly run.
os.environ.setdefault("RAY_worker_niceness", "0")


@pytest.fixture(scope="session")
def nodes() -> Iterator[Nodes]:
    import ray

    found = Nodes()
    yield found
    ray.shutdown()
    found.cluster.shutdown()


@pytest.fixture
def cluster(nodes: Nodes) -> Iterator[object]:
    from taudis.distributed.cluster import connected

    with connected(nodes.address) as found:
        yield found

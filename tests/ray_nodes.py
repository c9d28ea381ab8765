"""A pytest plugin: one ray cluster of several nodes on this machine, for all tests that ask for it.

Each of its nodes takes seconds to start. Who asks for none imports no ray.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

NODES = 2
STORE = 80_000_000  # bytes, the least that ray takes: an object that spilled would show


class Nodes:
    """A head without cores and two nodes of two cores each, all on this machine."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster: Any = None
        self.nodes: list[Any] = []
        try:
            self.cluster = _again(
                lambda: Cluster(
                    initialize_head=True,
                    head_node_args={**_COMMON, "num_cpus": 0, "include_dashboard": False,
                                    "no_monitor": True},
                )
            )  # fmt: skip
            self.fill()
        except BaseException:
            self.shut_down()
            raise

    def fill(self) -> None:
        """Start nodes until there are two."""
        while len(self.nodes) < NODES:
            self.nodes.append(_again(lambda: self.cluster.add_node(num_cpus=2, **_COMMON)))

    def shut_down(self) -> None:
        """End all processes of the cluster, also of one that was never whole."""
        import ray

        ray.shutdown()
        if self.cluster is not None:
            self.cluster.shutdown()

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return str(self.cluster.address)

    def kill(self, node_id: str) -> None:
        """Kill all processes of a node, as a power cut does."""
        node = next(node for node in self.nodes if node.node_id == node_id)
        self.nodes.remove(node)
        self.cluster.remove_node(node, allow_graceful=False)


_COMMON = {"include_log_monitor": False, "object_store_memory": STORE}


def _again(start: Any) -> Any:
    """What `start` gives. A node has 15 s to start; a loaded machine may need more tries."""
    for _ in range(4):
        try:
            return start()
        except Exception as error:  # noqa: BLE001 - ray raises Exception itself
            last = error
    raise last


@pytest.fixture(scope="session")
def nodes() -> Iterator[Nodes]:
    # Read by ray's own processes: no usage report leaves, local nodes need no token, and workers
    # run at the niceness of the tests. Ray's 15 would hardly let them run on a busy machine.
    usual = {"USAGE_STATS_ENABLED": "0", "AUTH_MODE": "disabled", "worker_niceness": "0"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in usual.items():
            patch.setenv(f"RAY_{name}", os.environ.get(f"RAY_{name}", value))
        found = Nodes()
        yield found
        found.shut_down()


@pytest.fixture
def cluster(nodes: Nodes) -> Iterator[object]:
    from taudis.distributed.cluster import connected

    with connected(nodes.address) as found:
        yield found

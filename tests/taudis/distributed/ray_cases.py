"""A cluster of several nodes on this machine, and images that end the process that reads them."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from pathlib import Path, PosixPath
from typing import Any

import numpy as np
from PIL import Image

from taudis.data.coco import CocoSamples
from taudis.detector.checkpoint import save_checkpoint
from taudis.distributed.score_parts import Work
from tests.taudis.detector_cases import detector, picture

STORE = 80_000_000  # bytes, the least that ray takes: an object that spilled would show


class Nodes:
    """A head without cores and two nodes of two cores each, all on this machine."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster: Any = None
        self.cluster = _again(
            lambda: Cluster(
                initialize_head=True,
                head_node_args={**_COMMON, "num_cpus": 0, "include_dashboard": False,
                                "no_monitor": True},
            )
        )  # fmt: skip
        self.nodes = [_again(lambda: self.cluster.add_node(num_cpus=2, **_COMMON)) for _ in "ab"]

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


class DeadlyPath(PosixPath):
    """The path of a picture that ends every process that looks for it."""

    def is_file(self) -> bool:
        os.kill(os.getpid(), signal.SIGKILL)
        return False


class WaitingPath(PosixPath):
    """The path of a picture that the first process never gets; the next one does."""

    def is_file(self) -> bool:
        import ray

        flag = waiting_flag(self)
        try:
            with flag.open("x") as file:
                file.write(ray.get_runtime_context().get_node_id())
        except FileExistsError:
            return super().is_file()
        time.sleep(600)
        return False


def waiting_flag(path: Path) -> Path:
    """The file in which the process that waits names its node."""
    return Path(f"{path}.waits")


def make_set(folder: Path, count: int) -> tuple[CocoSamples, Path]:
    """`count` pictures with descending ids, and the checkpoint of a tiny model."""
    folder.mkdir(exist_ok=True)
    paths = tuple(folder / f"{n}.png" for n in range(count))
    for n, path in enumerate(paths):
        Image.fromarray(picture(n)[0]).save(path)
    save_checkpoint(folder / "model", detector(seed=2), card={})
    ids, names = tuple(range(500, 500 - count, -1)), tuple(path.name for path in paths)
    samples = CocoSamples(ids, names, ((64, 64),) * count, ((),) * count, {}, folder, paths)
    return samples, folder / "model"


def with_path(samples: CocoSamples, row: int, kind: type[PosixPath]) -> CocoSamples:
    """The samples with another kind of path for one picture."""
    paths = tuple(kind(p) if n == row else p for n, p in enumerate(samples.paths))
    return dataclasses.replace(samples, paths=paths)


def work_in(folder: Path, model: Path) -> Work:
    """Work with parts in a folder `pool.parts`."""
    return Work(model, folder / "pool.parts", "mask", "tiny")


def same_arrays(one: Any, other: Any) -> bool:
    """Whether two pools hold the same bits, in the order of their image ids."""
    return all(np.array_equal(a, b) for a, b in zip(_sorted(one), _sorted(other), strict=True))


def _sorted(pool: Any) -> list[Any]:
    pool = pool.subset(np.argsort(pool.image_ids, kind="stable"))
    order = np.argsort(pool.instances.image_index, kind="stable")
    rows, measures = pool.instances, pool.uncertainty
    return [
        pool.image_ids, pool.sizes, np.asarray(pool.image_embeddings),
        *(np.asarray(getattr(rows, name))[order] for name in (
            "image_index", "boxes", "scores", "labels", "class_probs", "embeddings")),
        *(getattr(measures, name)[order] for name in ("cm", "ce", "se")), pool.mask_areas[order],
    ]  # fmt: skip

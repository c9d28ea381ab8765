"""Images that end or stop the process that reads them, and pools that are compared bit by bit."""

from __future__ import annotations

import dataclasses
import json
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
        time.sleep(600)  # the test kills this node meanwhile
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


def coco_of(samples: CocoSamples, folder: Path) -> Path:
    """A COCO file of the pictures of `make_set`, in a folder."""
    rows = zip(samples.image_ids, samples.file_names, strict=True)
    images = [{"id": n, "file_name": name, "width": 64, "height": 64} for n, name in rows]
    path = folder / "coco.json"
    path.write_text(json.dumps({"images": images}))
    return path


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

"""A pool as several files and a manifest, for the tests of both."""

from __future__ import annotations

import numpy as np

from taudis.data.pool_format import PoolHeader
from taudis.data.pool_manifest import Manifest, Part, write_manifest
from taudis.data.pool_reader import save_pool

NAMES = ("a", "b", "c")


def write_parts(folder, pool, count, names=NAMES):
    """The pool as `count` files of neighbouring images and a manifest; returns its path."""
    (folder / "pool.parts").mkdir(parents=True, exist_ok=True)
    parts = []
    for number, rows in enumerate(np.array_split(np.arange(len(pool)), count)):
        part, file = pool.subset(rows), f"pool.parts/{number}.safetensors"
        save_pool(folder / file, part, label_names=names, model="a model")
        parts.append(Part(file, len(part), len(part.instances)))
    write_manifest(
        folder / "pool.json", Manifest(tuple(parts), PoolHeader(names, "a model"), {7: "torn"})
    )
    return folder / "pool.json"

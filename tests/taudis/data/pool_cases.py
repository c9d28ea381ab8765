"""Pools of random numbers for the tests of pool files, and a file written without our writer."""

from __future__ import annotations

import numpy as np
from safetensors.numpy import save_file

from taudis.data.pool_format import ARRAYS, INSTANCES, MEASURES, POOL
from taudis.types import Instances, Pool, Uncertainty

METADATA = {"format": "taudis-pool", "format_version": "1"}


def make_pool(
    images=3, found=(2, 0, 3), *, labels=2, width=4, seed=0, dtype=np.float32, first=10
) -> Pool:
    """A pool of random numbers with `found[i]` instances in image i."""
    rng, n = np.random.default_rng(seed), sum(found)
    probs = rng.dirichlet(np.ones(labels + 1), n).astype(np.float32)
    corner = rng.uniform(0, 30, (n, 2)).astype(np.float32)
    picked = rng.integers(1, labels + 1, n)
    instances = Instances(
        image_index=np.repeat(np.arange(images), found),
        boxes=np.concatenate([corner, corner + 5], axis=1),
        scores=probs[np.arange(n), picked],
        labels=picked,
        class_probs=probs.reshape(n, labels + 1),
        embeddings=rng.normal(size=(n, width)).astype(dtype),
    )
    return Pool(
        image_ids=np.arange(first, first + images),
        sizes=np.tile([48, 64], (images, 1)),
        instances=instances,
        uncertainty=Uncertainty(*rng.uniform(0, 0.69, (3, n)).astype(np.float32)),
        mask_areas=rng.uniform(1, 25, n).astype(np.float32),
        image_embeddings=rng.normal(size=(images, 6)).astype(dtype),
    )


def arrays_of(pool: Pool) -> dict[str, np.ndarray]:
    owners = dict.fromkeys(POOL, pool) | dict.fromkeys(INSTANCES, pool.instances)
    owners |= dict.fromkeys(MEASURES, pool.uncertainty)
    return {name: np.asarray(getattr(owners[name], name)) for name in ARRAYS}


def same(one: Pool, other: Pool, *, dtypes: bool = True) -> None:
    for name, array in arrays_of(one).items():
        theirs = arrays_of(other)[name]
        assert array.shape == theirs.shape and np.array_equal(array, theirs), name
        assert not dtypes or array.dtype == theirs.dtype, name


def write_arrays(path, arrays, metadata=METADATA):
    """A pool file by other hands than ours: safetensors' own writer."""
    save_file({name: np.ascontiguousarray(a) for name, a in arrays.items()}, path, metadata)

"""Scored pools on disk: one .npz of plain arrays, never pickles."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np

from taudis.errors import DataError
from taudis.instances import Instances, Pool, Uncertainty

_POOL = ("image_ids", "sizes", "mask_areas", "image_embeddings")
_INSTANCES = ("image_index", "boxes", "scores", "labels", "class_probs", "embeddings")
_UNCERTAINTY = ("cm", "ce", "se")


def save_pool(path: Path, pool: Pool) -> None:
    """Write a pool without its masks; the file is there wholly or not at all. Raises OSError."""
    arrays = {name: getattr(pool, name) for name in _POOL}
    arrays |= {name: getattr(pool.instances, name) for name in _INSTANCES}
    arrays |= {name: getattr(pool.uncertainty, name) for name in _UNCERTAINTY}
    draft = path.with_name(f".{path.name}.draft")
    with draft.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def load_pool(path: Path) -> Pool:
    """The inverse of `save_pool`. Raises DataError for a file that is none or is damaged."""
    try:
        # np.load leaks the file it opened itself when the content is none of its own
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return Pool(
                **{name: arrays[name] for name in _POOL},
                instances=Instances(**{name: arrays[name] for name in _INSTANCES}),
                uncertainty=Uncertainty(**{name: arrays[name] for name in _UNCERTAINTY}),
            )
    except (OSError, KeyError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path}: expected a pool written by `score`: {error}. Score the images again."
        ) from error

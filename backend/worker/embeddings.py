"""The image embeddings of a project without a model, kept on disk between its first rounds."""

from __future__ import annotations

import hashlib
import json
import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from backend.images.decode import Pixels
from taudis import files
from taudis.types import Float32

if TYPE_CHECKING:
    from taudis.detector.image_embedding import ImageEmbedder

logger = logging.getLogger(__name__)

FILE = "image_embeddings.npz"
"""File in the folder of a project's rounds. The step `pruned` deletes it once a model exists."""


class KeptEmbeddings:
    """Task -> embedding [D] of the task's current image.

    addresses: task -> current address of its image. Embeddings of other tasks or other addresses
    are dropped. A file that is damaged or was made by another embedder is replaced.
    """

    def __init__(self, path: Path, embedder: ImageEmbedder, addresses: Mapping[int, str]) -> None:
        self.path, self.embedder = path, embedder
        self._digests = {task: _digest(address) for task, address in addresses.items()}
        files.remove_drafts(path)
        kept = self._read()
        self._vectors: dict[int, Float32] = {
            task: vector
            for task, (digest, vector) in kept.items()
            if self._digests.get(task) == digest
        }

    def _read(self) -> dict[int, tuple[str, Float32]]:
        """The file of an earlier run: task -> digest of its image's address, and embedding."""
        if not self.path.exists():
            return {}
        try:
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as found:
                if str(found["made_by"]) != self.embedder.made_by:
                    return {}
                tasks, digests = found["tasks"].tolist(), json.loads(str(found["digests"]))
                rows = zip(digests, found["vectors"], strict=True)
                return dict(zip(tasks, rows, strict=True))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            logger.warning("%s is damaged, and made anew: %s", self.path, error)
            return {}

    def save(self) -> None:
        """Write all embeddings to disk atomically. Raises OSError."""
        tasks = list(self._vectors)
        vectors = np.zeros((len(tasks), self.embedder.width), np.float32)
        for row, vector in enumerate(self._vectors.values()):
            vectors[row] = vector
        with files.draft_file(self.path, private=True) as draft:
            np.savez(
                draft,
                tasks=np.array(tasks, np.int64),
                digests=json.dumps([self._digests[task] for task in tasks]),
                vectors=vectors,
                made_by=self.embedder.made_by,
            )

    def add(self, task: int, image: Pixels) -> None:
        """Embed the image of a task."""
        self._vectors[task] = self.embedder.embed(image)

    def __contains__(self, task: int) -> bool:
        return task in self._vectors

    def __getitem__(self, task: int) -> Float32:
        return self._vectors[task]


def _digest(address: str) -> str:
    """A digest instead of the address, which may hold a whole image or a secret signature."""
    return hashlib.sha256(address.encode("utf-8", "surrogatepass")).hexdigest()

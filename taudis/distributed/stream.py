"""Scores images that the caller reads, by actors of a ray cluster, in the caller's order.

It is for images that only the caller can read, such as those of a server with credentials. The
pixels and the checkpoint's files are sent to the actors. The actors return pool rows and the result
of `StreamWork.finish` for each detection. Deaths of actors are handled as in
`taudis.distributed.blocks`.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from taudis.detector.checkpoint import load_checkpoint
from taudis.detector.memory import FreePages
from taudis.distributed.actors import Actors, Answer
from taudis.distributed.blocks import BATCH, DEATHS_ALONE, DEATHS_TOGETHER, DIED, MOST_DEATHS
from taudis.distributed.cluster import Cluster, device_of_this_actor
from taudis.errors import ClusterError, TaudisError
from taudis.files import scratch_folder
from taudis.scoring import batches, score_images
from taudis.types import Detection, Embedding, Image, Pool

PATIENCE = 60.0
"""Seconds without any started actor after which the cluster counts as failed. The caller then
scores the images itself, within its own time limit (`SCORE_SECONDS` is 300)."""
LONGEST = 300.0
"""Seconds that a batch, four images, may take. A process that hangs would otherwise hold the round
for ever."""
AHEAD = 3  # batches per actor that may be in work, or scored but not taken
Made = TypeVar("Made")


@dataclass(frozen=True, eq=False)
class StreamWork(Generic[Made]):
    """The data that all actors share."""

    checkpoint: dict[str, bytes]  # name of a file of the checkpoint -> its content
    embedding: Embedding
    finish: Callable[[Detection], Made]  # runs on the actors, which must have its module
    threads: int = 1  # CPU threads of an actor's model

    @classmethod
    def of(
        cls,
        checkpoint: Path,
        embedding: Embedding,
        finish: Callable[[Detection], Made],
        threads: int,
    ) -> StreamWork[Made]:
        """The work, with the files of the folder `checkpoint`. Raises OSError."""
        files = {path.name: path.read_bytes() for path in sorted(checkpoint.iterdir())}
        return cls(files, embedding, finish, threads)


class StreamScorer:
    """An actor with the model."""

    def __init__(self, work: StreamWork[Any]) -> None:
        self.work, self.free_pages = work, FreePages()

    def prepare(self) -> None:
        """Load the checkpoint. Raises CheckpointError."""
        import torch

        torch.set_num_threads(self.work.threads)
        with scratch_folder(Path(tempfile.gettempdir()), "taudis-") as folder:
            for name, content in self.work.checkpoint.items():
                (folder / name).write_bytes(content)
            self.detector = load_checkpoint(folder, device=device_of_this_actor())[0].fast()

    def score(self, images: list[tuple[int, Image]]) -> list[tuple[Pool, Any]]:
        """For each image: its pool of one image, and the result of `finish`."""
        found = [
            (part, self.work.finish(detection))
            for part, detection in score_images(
                self.detector, images, embedding=self.work.embedding, batch=BATCH
            )
        ]
        self.free_pages.give_back_if_grown()
        return found


@dataclass(eq=False)
class _Batch:
    """Images that are scored together."""

    images: list[tuple[int, Image]]
    deaths: int = 0
    found: list[tuple[Pool, Any]] | None = None  # None: not yet


class Stream:
    """The batches of the caller's images, in the caller's order, until their results are taken."""

    def __init__(
        self,
        images: Iterable[tuple[int, Image]],
        left_out: Callable[[int, str], None] = lambda _, __: None,
    ) -> None:
        """images: (image id, uint8 [H,W,3] RGB) pairs, read when they are needed.

        left_out: called with the id and the reason of an image whose process died each time.
        """
        self._source, self._left_out = batches(images, BATCH), left_out
        self._order: deque[_Batch] = deque()  # read, but not yet taken
        self._again: list[_Batch] = []  # to be given out before new batches
        self._ended = False  # whether all images are read
        self._deaths = 0  # deaths since the last finished batch

    @property
    def is_done(self) -> bool:
        """Whether all results are taken and no image is left."""
        return self._ended and not self._order

    def has_work(self) -> bool:
        """Whether there is a batch to score. It is read, and `next` returns it."""
        batch = self.next(1)
        if batch is not None:
            self._again.append(batch)
        return batch is not None

    def next(self, ahead: int) -> _Batch | None:
        """The next batch to score; None if there is none, or `ahead` batches are not yet taken."""
        if self._again:
            return self._again.pop()
        if self._ended or len(self._order) >= ahead:
            return None
        images = next(self._source, None)
        if images is None:
            self._ended = True
            return None
        batch = _Batch(list(images))  # a copy: the source empties its list
        self._order.append(batch)
        return batch

    def finished(self, batch: _Batch, found: list[tuple[Pool, Any]]) -> None:
        """Store the results of a batch."""
        batch.found, self._deaths = found, 0

    def died(self, batch: _Batch) -> None:
        """Put back a batch whose process died.

        It is scored again. After more deaths its images are scored one by one, and at last left
        out. Raises ClusterError after many deaths without a finished batch, because then the images
        are not the cause.
        """
        self._deaths += 1
        if self._deaths > MOST_DEATHS:
            raise ClusterError(
                f"ray: processes died {self._deaths} times, and none finished its images. Look at"
                " the memory of the nodes and at ray's logs."
            )
        batch.deaths += 1
        if len(batch.images) == 1 and batch.deaths >= DEATHS_ALONE + DEATHS_TOGETHER:
            self._left_out(batch.images[0][0], DIED)
            batch.found = []
        elif len(batch.images) > 1 and batch.deaths >= DEATHS_TOGETHER:
            at = self._order.index(batch)
            singles = [_Batch([image], batch.deaths) for image in batch.images]
            del self._order[at]
            for single in reversed(singles):
                self._order.insert(at, single)
            self._again += reversed(singles)
        else:
            self._again.append(batch)

    def take(self) -> Iterator[tuple[Pool, Any]]:
        """The results that are finished and next in the caller's order."""
        while self._order and self._order[0].found is not None:
            yield from self._order.popleft().found or ()

    def rest(self) -> Iterator[tuple[int, Image]]:
        """The images whose results were not taken, in the caller's order, without those left out.

        It is for scoring them elsewhere. The stream cannot be used after it.
        """
        while self._order:
            batch = self._order.popleft()
            if batch.found != []:
                yield from batch.images
        for images in self._source:
            yield from images


def score_stream(
    cluster: Cluster, work: StreamWork[Made], stream: Stream, *, actors: int | None = None
) -> Iterator[tuple[Pool, Made]]:
    """For each image, in order: its pool of one image, and the result of `finish`.

    Only a few images are read ahead. Without images no actor starts. Raises ClusterError if the
    cluster fails, or a batch takes longer than LONGEST; `stream.rest` then gives the images whose
    results were not taken.
    """
    if not stream.has_work():
        return
    idle = deque[Any]()
    shared = cluster.ray.put(work)  # once for all actors
    wanted, _ = cluster.actors(actors)
    with Actors(
        cluster, StreamScorer, (shared,), actors, wanted, PATIENCE, longest=LONGEST
    ) as pool:
        while not stream.is_done:
            for answer in _answers(pool, 0.1 if idle else 1.0):
                if answer.actor is None:
                    stream.died(answer.work)
                    continue
                if answer.work is not None:
                    stream.finished(answer.work, answer.value)
                idle.append(answer.actor)
            while idle and (batch := stream.next(AHEAD * pool.count)) is not None:
                _give(pool, idle.popleft(), batch)
            yield from stream.take()


def _answers(pool: Actors, seconds: float) -> list[Answer]:
    """The next answers. Raises ClusterError for every error.

    The caller then scores the images itself, which shows an error that an image causes.
    """
    try:
        return list(pool.answers(seconds))
    except ClusterError:
        raise
    except (TaudisError, OSError) as error:
        raise ClusterError(f"ray: a process on a node failed: {error}") from error


def _give(pool: Actors, actor: Any, batch: _Batch) -> None:
    pool.give(actor, batch, lambda one: one.score.remote(batch.images))

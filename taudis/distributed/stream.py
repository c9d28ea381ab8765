"""Scores images that the caller reads, by actors of a ray cluster, in the caller's order.

For images that only the caller can get, such as those of a server that asks for credentials. Pixels
and the checkpoint's files travel to the actors; pool rows, and what the caller makes of each
detection, travel back. A process that dies costs its batch, as in `taudis.distributed.blocks`.
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
"""Seconds without any actor that has started, after which the cluster fails: the caller can score
by itself, and its own time runs (`SCORE_SECONDS` is 300)."""
AHEAD = 3  # batches an actor that are read, or scored and not yet taken
Made = TypeVar("Made")


@dataclass(frozen=True, eq=False)
class StreamWork(Generic[Made]):
    """What all actors share."""

    checkpoint: dict[str, bytes]  # name -> content of the checkpoint's files
    embedding: Embedding
    finish: Callable[[Detection], Made]  # of a module that the nodes have
    threads: int = 1  # CPU threads of an actor's model

    @classmethod
    def of(
        cls,
        checkpoint: Path,
        embedding: Embedding,
        finish: Callable[[Detection], Made],
        threads: int,
    ) -> StreamWork[Made]:
        """The work with the checkpoint of a folder. Raises OSError."""
        files = {path.name: path.read_bytes() for path in sorted(checkpoint.iterdir())}
        return cls(files, embedding, finish, threads)


class StreamScorer:
    """An actor: a process with the model."""

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
        """Each image's share of the pool, and what `finish` makes of its detection."""
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
    """The batches between the caller's images and what the caller takes."""

    def __init__(
        self,
        images: Iterable[tuple[int, Image]],
        left_out: Callable[[int, str], None] = lambda _, __: None,
    ) -> None:
        """images: (image id, uint8 [H,W,3] RGB) pairs, asked for as they are needed.

        left_out: gets the id of an image whose process died each time, and the reason.
        """
        self._source, self._left_out = batches(images, BATCH), left_out
        self._order: deque[_Batch] = deque()  # given out or finished, not yet taken
        self._again: list[_Batch] = []
        self._ended = False
        self._deaths = 0  # since the last batch that was finished

    @property
    def is_done(self) -> bool:
        """Whether all was taken and no image is left."""
        return self._ended and not self._order

    def has_work(self) -> bool:
        """Whether there is a batch to score; it is read, and the next one to be given out."""
        batch = self.next(1)
        if batch is not None:
            self._again.append(batch)
        return batch is not None

    def next(self, ahead: int) -> _Batch | None:
        """The next batch to score; None if none is left, or `ahead` of them wait to be taken."""
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
        """A batch is scored."""
        batch.found, self._deaths = found, 0

    def died(self, batch: _Batch) -> None:
        """A process died with a batch: it is scored again, later one by one, at last left out.

        Raises ClusterError after many deaths without a batch that was finished: it is not the
        images then.
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
        """What is finished, in the caller's order."""
        while self._order and self._order[0].found is not None:
            yield from self._order.popleft().found or ()

    def rest(self) -> Iterator[tuple[int, Image]]:
        """The images that were not taken, in the caller's order, without those left out.

        For scoring them elsewhere: nothing is taken from here after that.
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
    """Each image's share of the pool, and what `finish` made of its detection, in their order.

    The images are asked for a few ahead of what is scored. Without images no actor starts. Raises
    ClusterError where the cluster fails: `stream.rest` has the images that were not taken.
    """
    if not stream.has_work():
        return
    idle = deque[Any]()
    shared = cluster.ray.put(work)  # once for all actors
    wanted, _ = cluster.actors(actors)
    with Actors(cluster, StreamScorer, (shared,), actors, wanted, PATIENCE) as pool:
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
    """The next answers. Raises ClusterError alone: an image's own fault shows elsewhere, too."""
    try:
        return list(pool.answers(seconds))
    except ClusterError:
        raise
    except (TaudisError, OSError) as error:
        raise ClusterError(f"ray: a process on a node failed: {error}") from error


def _give(pool: Actors, actor: Any, batch: _Batch) -> None:
    pool.give(actor, batch, lambda one: one.score.remote(batch.images))

"""Scores a list of images by actors of a ray cluster, into several pool files with a manifest.

The driver gives out blocks of the list (`taudis.distributed.blocks`). An actor loads the checkpoint
once and writes a pool file for each block. Blocks and batches depend only on the list, so the pool
is the same for any number of actors, and after a death. After two deaths in a batch its images are
scored one by one. The fast Mask R-CNN gives the same bits then; a Mask2Former differs in the last
bits, as it does beside an image that cannot be decoded. All nodes must see the checkpoint, the
images and the folder of the parts under the same paths.
"""

from __future__ import annotations

import dataclasses
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from taudis.data.coco import CocoSamples
from taudis.data.pool_format import PoolHeader
from taudis.data.pool_manifest import Manifest, Part
from taudis.data.pool_writer import PoolWriter
from taudis.detector.card import code_version, read_card
from taudis.detector.checkpoint import load_checkpoint
from taudis.detector.memory import FreePages
from taudis.distributed.actors import Actors
from taudis.distributed.blocks import (
    BATCH,
    DIED,
    Block,
    PartsFolder,
    Record,
    Todo,
    block_size,
    blocks_of,
)
from taudis.distributed.cluster import Cluster, device_of_this_actor
from taudis.errors import DataError, ImageNotRead
from taudis.files import SUMS, sha256_of
from taudis.scoring import empty_pool, score_images
from taudis.simulation.data_set import pictures_sha256
from taudis.types import Embedding, Image


@dataclasses.dataclass(frozen=True)
class Work:
    """The data that all actors of a run share."""

    checkpoint: Path
    parts: Path
    embedding: Embedding
    about: str  # free text about the model, stored in the parts
    threads: int = 1  # CPU threads of an actor's model

    @property
    def folder(self) -> PartsFolder:
        """The folder of the parts."""
        return PartsFolder(self.parts)


@dataclasses.dataclass(frozen=True)
class Progress:
    """The progress of a run, over all actors."""

    done: int  # scored images, including those of an earlier driver
    total: int  # images
    rate: float  # images per second since this driver started
    actors: int  # number of working actors


@dataclasses.dataclass(frozen=True)
class Scored:
    """The result of a run."""

    manifest: Manifest
    made: int  # images that this driver's actors scored
    seconds: float
    cpu_seconds: float  # of the actors' processes, while they scored
    redone: int  # number of times a block was given out again after a death
    actors: int


class Scorer:
    """An actor with the model. It keeps no state between blocks."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def prepare(self) -> int:
        """Load the checkpoint. Returns the process id. Raises CheckpointError and DataError."""
        import torch

        torch.set_num_threads(self.work.threads)
        if not (self.work.parts / "plan.json").is_file():
            raise DataError(
                f"{self.work.parts}: expected the folder of the parts, node {os.uname().nodename}"
                " does not see it. Put it where all nodes see it under one path."
            )
        self.detector = load_checkpoint(self.work.checkpoint, device=device_of_this_actor())[
            0
        ].fast()
        return os.getpid()

    def score(self, block: Block, samples: CocoSamples) -> Record:
        """Score the images of a block, and write its part and its record.

        samples: the images of the block. Raises DataError if this node does not see an image, and
        OSError.
        """
        began, free_pages, folder = time.process_time(), FreePages(), self.work.folder
        unreadable = dict.fromkeys(sorted(block.without), DIED)
        rows = [n for n, number in enumerate(samples.image_ids) if number not in unreadable]
        with PoolWriter(
            folder.part(block), label_names=self.detector.label_map.names, model=self.work.about
        ) as writer:
            writer.append(empty_pool(self.detector, self.work.embedding))
            for batch in _batches(rows, samples, block):
                ids = " ".join(str(samples.image_ids[row]) for row in batch)
                folder.mark(block).write_text(ids, encoding="ascii")
                images = _readable(batch, samples, unreadable)
                for part, _ in score_images(self.detector, images, embedding=self.work.embedding):
                    writer.append(part)
                free_pages.give_back_if_grown()
        seconds, pictures = time.process_time() - began, pictures_sha256(samples)
        record = Record(writer.images, writer.instances, unreadable, seconds, pictures)
        folder.finish(block, record)
        return record


def _batches(rows: list[int], samples: CocoSamples, block: Block) -> Iterator[list[int]]:
    """The batches of rows; a batch with images in `block.alone` is divided into single rows."""
    for start in range(0, len(samples), BATCH):
        batch = [row for row in rows if start <= row < start + BATCH]
        if block.alone.intersection(samples.image_ids[row] for row in batch):
            yield from ([row] for row in batch)
        elif batch:
            yield batch


def _readable(
    rows: list[int], samples: CocoSamples, unreadable: dict[int, str]
) -> Iterator[tuple[int, Image]]:
    """The images of these rows. An image that cannot be decoded is added to `unreadable`.

    Raises DataError for a file that this node cannot read. The driver has read it, so the node is
    at fault; to leave the image out would remove all images of this node from the pool.
    """
    for row in rows:
        number = samples.image_ids[row]
        try:
            image = samples.image(row)
        except (ImageNotRead, OSError) as error:
            raise DataError(
                f"node {os.uname().nodename} cannot read image {number}: {error} All nodes must see"
                f" {samples.paths[row].parent}. Mend that and run the command again: it goes on"
                " from its parts."
            ) from error
        except DataError as error:
            unreadable[number] = f"node {os.uname().nodename}: {error}"
            continue
        yield number, image


def score_parts(
    cluster: Cluster,
    work: Work,
    samples: CocoSamples,
    *,
    actors: int | None = None,
    size: int | None = None,
    held: bool = False,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Scored:
    """Score all images into the folder of the parts, or continue with the parts in it.

    Blocks with unreadable images are scored again, because the images may be readable now. So are
    blocks whose pictures changed.

    actors: their number; None: one per GPU, or one per core without GPUs. size: images per block, a
    multiple of BATCH; None: by the number of images. held: whether the caller holds `only_driver`
    of the folder. Raises DataError if the folder has the parts of another run or another driver is
    working in it, and the errors of loading the checkpoint.
    """
    bare = dataclasses.replace(samples, annotations=((),) * len(samples))
    blocks = blocks_of(len(samples), size or block_size(len(samples)))
    with nullcontext() if held else only_driver(work.parts):
        work.folder.join(_plan(work, bare, len(blocks[0])))
        driver = _Driver(cluster, work, bare, blocks, on_progress)
        driver.run(actors)
        return driver.outcome(_manifest(work, blocks))


def _manifest(work: Work, blocks: list[Block]) -> Manifest:
    """The manifest, after all blocks are done."""
    parts, left = [], dict[int, str]()
    for block in blocks:
        record = work.folder.record(block)
        if record is None:
            raise DataError(f"{work.parts}: the record of block {block.number} was removed.")
        file = f"{work.parts.name}/{work.folder.part(block).name}"
        parts.append(Part(file, record.images, record.instances))
        left |= record.unreadable
    names = tuple(read_card(work.checkpoint)["labels"])
    return Manifest(tuple(parts), PoolHeader(names, work.about), left)


def _plan(work: Work, samples: CocoSamples, size: int) -> dict[str, Any]:
    """The data that the parts depend on; a run continues only if it is equal."""
    import hashlib

    images = hashlib.sha256()
    for row in zip(samples.image_ids, samples.file_names, samples.sizes, strict=True):
        images.update(f"{row}\n".encode("utf-8", "surrogateescape"))
    return {
        "checkpoint": sha256_of(work.checkpoint / SUMS),
        "images": images.hexdigest(),
        "embedding": work.embedding,
        "block": size,
        "about": work.about,
        "release": code_version(),
    }


@contextmanager
def only_driver(folder: Path) -> Iterator[None]:
    """Make the folder, and hold its lock in a `with` block.

    Raises DataError if another driver has the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataError(
                f"{folder}: another driver scores into it ({error.strerror})."
            ) from error
        try:
            still = os.path.samestat(os.fstat(file.fileno()), (folder / "lock").stat())
        except FileNotFoundError:
            still = False
        if not still:
            raise DataError(f"{folder}: another driver has just removed it. Run the command again.")
        yield


class _Driver:
    """Gives out blocks to actors until all are done."""

    def __init__(
        self,
        cluster: Cluster,
        work: Work,
        samples: CocoSamples,
        blocks: list[Block],
        on_progress: Callable[[Progress], None],
    ) -> None:
        self.cluster, self.work, self.samples, self.tell = cluster, work, samples, on_progress
        records = [(block, work.folder.begin(block, self._pictures(block))) for block in blocks]
        self.todo = Todo([block for block, record in records if record is None])
        self.done = sum(len(block) for block, record in records if record is not None)
        self.made = self.count = 0
        self.cpu_seconds, self.began = 0.0, time.monotonic()

    def _pictures(self, block: Block) -> Callable[[], str]:
        """A function for the checksum of a block's pictures."""
        return lambda: pictures_sha256(self.samples.subset(range(block.start, block.stop)))

    def run(self, wanted: int | None) -> None:
        """Score all remaining blocks."""
        with Actors(self.cluster, Scorer, (self.work,), wanted, len(self.todo)) as actors:
            self.count = actors.count
            while actors.busy or len(self.todo):
                for answer in actors.answers():
                    if answer.actor is None:
                        self._died(answer.work)
                        continue
                    if answer.work is not None:
                        self._add(answer.work, answer.value, actors.busy + 1)
                    self._give(actors, answer.actor)

    def _give(self, actors: Actors, actor: Any) -> None:
        """Give an actor the next block, or end the actor if there is none."""
        block = self.todo.next()
        if block is None:
            actors.dismiss(actor)
            return
        rows = self.samples.subset(range(block.start, block.stop))
        actors.give(actor, block, lambda one: one.score.remote(block, rows))

    def _died(self, block: Block) -> None:
        """Put back the block of a dead process, with the images in its mark."""
        marked = self.work.folder.marked(block)
        ids = self.samples.image_ids[block.start : block.stop]
        before = ids[: ids.index(marked[0])] if marked and marked[0] in ids else ()
        self.todo.died(block, marked, len(before) - len(block.without.intersection(before)))

    def _add(self, block: Block, record: Record, busy: int) -> None:
        """Count a finished block and report the progress."""
        self.done, self.made = self.done + len(block), self.made + len(block)
        self.cpu_seconds += record.cpu_seconds
        for number, why in record.unreadable.items():
            if why != DIED:
                self._check_node(number, why)
        seconds = max(time.monotonic() - self.began, 1e-9)
        self.tell(Progress(self.done, len(self.samples), self.made / seconds, busy))

    def _check_node(self, number: int, why: str) -> None:
        """Raise DataError if the driver can decode an image that a node could not.

        Otherwise the pool would depend on the node that got the image.
        """
        try:
            self.samples.image(self.samples.image_ids.index(number))
        except (DataError, OSError):
            return
        raise DataError(
            f"{why} This machine can decode image {number}, so that node's copy of the file or its"
            " packages differ. Mend that and run the command again: it goes on from its parts."
        )

    def outcome(self, manifest: Manifest) -> Scored:
        """The result of the run."""
        seconds = time.monotonic() - self.began
        return Scored(manifest, self.made, seconds, self.cpu_seconds, self.todo.redone, self.count)

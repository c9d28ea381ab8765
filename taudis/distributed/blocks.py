"""Blocks of images that an actor scores at a time, and how deaths of actors are handled.

An actor writes a block as a pool file in the folder of the parts, and then a record beside it. A
block is done if it has a record, no matter which process wrote it or was killed.

While it works, an actor keeps a mark: a file with the image ids of the current batch. If the
process dies, the block is scored again. After a second death in the same batch, its images are
scored one by one. An image that is alone in two more deaths is left out, with a reason. The run
ends after many deaths without a mark, and if hardly any image of a block can be scored.
"""

from __future__ import annotations

import glob
import json
import secrets
import shutil
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taudis.errors import ClusterError, DataError
from taudis.files import move_into_place, write_json

BATCH = 4  # images in a batch of the model; the size of a block is a multiple of this
LEAST_BLOCK, MOST_BLOCKS = 16, 1024
"""Least number of images of a block, and most blocks of a list."""
DEATHS_TOGETHER, DEATHS_ALONE = 2, 2
"""Deaths after which images of a batch are scored one by one, and more until one is left out."""
MOST_DEATHS = 12
"""The run ends after more deaths, one after the other, without a suspected image."""
MOST_LEFT_OUT = 8
"""The run ends if more images of a block are left out, and also more than were scored: then the
images are not the cause."""
DIED = "The process that looked at it died each time."


def block_size(images: int) -> int:
    """Images per block, a multiple of BATCH: few, so that a death costs little, but few files."""
    wanted = max(LEAST_BLOCK, -(-images // MOST_BLOCKS))
    return -(-wanted // BATCH) * BATCH


@dataclass(frozen=True)
class Block:
    """Rows `start` to `stop` - 1 of the list of images."""

    number: int
    start: int
    stop: int
    alone: frozenset[int] = frozenset()  # image ids that are scored one by one
    without: frozenset[int] = frozenset()  # image ids that are left out

    def __len__(self) -> int:
        return self.stop - self.start


def blocks_of(images: int, size: int) -> list[Block]:
    """All blocks of a list. An empty list has a block without images.

    Raises DataError if the size is not a multiple of BATCH.
    """
    if size < 1 or size % BATCH:
        raise DataError(f"block: expected a multiple of {BATCH}, got {size}.")
    starts = range(0, max(images, 1), size)
    return [Block(n, start, min(start + size, images)) for n, start in enumerate(starts)]


@dataclass(frozen=True)
class Record:
    """The result of a block."""

    images: int
    instances: int
    unreadable: dict[int, str] = field(default_factory=dict)  # id of a missing image -> reason
    cpu_seconds: float = 0.0
    pictures: str = ""  # checksum of the image files; "" in records of older builds

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON values."""
        unreadable = {str(number): why for number, why in self.unreadable.items()}
        return {
            "images": self.images,
            "instances": self.instances,
            "unreadable": unreadable,
            "cpu_seconds": self.cpu_seconds,
            "pictures": self.pictures,
        }


@dataclass(frozen=True)
class PartsFolder:
    """The folder of a run's parts."""

    path: Path

    def part(self, block: Block) -> Path:
        """The pool file of a block."""
        return self.path / f"{block.number:05d}.safetensors"

    def mark(self, block: Block) -> Path:
        """The file with the ids of the images in work."""
        return self.path / f"{block.number:05d}.at"

    def _record(self, block: Block) -> Path:
        return self.path / f"{block.number:05d}.json"

    def record(self, block: Block) -> Record | None:
        """The record of a block; None if it is not done."""
        try:
            found = json.loads(self._record(block).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        unreadable = {int(number): str(why) for number, why in found["unreadable"].items()}
        return Record(
            found["images"], found["instances"], unreadable, found["cpu_seconds"],
            str(found.get("pictures", "")),
        )  # fmt: skip

    def begin(self, block: Block, pictures: Callable[[], str]) -> Record | None:
        """The record of a block from an earlier run; None if the block must be scored.

        A record with unreadable images, or of other pictures, is removed, so that the block is
        scored again. An old mark is removed, too. pictures: returns the checksum of the block's
        image files. Raises OSError.
        """
        self.mark(block).unlink(missing_ok=True)
        found = self.record(block)
        if found is None or (not found.unreadable and found.pictures == pictures()):
            return found
        self._record(block).unlink()
        return None

    def finish(self, block: Block, record: Record) -> None:
        """Write the record of a block, after its part. Raises OSError."""
        write_json(self._record(block), record.to_dict())
        self.mark(block).unlink(missing_ok=True)

    def marked(self, block: Block) -> list[int]:
        """The image ids in the mark of a block whose process died; [] without a mark.

        The mark is removed, because the next process may die before it writes its own.
        """
        try:
            text = self.mark(block).read_text(encoding="ascii")
            self.mark(block).unlink()
        except (OSError, ValueError):
            return []
        return [int(word) for word in text.split() if word.lstrip("-").isdecimal()]

    def join(self, plan: dict[str, Any]) -> None:
        """Start or continue a run in the folder. Raises DataError for a folder of another run."""
        self.path.mkdir(parents=True, exist_ok=True)
        file = self.path / "plan.json"
        if not file.exists():
            if any(self.path.glob("*.safetensors")):
                raise DataError(f"{self.path}: expected an empty folder, it holds other files.")
            write_json(file, plan)
            return
        found = json.loads(file.read_text(encoding="utf-8"))
        if found != plan:
            differs = sorted(key for key in plan | found if plan.get(key) != found.get(key))
            raise DataError(
                f"{self.path}: expected the parts of this run, it holds those of another"
                f" ({', '.join(differs)} differ). Remove the folder, or give another name."
            )

    def retire(self) -> None:
        """Rename the folder before its removal. Call this with its lock held. Raises OSError.

        The rename is atomic, so a run that starts now makes a new folder.
        """
        move_into_place(self.path, self._retired(secrets.token_hex(8)))

    def remove_retired(self) -> None:
        """Remove folders that `retire` renamed, also those that a killed driver left."""
        for left in self.path.parent.glob(self._retired("*", glob.escape(self.path.name)).name):
            shutil.rmtree(left, ignore_errors=True)

    def _retired(self, word: str, name: str | None = None) -> Path:
        return self.path.with_name(f".{name or self.path.name}.removed-{word}")


class Todo:
    """The remaining blocks, and the deaths of processes that worked on them."""

    def __init__(self, blocks: list[Block]) -> None:
        self._left = deque(blocks)
        self._vain: Counter[int] = Counter()  # block -> deaths since its suspects last changed
        self._together: Counter[int] = Counter()  # image id -> deaths with its batch
        self._alone: Counter[int] = Counter()  # image id -> deaths while it was scored alone
        self.redone = 0
        """Number of times a block was given out again."""

    def __len__(self) -> int:
        return len(self._left)

    def next(self) -> Block | None:
        """The next block to score; None if there is none."""
        return self._left.popleft() if self._left else None

    def died(self, block: Block, marked: list[int], scored: int = 0) -> None:
        """Put back a block whose process died.

        marked: the ids in its mark. scored: number of images of the block that were scored before.
        Raises ClusterError if the images do not seem to be the cause: after too many deaths without
        a suspected image, or if almost all images are left out.
        """
        self.redone += 1
        (self._alone if block.alone.issuperset(marked) else self._together).update(marked)
        alone = block.alone | {n for n in marked if self._together[n] >= DEATHS_TOGETHER}
        without = block.without | {n for n in marked if self._alone[n] >= DEATHS_ALONE}
        self._vain[block.number] += 1
        if (alone, without) != (block.alone, block.without):
            self._vain[block.number] = 0
        many = len(without) > max(MOST_LEFT_OUT, scored)
        if many or self._vain[block.number] > MOST_DEATHS:
            raise ClusterError(
                f"block {block.number}: its process died {self._vain[block.number] or DEATHS_ALONE}"
                f" times{' at almost every image' if many else ''}. Look at the memory of the"
                " machines and at ray's logs."
            )
        self._left.appendleft(Block(block.number, block.start, block.stop, alone, without))

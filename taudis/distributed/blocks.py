"""Blocks of images: what one actor scores at a time, which ones are done, and what a death costs.

A block becomes one pool file in the folder of the parts, and a record beside it that is written
last. So a block is done if its record is there, whoever wrote it and whatever was killed.

While an actor works it keeps a mark: the image ids of the batch at hand. If its process dies,
these are suspects, and the block is done again. Suspects of a second death are scored one by one.
An image that is alone when its process dies twice more is left out, with that reason. Deaths that
point at no image, and blocks of which hardly an image is scored, end the run.
"""

from __future__ import annotations

import glob
import json
import secrets
import shutil
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taudis.errors import ClusterError, DataError
from taudis.files import move_into_place, write_json

BATCH = 4  # images that a model looks at together; blocks are multiples of it
LEAST_BLOCK, MOST_BLOCKS = 16, 1024
"""Images of a block of a small list, and blocks of a large one."""
DEATHS_TOGETHER, DEATHS_ALONE = 2, 2
"""Deaths after which a batch is scored one by one, and after which such an image is left out."""
MOST_DEATHS = 12
"""Deaths, one after the other, that point at no image: then the run ends."""
MOST_LEFT_OUT = 8
"""Images of a block that may be left out, if fewer were scored: else it is not the images."""
DIED = "The process that looked at it died each time."


def block_size(images: int) -> int:
    """Images of a block, a multiple of BATCH: a death costs little, and files stay few."""
    wanted = max(LEAST_BLOCK, -(-images // MOST_BLOCKS))
    return -(-wanted // BATCH) * BATCH


@dataclass(frozen=True)
class Block:
    """Some images of the list: rows `start` to `stop`."""

    number: int
    start: int
    stop: int
    alone: frozenset[int] = frozenset()  # image ids that are scored one by one
    without: frozenset[int] = frozenset()  # image ids that are left out

    def __len__(self) -> int:
        return self.stop - self.start


def blocks_of(images: int, size: int) -> list[Block]:
    """All blocks of a list; one without images for an empty list.

    Raises DataError for a size that is no multiple of BATCH.
    """
    if size < 1 or size % BATCH:
        raise DataError(f"block: expected a multiple of {BATCH}, got {size}.")
    starts = range(0, max(images, 1), size)
    return [Block(n, start, min(start + size, images)) for n, start in enumerate(starts)]


@dataclass(frozen=True)
class Record:
    """What became of a block."""

    images: int
    instances: int
    unreadable: dict[int, str] = field(default_factory=dict)  # image id -> why it has no row
    cpu_seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON holds it."""
        unreadable = {str(number): why for number, why in self.unreadable.items()}
        return {
            "images": self.images,
            "instances": self.instances,
            "unreadable": unreadable,
            "cpu_seconds": self.cpu_seconds,
        }


@dataclass(frozen=True)
class PartsFolder:
    """The folder of a run's parts."""

    path: Path

    def part(self, block: Block) -> Path:
        """The pool file of a block."""
        return self.path / f"{block.number:05d}.safetensors"

    def mark(self, block: Block) -> Path:
        """The file that names the images at hand."""
        return self.path / f"{block.number:05d}.at"

    def _record(self, block: Block) -> Path:
        return self.path / f"{block.number:05d}.json"

    def record(self, block: Block) -> Record | None:
        """What became of a block; None if it is not done."""
        try:
            found = json.loads(self._record(block).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        unreadable = {int(number): str(why) for number, why in found["unreadable"].items()}
        return Record(found["images"], found["instances"], unreadable, found["cpu_seconds"])

    def begin(self, block: Block) -> Record | None:
        """What became of a block in an earlier run; None if it is to be done.

        The record of a block with unreadable images is removed: it is done again. A mark that was
        left says nothing of processes to come, and is removed. Raises OSError.
        """
        self.mark(block).unlink(missing_ok=True)
        found = self.record(block)
        if found is None or not found.unreadable:
            return found
        self._record(block).unlink()
        return None

    def finish(self, block: Block, record: Record) -> None:
        """Write the record of a block whose part is written. Raises OSError."""
        write_json(self._record(block), record.to_dict())
        self.mark(block).unlink(missing_ok=True)

    def marked(self, block: Block) -> list[int]:
        """The image ids of the mark of a block whose process died; [] without a mark.

        The mark is removed: the next process may die before it makes its own.
        """
        try:
            text = self.mark(block).read_text(encoding="ascii")
            self.mark(block).unlink()
        except (OSError, ValueError):
            return []
        return [int(word) for word in text.split() if word.lstrip("-").isdecimal()]

    def join(self, plan: dict[str, Any]) -> None:
        """Begin a run in the folder, or go on with it. Raises DataError if it is another run's."""
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
        """Take the folder's name away, for the holder of its lock. Raises OSError.

        One step for others: who begins now makes a new folder.
        """
        move_into_place(self.path, self._retired(secrets.token_hex(8)))

    def remove_retired(self) -> None:
        """Remove folders whose name was taken away, also those that a killed driver left."""
        for left in self.path.parent.glob(self._retired("*", glob.escape(self.path.name)).name):
            shutil.rmtree(left, ignore_errors=True)

    def _retired(self, word: str, name: str | None = None) -> Path:
        return self.path.with_name(f".{name or self.path.name}.removed-{word}")


class Todo:
    """The blocks that are left, and what is known of those whose process died."""

    def __init__(self, blocks: list[Block]) -> None:
        self._left = deque(blocks)
        self._vain: Counter[int] = Counter()  # deaths of a block since one pointed at an image
        self._together: Counter[int] = Counter()
        self._alone: Counter[int] = Counter()
        self.redone = 0
        """Blocks that were given out again."""

    def __len__(self) -> int:
        return len(self._left)

    def next(self) -> Block | None:
        """The next block to score; None if none is left to give out."""
        return self._left.popleft() if self._left else None

    def died(self, block: Block, marked: list[int], scored: int = 0) -> None:
        """A process died with this block.

        marked: the ids of its mark. scored: images of the block that it had scored before.
        Raises ClusterError if it does not seem to be the images: too many deaths point at none, or
        almost all are left out.
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

"""Turns Label Studio's annotations into training data, and splits off the validation images.

A hash of the task's id decides between training and validation, so a task never changes sides. One
annotation of a task counts: ground truth before others, then the latest by `updated_at`, then the
highest id. Cancelled annotations (skips) never count. An annotation without regions is a true
negative example.
"""

from __future__ import annotations

import hashlib
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np

from backend.errors import ImageError, ImageGone
from backend.images.decode import Pixels
from backend.images.source import ImageSource
from backend.label_studio.label_config import LabelConfig
from backend.label_studio.left_out import NO_ANNOTATION, LeftOut, of_region, of_task
from backend.label_studio.regions import Decoded, decode_annotation
from taudis.data.statistics import LabelStatistics, Tally
from taudis.training.crowds import hide_crowds
from taudis.types import IntArray, Target

Task = Mapping[str, Any]
Split = Literal["train", "validation"]

CACHE_BYTES = 512 << 20
CLOCKS_S = 300.0  # seconds by which Label Studio's clock may lag behind ours
_BUCKETS = 1 << 64


def choose_annotation(task: Task) -> dict[str, Any] | None:
    """The annotation of a task that counts; None if all were cancelled or there is none."""
    return max(submitted(task), key=_precedence, default=None)


def fingerprint(task: Task) -> tuple[int, str] | None:
    """The id and last update of a task's counting annotation; None if no annotation counts."""
    chosen = choose_annotation(task)
    return None if chosen is None else (int(chosen["id"]), str(chosen["updated_at"]))


def submitted(task: Task) -> list[dict[str, Any]]:
    """The annotations of a task that were not cancelled."""
    return [
        each
        for each in task.get("annotations") or ()
        if isinstance(each, dict) and not each.get("was_cancelled")
    ]


def _precedence(annotation: Mapping[str, Any]) -> tuple[bool, float, int]:
    truth, number = bool(annotation.get("ground_truth")), int(annotation.get("id") or 0)
    return truth, _edited_at(annotation), number


def _edited_at(annotation: Mapping[str, Any]) -> float:
    """When an annotation was last saved, in epoch seconds of Label Studio's clock."""
    return seconds_of(annotation.get("updated_at") or annotation.get("created_at"))


def seconds_of(when: Any) -> float:
    """An ISO 8601 time as epoch seconds; UTC if it has no zone, 0 if it is unreadable."""
    try:
        moment = datetime.fromisoformat(when)
    except (TypeError, ValueError):
        return 0.0
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def is_validation(project: int, task_id: int, fraction: float) -> bool:
    """Whether a task belongs to the validation split: a pure function of project, id and fraction.

    A task stays in its split whatever else is labelled. It moves only if the fraction changes: a
    larger fraction moves tasks from training to validation. With few labels the split may be empty.
    """
    digest = hashlib.sha256(f"taudis-validation:{project}:{task_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < fraction * _BUCKETS


@dataclass(frozen=True)
class Entry:
    """One labelled task of a snapshot."""

    task_id: int
    annotation_id: int
    updated_at: str
    split: Split


@dataclass(frozen=True)
class Snapshot:
    """The labels of a round. Each counting annotation is in one split, train or validation."""

    project: int
    labels: tuple[str, ...]
    entries: tuple[Entry, ...]
    skipped: tuple[int, ...] = ()  # tasks whose annotations were all cancelled
    superseded: int = 0  # annotations that do not count because another of the same task counts
    problems: tuple[str, ...] = ()

    def of(self, split: Split) -> tuple[Entry, ...]:
        """The entries of one split."""
        return tuple(entry for entry in self.entries if entry.split == split)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self) | {
            "labels": list(self.labels),
            "entries": [asdict(entry) for entry in self.entries],
            "skipped": list(self.skipped),
            "problems": list(self.problems),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Snapshot:
        """The snapshot from the values of `to_json`."""
        return cls(
            project=value["project"],
            labels=tuple(value["labels"]),
            entries=tuple(Entry(**entry) for entry in value["entries"]),
            skipped=tuple(value["skipped"]),
            superseded=int(value.get("superseded", 0)),
            problems=tuple(value["problems"]),
        )


def take_snapshot(
    project: int, tasks: Sequence[Task], config: LabelConfig, fraction: float
) -> Snapshot:
    """The snapshot of a project's annotated tasks, ordered by task id.

    `problems` names used labels that are missing in the config. Their regions are not trained on,
    which a person should know.
    """
    entries: list[Entry] = []
    skipped: list[int] = []
    superseded = 0
    unknown: dict[str, int] = {}
    for task in sorted(tasks, key=lambda task: int(task["id"])):
        task_id, chosen = int(task["id"]), choose_annotation(task)
        if chosen is None:
            if task.get("annotations"):
                skipped.append(task_id)
            continue
        split: Split = "validation" if is_validation(project, task_id, fraction) else "train"
        superseded += len(submitted(task)) - 1
        when = str(chosen.get("updated_at") or "")
        entries.append(Entry(task_id, int(chosen.get("id") or 0), when, split))
        for label in _unknown_labels(chosen, config):
            unknown[label] = unknown.get(label, 0) + 1
    problems = tuple(
        f"Label {label!r} is in {count} tasks but not in the labelling config; its regions are "
        "painted out. Put the label back, or label them again."
        for label, count in unknown.items()
    )
    names = config.label_map.names
    return Snapshot(project, names, tuple(entries), tuple(skipped), superseded, problems)


def _unknown_labels(annotation: Mapping[str, Any], config: LabelConfig) -> set[str]:
    """Labels of the annotation that are missing in their label tags."""
    found: set[str] = set()
    for region in _result(annotation):
        control = config.control(str(region.get("from_name"))) if isinstance(region, dict) else None
        if control is None or not isinstance(region.get("value"), dict):
            continue
        given = region["value"].get(control.result_type)
        labels = (
            [each for each in given if isinstance(each, str)] if isinstance(given, list) else []
        )
        found.update(label for label in labels if control.label(label) is None)
    return found


def _result(annotation: Mapping[str, Any]) -> list[Any]:
    result = annotation.get("result")
    return result if isinstance(result, list) else []


@dataclass(frozen=True, eq=False)
class _Packed:
    """A target in the cache. Its masks are compressed bits, about a hundred times smaller."""

    target: Target  # without its masks
    masks: bytes
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return len(self.masks) + self.target.boxes.nbytes + 200

    @classmethod
    def of(cls, target: Target) -> _Packed:
        shape = target.masks.shape
        bare = Target(
            target.boxes, target.labels, np.zeros((len(target), 0, 0), bool), target.iscrowd
        )
        return cls(bare, zlib.compress(np.packbits(target.masks).tobytes(), 1), shape)

    def unpack(self) -> Target:
        count = int(np.prod(self.shape))
        bits = np.unpackbits(np.frombuffer(zlib.decompress(self.masks), np.uint8), count=count)
        masks = bits.astype(bool).reshape(self.shape)
        return Target(self.target.boxes, self.target.labels, masks, self.target.iscrowd)


class AnnotatedSamples:
    """Labelled tasks as training samples: `len()` and `[i] -> (image, target)`.

    The constructor loads every image and decodes every annotation once. `left_out` lists what is
    not used. A whole task is left out if its image cannot be read, or if the pixels of one of its
    regions are unknown, because that object would train as background. A region with known pixels
    but an unknown label is painted over in the image, so it is neither object nor background.

    Images come from the disk cache of `images`, targets from a bounded memory cache. Thread-safe.

    Raises StudioUnreachable or StudioAuthError, and ImageGone if an image cannot be read again.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        config: LabelConfig,
        images: ImageSource,
        *,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.config = config
        self.images = images
        self._room = cache_bytes
        self._cache: OrderedDict[int, _Packed] = OrderedDict()
        self._held = 0  # bytes in the cache
        self._lock = threading.Lock()
        tally = Tally()
        self.tasks, self.left_out = self._usable(tasks, tally)
        self.task_ids = tuple(int(task["id"]) for task in self.tasks)
        self.statistics: LabelStatistics = tally.statistics()

    def identity(self) -> object:
        """A value that differs for other tasks or annotations."""
        return [(int(task["id"]), fingerprint(task)) for task in self.tasks]

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, index: int) -> tuple[Pixels, Target]:
        """The image, RGB uint8 [H,W,3], and its target. Raises IndexError beyond the last."""
        return hide_crowds(*self.with_crowds(index))

    def with_crowds(self, index: int) -> tuple[Pixels, Target]:
        """Image and target without painting over: regions with unknown labels stay as crowds."""
        task = self.tasks[index]
        try:
            image = self._image(task)
            return image, self._target(task, image)
        except ImageError as error:  # it was readable at first, so its storage fails for now
            raise ImageGone(f"Task {task['id']}: {error}") from error

    def labels_at(self, index: int) -> IntArray:
        """The labels [n] of an image's instances, from the cache if it still has them."""
        task = self.tasks[index]
        with self._lock:
            packed = self._cache.get(int(task["id"]))
        if packed is None:
            return self[index][1].labels
        return packed.target.labels[~packed.target.iscrowd]

    def _image(self, task: Task, since: float = 0.0) -> Pixels:
        """The task's image, from a file that was fetched at `since` (epoch seconds) or later."""
        data = task.get("data")
        address = self.config.image.address(data if isinstance(data, dict) else {})
        return self.images.load(address, task=int(task["id"]), since=since)

    def _target(self, task: Task, image: Pixels) -> Target:
        task_id = int(task["id"])
        with self._lock:
            packed = self._cache.get(task_id)
            if packed is not None:
                self._cache.move_to_end(task_id)
        if packed is not None and packed.shape[1:] == image.shape[:2]:
            return packed.unpack()
        target = self._decoded(task, image).target
        if target is None:
            raise ImageError(f"Task {task['id']}: no target, though the image's size is known.")
        self._keep(task_id, _Packed.of(target))
        return target

    def _decoded(self, task: Task, image: Pixels) -> Decoded:
        """The target in the image's size, and the regions that cannot be used."""
        height, width = image.shape[:2]
        result = _result(choose_annotation(task) or {})
        return decode_annotation(result, self.config, size=(height, width))

    def _of_its_image(self, task: Task, started: float) -> Decoded:
        """The target in the image that the annotator saw, and the regions that cannot be used.

        If the regions do not fit a cached file that is older than they are, the file may have been
        replaced at its address before the annotation, so it is fetched once more. A cached file
        that fits is kept: the annotator saw it, whatever the address holds now.
        """
        decoded = self._decoded(task, self._image(task))
        if any(problem.kind == "other_image" for problem in decoded.problems):
            drawn = _edited_at(choose_annotation(task) or {}) + CLOCKS_S
            decoded = self._decoded(task, self._image(task, min(drawn, started)))
        return decoded

    def _keep(self, task_id: int, packed: _Packed) -> None:
        with self._lock:
            before = self._cache.pop(task_id, None)
            self._cache[task_id] = packed
            self._held += packed.nbytes - (before.nbytes if before else 0)
            while self._held > self._room:
                self._held -= self._cache.popitem(last=False)[1].nbytes

    def _usable(
        self, tasks: Sequence[Task], tally: Tally
    ) -> tuple[list[Task], tuple[LeftOut, ...]]:
        """The tasks that can be trained on, and what was left out. Adds the targets to `tally`."""
        started = time.time()
        usable: list[Task] = []
        left_out: list[LeftOut] = []
        for task in tasks:
            task_id = int(task["id"])
            if choose_annotation(task) is None:
                reason = "it has no annotation that was not cancelled."
                left_out.append(of_task(task_id, reason, NO_ANNOTATION))
                continue
            try:
                decoded = self._of_its_image(task, started)
            except ImageError as error:
                left_out.append(of_task(task_id, str(error)))
                continue
            left_out += [of_region(task_id, problem) for problem in decoded.problems]
            dropped = any(problem.effect == "dropped" for problem in decoded.problems)
            if dropped or decoded.target is None:
                continue
            self._keep(task_id, _Packed.of(decoded.target))
            usable.append(task)
            tally.add_target(decoded.target)
        return usable, tuple(left_out)

"""The head of a project's queue for the status page: small pictures of the next images with masks.

The worker writes a folder for the served version: `head.json` and one picture for each task. The
web process reads it. If the folder is deleted, the worker makes a new one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from backend.errors import StoreError
from backend.store.predictions import path_of
from taudis import files

VISIBLE = 12
"""Number of images on the status page."""
FORM = 3


@dataclass(frozen=True)
class QueueImage:
    """One of the next images."""

    task: int
    rank: int  # in the whole order, 1 is the first
    reason: str
    found: Mapping[str, int] = field(default_factory=dict)  # label -> number of masks drawn
    size: tuple[int, int] | None = None  # height and width of the picture in px; None: no picture
    note: str = ""  # why there is no picture, or no mask in the picture
    again: float = 0.0  # when to retry the picture, seconds since 1970; 0: never


@dataclass(frozen=True)
class QueueHead:
    """The next images of a version's order, in the order in which they are served."""

    stamp: Sequence[Any]  # the inputs; the head is outdated if they differ now
    labels: Sequence[str]  # labels of the config
    colours: Sequence[tuple[int, int, int]]  # RGB of each label's masks, 0 to 255
    images: Sequence[QueueImage]

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> QueueHead:
        """The head from its written JSON. Raises KeyError or TypeError for other JSON."""
        if values["form"] != FORM:
            raise KeyError("form")
        images = [QueueImage(**image) for image in values["images"]]
        colours = [(red, green, blue) for red, green, blue in values["colours"]]
        return cls(values["stamp"], values["labels"], colours, images)


def folder_of(data_dir: Path, project: int, version: str) -> Path:
    """The folder of a version. Raises StoreError for a name that is not ours."""
    name = path_of(data_dir, project, version).stem
    return data_dir / "queue" / str(int(project)) / name


def picture_of(data_dir: Path, project: int, version: str, task: int) -> Path:
    """The picture of a task (JPEG). Raises StoreError as `folder_of` does."""
    return folder_of(data_dir, project, version) / f"{int(task)}.jpg"


def read(data_dir: Path, project: int, version: str) -> QueueHead | None:
    """The head of a version's queue; None if there is none, or another release wrote it."""
    try:
        text = (folder_of(data_dir, project, version) / "head.json").read_text(encoding="utf-8")
        return QueueHead.from_json(json.loads(text))
    except (OSError, ValueError, KeyError, TypeError, StoreError):
        return None


def write(data_dir: Path, project: int, version: str, head: QueueHead) -> None:
    """Write the head atomically, and delete the pictures of tasks that left it."""
    folder = folder_of(data_dir, project, version)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # not made yet if there are no pictures
    values = {"form": FORM, **asdict(head)}
    files.write_json(folder / "head.json", values, private=True)
    _delete(folder.glob("*.jpg"), {f"{image.task}.jpg" for image in head.images})


def forget_others(data_dir: Path, project: int, version: str) -> None:
    """Delete the folders of a project's other versions."""
    folder = folder_of(data_dir, project, version)
    for other in folder.parent.glob("*"):
        if other != folder and other.is_dir():
            _delete(other.glob("*"), set())
            other.rmdir()


def _delete(paths: Iterable[Path], keep: set[str]) -> None:
    for path in paths:
        if path.name not in keep:
            path.unlink(missing_ok=True)

"""The next images of the queue: the reason for each, and its picture if there is one yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backend.errors import StoreError
from backend.settings import Settings
from backend.store import predictions, queue_head
from backend.store.projects import Project
from backend.store.queue_head import QueueHead, QueueImage


@dataclass(frozen=True)
class NextImage:
    """One of the next images."""

    task: int
    rank: int
    reason: str
    picture: str  # address of the picture; '' if there is none
    width: int
    height: int
    words: str  # the masks drawn, or why there are none
    link: str  # the task in Label Studio


@dataclass(frozen=True)
class NextImages:
    """The next images, and the labels of their masks, each with its colour as #rrggbb."""

    images: Sequence[NextImage]
    key: Sequence[tuple[str, str]]
    coming: bool  # whether the worker still has to make pictures


def next_images(settings: Settings, project: Project, link: str) -> NextImages | None:
    """The next images of a project; None before the first order, or if its file is gone.

    `link`: the project in Label Studio, or ''.
    """
    version = project.state.serving
    if not version:
        return None
    head = queue_head.read(settings.model_dir, project.id, version)
    if head is None:
        head = _without_pictures(settings, project.id, version)
    if head is None or not head.images:
        return None
    some = head.images[: queue_head.VISIBLE]
    drawn = {label for image in some for label in image.found}
    colours = zip(head.labels, head.colours, strict=True)
    key = [(name, "#{:02x}{:02x}{:02x}".format(*rgb)) for name, rgb in colours if name in drawn]
    return NextImages(
        [_image(project.id, version, image, link) for image in some],
        key,
        not all(image.size or image.note for image in some),
    )


def _without_pictures(settings: Settings, project: int, version: str) -> QueueHead | None:
    """The head of the order without pictures, until the worker has made them."""
    try:
        path = predictions.path_of(settings.model_dir, project, version)
        places = predictions.head(path, queue_head.VISIBLE)
    except StoreError:
        return None
    return QueueHead([], [], [], [QueueImage(each.task, each.rank, each.reason) for each in places])


def _image(project: int, version: str, image: QueueImage, link: str) -> NextImage:
    height, width = image.size or (0, 0)
    address = f"/projects/{project}/queue/{image.task}?{version}" if image.size else ""
    return NextImage(
        image.task,
        image.rank,
        image.reason,
        address,
        width,
        height,
        _words(image.found) or image.note,
        f"{link}?task={image.task}" if link else "",
    )


def _words(found: Mapping[str, int]) -> str:
    """The masks by label."""
    return ", ".join(f"{number} {label}" for label, number in found.items())

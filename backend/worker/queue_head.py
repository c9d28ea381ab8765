"""Makes the pictures of the next images of the queue, with masks, for the status page.

The cleaner calls `refresh` at every turn. It asks Label Studio only after a new version or new
labels, and it makes only missing pictures. The web process therefore never fetches or decodes an
image.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from backend.errors import ImageError, LabelConfigError, StoreError
from backend.label_studio.label_colours import RGB, label_colours
from backend.label_studio.label_config import LabelConfig, parse_label_config
from backend.store import predictions, queue_head
from backend.store.predictions import Place
from backend.store.queue_head import QueueHead, QueueImage
from backend.store.rounds import Round
from backend.worker.context import RoundContext, read_json
from backend.worker.made import labelled_since, maker
from backend.worker.thumbnails import thumbnail
from taudis import files

logger = logging.getLogger(__name__)

AHEAD = 2 * queue_head.VISIBLE  # pictures made together, so that not every new label needs one
SECONDS = 60.0  # time limit for the pictures of one turn
AGAIN_SECONDS = 3600.0  # pause before an unreadable image is tried again
NO_TASK = "its task is not in the files of the round any more"


def refresh(context: RoundContext) -> bool:
    """Update the pictures of the head of the served order. Returns whether anything changed.

    Raises StudioUnreachable or StudioAuthError if Label Studio cannot be used now.
    """
    state, project = context.load_project().state, context.project_id
    if not state.serving or not state.label_config:
        return False
    events = context.store.event_counts(project).get("changed", 0)
    stamp = [events, state.labelled_at, state.label_config]
    known = queue_head.read(context.data, project, state.serving)
    due = known is not None and any(_is_due(image) for image in known.images)
    if known is not None and list(known.stamp) == stamp and not due:
        return False
    made = maker(context, state.serving)
    if made is None:
        return False
    path = predictions.path_of(context.data, project, state.serving)
    try:
        places = predictions.head(path, AHEAD, labelled_since(context, made))
        config = parse_label_config(state.label_config)
        colours = label_colours(state.label_config, config.label_map.names)
        head = _Pictures(context, made, config, colours, state.serving, known).of(places)
    except (StoreError, LabelConfigError) as error:
        logger.warning("Project %s: no pictures of the queue: %s", project, error)
        return False
    labels = config.label_map.names
    whole = all(image.size or image.note for image in head)
    stamp = stamp if whole else []
    queue_head.write(context.data, project, state.serving, QueueHead(stamp, labels, colours, head))
    queue_head.forget_others(context.data, project, state.serving)
    return True


class _Pictures:
    """Makes the missing pictures of one version."""

    def __init__(
        self,
        context: RoundContext,
        made: Round,
        config: LabelConfig,
        colours: list[RGB],
        version: str,
        known: QueueHead | None,
    ) -> None:
        self._context, self._round, self._config, self._version = context, made, config, version
        self._colours = colours
        drawn = list(config.label_map.names), colours
        same = known is not None and (list(known.labels), list(known.colours)) == drawn
        self._known = {image.task: image for image in known.images} if known and same else {}
        self._data: Mapping[str, Any] | None = None

    def of(self, places: list[Place]) -> list[QueueImage]:
        """The images of these places. An image has no size if there was no time for its picture."""
        images = [self._kept(place) for place in places]
        near = images[: queue_head.VISIBLE]
        if all(image.size or image.note for image in near):
            return [image for image in images if image.size or image.note]
        deadline = time.monotonic() + SECONDS
        path = predictions.path_of(self._context.data, self._context.project_id, self._version)
        self._path(0).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with predictions.Stored.opened(path) as stored:
            for row, image in enumerate(images):
                if not (image.size or image.note) and time.monotonic() < deadline:
                    images[row] = self._made(image, stored)
        return images

    def _kept(self, place: Place) -> QueueImage:
        """The known entry of a place's image; without a size if its picture must be made."""
        fresh = QueueImage(place.task, place.rank, place.reason)
        before = self._known.get(place.task)
        if before is None or _is_due(before):
            return fresh
        if before.size and not self._path(place.task).exists():
            return fresh
        return replace(before, rank=place.rank, reason=place.reason)

    def _path(self, task: int) -> Any:
        context = self._context
        return queue_head.picture_of(context.data, context.project_id, self._version, task)

    def _made(self, image: QueueImage, stored: predictions.Stored) -> QueueImage:
        """The image with its picture, or with the reason why there is none."""
        regions = json.loads(stored.result(image.task))
        try:
            data = self._tasks().get(str(image.task))
            if data is None:
                return replace(image, note=f"no picture: {NO_TASK}")
            pixels = self._context.images.load(self._config.image.address(data), task=image.task)
            picture, size, found = thumbnail(pixels, regions, self._config, self._colours)
            files.write_bytes(self._path(image.task), picture, private=True, durable=False)
        except (ImageError, OSError) as error:
            again = time.time() + AGAIN_SECONDS
            return replace(image, note=f"no picture: {error}", again=again)
        note = "" if found else self._note(image.task, stored, regions)
        return replace(image, size=size, found=found, note=note)

    def _note(self, task: int, stored: predictions.Stored, regions: Sequence[Any]) -> str:
        """Why no mask is drawn."""
        if regions:
            return "its pre-annotations cannot be drawn at this size"
        if self._round.kind == "first":
            return "no model yet"
        if stored.is_blank(task):
            return "without pre-annotations on purpose (BLANK_SHARE)"
        return (
            "no detection is sure enough for a mask"
            if stored.was_scored(task)
            else "not scored yet"
        )

    def _tasks(self) -> Mapping[str, Any]:
        """The data of the round's unlabelled tasks by id, read once."""
        if self._data is None:
            path = self._context.round_dir(self._round) / "pool.json"
            self._data = read_json(path) if path.exists() else {}
        return self._data


def _is_due(image: QueueImage) -> bool:
    """Whether it is time to retry an unreadable image."""
    return 0 < image.again <= time.time()

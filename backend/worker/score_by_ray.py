"""Scores a round's images on the ray cluster of RAY_ADDRESS, or in this process without it.

The worker reads the images, so its credentials stay in its process. Ray actors receive pixels and
the checkpoint, and return pool rows and regions. Without RAY_ADDRESS, ray is not imported.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from typing import TypeVar

from backend.images.decode import Pixels
from backend.worker.context import RoundContext
from backend.worker.serving import Serving, embedding_of
from taudis import scoring
from taudis.errors import ClusterError
from taudis.types import Detection, Pool

logger = logging.getLogger(__name__)
Made = TypeVar("Made")


def scored_parts(
    context: RoundContext,
    serving: Serving,
    images: Iterator[tuple[int, Pixels]],
    finish: Callable[[Detection], Made],
    unreadable: dict[int, str],
) -> Generator[tuple[Pool, Made], None, None]:
    """Each image's part of the pool and `finish(detection)`, in the order of `images`.

    If an image crashes every process that scores it, the reason is added to `unreadable` under its
    task id. If the cluster does not answer, has no free actor or fails, this is logged and the
    remaining images are scored in this process, because annotators wait for the order. Errors of
    scoring propagate.
    """
    settings, left = context.settings, images
    embedding = embedding_of(serving.detector, settings.embedding)
    if settings.ray_address:
        # imported here, because ray is not installed without a cluster
        from taudis.distributed.cluster import connected
        from taudis.distributed.stream import Stream, StreamWork, score_stream

        folder = context.model_dir(serving.version)
        work = StreamWork.of(folder, embedding, finish, settings.torch_threads)
        stream = Stream(images, unreadable.__setitem__)
        try:
            with connected(settings.ray_address) as cluster:
                yield from score_stream(cluster, work, stream, actors=settings.ray_actors)
            return
        except ClusterError as error:
            logger.warning("Project %s: scoring in this process: %s", context.project_id, error)
        left = stream.rest()
    for part, detection in scoring.score_images(serving.detector, left, embedding=embedding):
        yield part, finish(detection)

"""Scoring of a round's images, on a ray cluster where RAY_ADDRESS names one, else in this process.

The worker reads the images, since its credentials stay with it. Actors get pixels and the
checkpoint, and return pool rows and regions. One machine imports no ray.
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
    """Each image's share of the pool, and what `finish` makes of its detection, in their order.

    The reason of an image that ends each process that looks at it goes to `unreadable`, by task id.
    A cluster that does not answer, has no place or fails is logged, and the images that are left
    are scored here: annotators wait for the order. Raises what scoring raises.
    """
    settings, left = context.settings, images
    embedding = embedding_of(serving.detector, settings.embedding)
    if settings.ray_address:
        # here, since one machine has no ray
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

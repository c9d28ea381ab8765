"""Actors of one kind that get work as they are ready; a dead one is replaced by a new one.

Ray's own restarts are not used: the caller must know what a death cost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from taudis.distributed.cluster import Cluster
from taudis.errors import ClusterError

if TYPE_CHECKING:
    from taudis.detector.device import Device

MOST_STARTS = 5
"""Actors that may die as they start, one after the other, before the run ends."""

START_SECONDS = 300.0
"""Time without any actor that has started, after which the run ends: else a cluster without a free
core would be waited for in silence. A machine that joins a cluster takes minutes."""


@dataclass(frozen=True)
class Answer:
    """What came of an actor's work."""

    actor: Any  # idle now; None: its process died
    work: Any  # what it was given; None: it has started
    value: Any = None  # what it returned


class Actors:
    """Some actors whose method `prepare` is called first; a context manager that ends them."""

    def __init__(
        self,
        cluster: Cluster,
        kind: type,
        arguments: tuple[Any, ...],
        wanted: int | None,
        most: int,
        patience: float | None = None,
        device: Device = "cuda",
    ) -> None:
        """wanted, device: how many, and of what, see `Cluster.actors`. most: no more than this.

        patience: seconds without any actor that has started; None: START_SECONDS.
        """
        self.patience = START_SECONDS if patience is None else patience
        count, occupied = cluster.actors(wanted, device)
        self.cluster, self.count = cluster, min(count, most)
        self._occupied = occupied
        self._made = cluster.ray.remote(kind).options(**occupied, max_restarts=0)
        self._arguments, self._failed_starts = arguments, 0
        self._at: dict[Any, tuple[Any, Any]] = {}  # reference -> actor, work
        self._ready, self._none_since = 0, time.monotonic()  # actors that have started and live

    def __enter__(self) -> Actors:
        self._none_since = time.monotonic()
        for _ in range(self.count):
            self._start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for actor, _ in self._at.values():
            with suppress(self.cluster.ray.exceptions.RayError):  # the cluster may be gone
                self.cluster.ray.kill(actor)

    @property
    def busy(self) -> int:
        """How many are at work; those that start are not."""
        return sum(work is not None for _, work in self._at.values())

    def give(self, actor: Any, work: Any, call: Callable[[Any], Any]) -> None:
        """Give an idle actor work (not None) by calling one of its methods."""
        self._at[call(actor)] = actor, work

    def dismiss(self, actor: Any) -> None:
        """End an idle actor."""
        self._gone()
        self.cluster.ray.kill(actor)

    def answers(self, seconds: float = 1.0) -> Iterator[Answer]:
        """The next answer, none if none comes in time. An error of a method is raised.

        Raises ClusterError if one actor after the other dies as it starts, or none starts in time.
        """
        if not self._at:  # all are idle; ray waits for no empty list
            time.sleep(min(seconds, 0.1))
            return
        ready, _ = self.cluster.ray.wait(list(self._at), num_returns=1, timeout=seconds)
        if not ready:
            self._check_start()
        for reference in ready:
            actor, work = self._at.pop(reference)
            try:
                value = self.cluster.answer(reference)
            except self.cluster.deaths as error:
                self._died(actor, work, error)
                if work is not None:
                    yield Answer(None, work)
            else:
                self._failed_starts = 0
                self._ready += work is None
                yield Answer(actor, work, value)

    def _died(self, actor: Any, work: Any, error: Exception) -> None:
        """Start another actor in the place of a dead one.

        Ray may only not reach it, or have lost its answer. So it is ended first: two that live
        could write one block.
        """
        with suppress(self.cluster.ray.exceptions.RayError):
            self.cluster.ray.kill(actor)
        if work is not None:
            self._gone()
        self._failed_starts += work is None
        if self._failed_starts >= MOST_STARTS:
            raise ClusterError(
                f"ray: {MOST_STARTS} actors died as they started: {error} Look at ray's logs"
                " (/tmp/ray/session_latest/logs on each node)."
            ) from error
        self._start()

    def _gone(self) -> None:
        """Count an actor that has started and lives no more."""
        self._ready -= 1
        self._none_since = time.monotonic()

    def _check_start(self) -> None:
        """Raise ClusterError if no actor lives and none started for a long time."""
        if self._ready or time.monotonic() - self._none_since < self.patience:
            return
        free = self.cluster.ray.available_resources()
        each = " and ".join(f"{n:g} {name[4:-1].upper()}" for name, n in self._occupied.items())
        raise ClusterError(
            f"ray: no actor started in {self.patience:g} s. {self.count} were asked for, with"
            f" {each} each. The cluster has {self.cluster.cpus} CPU and {self.cluster.gpus} GPU,"
            f" of these free: {free.get('CPU', 0):g} CPU and {free.get('GPU', 0):g} GPU. End what"
            " occupies it, or add nodes. If enough is free, look at ray's logs"
            " (/tmp/ray/session_latest/logs on each node)."
        )

    def _start(self) -> None:
        actor = self._made.remote(*self._arguments)
        self._at[actor.prepare.remote()] = actor, None

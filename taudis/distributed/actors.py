"""Gives work to actors (ray's processes) when they are ready, and replaces dead actors.

Ray's own restarts are not used, because the caller must know which work was lost.
"""

from __future__ import annotations

import math
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
"""The run ends after this many actors, one after the other, died while they started."""

START_SECONDS = 300.0
"""Seconds without any started actor after which the run ends. Otherwise it would wait forever for a
cluster without a free core. A machine that joins a cluster takes minutes."""


@dataclass(frozen=True)
class Answer:
    """The result of an actor's work."""

    actor: Any  # the actor, now idle; None: its process died
    work: Any  # its work; None: it has just started
    value: Any = None  # the return value


class Actors:
    """A set of actors of one class, whose method `prepare` is called first.

    As a context manager, it starts the actors and ends them.
    """

    def __init__(
        self,
        cluster: Cluster,
        kind: type,
        arguments: tuple[Any, ...],
        wanted: int | None,
        most: int,
        patience: float | None = None,
        device: Device = "cuda",
        longest: float = math.inf,
    ) -> None:
        """kind: the class, with its constructor's arguments. wanted, device: see `Cluster.actors`.

        most: largest number of actors. patience: seconds without any started actor after which the
        run ends; None: START_SECONDS. longest: seconds that one call of an actor may take; a
        process that hangs lives on, so ray reports no death.
        """
        self.patience = START_SECONDS if patience is None else patience
        self.longest = longest
        count, occupied = cluster.actors(wanted, device)
        self.cluster, self.count = cluster, min(count, most)
        self._occupied = occupied
        self._made = cluster.ray.remote(kind).options(**occupied, max_restarts=0)
        self._arguments, self._failed_starts = arguments, 0
        self._at: dict[Any, tuple[Any, Any]] = {}  # ray's reference of a call -> (actor, work)
        self._given: dict[Any, float] = {}  # the same -> when it was given
        # Number of started, living actors, and since when there is none.
        self._ready, self._none_since = 0, time.monotonic()

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
        """Number of working actors, without those that are starting."""
        return sum(work is not None for _, work in self._at.values())

    @property
    def pending(self) -> bool:
        """Whether an answer can still come, of a working or of a starting actor."""
        return bool(self._at)

    def give(self, actor: Any, work: Any, call: Callable[[Any], Any]) -> None:
        """Give an idle actor work (not None). call: calls a method of the actor."""
        reference = call(actor)
        self._at[reference] = actor, work
        self._given[reference] = time.monotonic()

    def dismiss(self, actor: Any) -> None:
        """End an idle actor."""
        self._gone()
        self.cluster.ray.kill(actor)

    def answers(self, seconds: float = 1.0) -> Iterator[Answer]:
        """The next answers; none if there is none within `seconds`.

        Raises the error of an actor's method, and ClusterError if actors keep dying while they
        start, none starts in time, or one works for longer than `longest`.
        """
        if not self._at:  # all are idle; `ray.wait` does not accept an empty list
            time.sleep(min(seconds, 0.1))
            return
        ready, _ = self.cluster.ray.wait(list(self._at), num_returns=1, timeout=seconds)
        if not ready:
            self._check_start()
        self._check_working(ready)
        for reference in ready:
            actor, work = self._at.pop(reference)
            self._given.pop(reference, None)
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
        """Replace a dead actor.

        The actor may still live, if ray cannot reach it or lost its answer. So it is ended first;
        otherwise two actors could write the same block.
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
        """Count the end of a started actor."""
        self._ready -= 1
        self._none_since = time.monotonic()

    def _check_start(self) -> None:
        """Raise ClusterError if there has been no started actor for `patience` seconds."""
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

    def _check_working(self, ready: list[Any]) -> None:
        """Raise ClusterError if an actor has worked for longer than `longest` without an answer."""
        first = min((at for call, at in self._given.items() if call not in ready), default=math.inf)
        if time.monotonic() - first > self.longest:
            raise ClusterError(
                f"ray: a process did not answer within {self.longest:g} s. Look for a stopped or"
                " hanging process on the nodes, and at ray's logs (/tmp/ray/session_latest/logs on"
                " each node)."
            )

    def _start(self) -> None:
        actor = self._made.remote(*self._arguments)
        self._at[actor.prepare.remote()] = actor, None

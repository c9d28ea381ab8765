"""A stand-in for the module ray: actors are objects of this process, and their deaths are told.

For faults that no real cluster makes when a test wants them. The exceptions are ray's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ray import exceptions

from taudis.distributed.cluster import Cluster

NEVER = "never"
"""The fate of a call that does not answer."""


@dataclass(eq=False)
class Reference:
    """What a call will return."""

    answers: bool = True
    value: Any = None
    error: Exception | None = None


@dataclass(eq=False)
class StandIn:
    """The calls of ray that `taudis.distributed` makes.

    fate: gets actor, method and arguments of a call; returns an exception that the caller gets,
    NEVER, or None for a call that runs.
    """

    fate: Callable[[Any, str, tuple[Any, ...]], Exception | str | None] = lambda *_: None
    free: dict[str, float] = field(default_factory=dict)
    log: list[tuple[str, Any]] = field(default_factory=list)  # what was started and killed
    occupied: list[dict[str, float]] = field(default_factory=list)  # by each actor that started
    exceptions = exceptions

    def cluster(self, cpus: int = 1, gpus: int = 0) -> Cluster:
        """A cluster of this stand-in."""
        return Cluster(self, cpus, gpus)

    def remote(self, kind: type) -> _Kind:
        return _Kind(self, kind)

    def call(self, actor: Any, method: str, *arguments: Any) -> Reference:
        fate = self.fate(actor, method, arguments)
        if fate == NEVER:
            return Reference(answers=False)
        if isinstance(fate, Exception):
            return Reference(error=fate)
        try:
            return Reference(value=getattr(actor, method)(*arguments))
        except Exception as error:  # noqa: BLE001 - as ray does
            return Reference(error=error)

    def wait(self, references: list[Reference], *, num_returns: int, timeout: float) -> Any:
        ready = [each for each in references if each.answers][:num_returns]
        if not ready:
            time.sleep(min(timeout, 0.01))  # as ray.wait does until its timeout
        return ready, [each for each in references if each not in ready]

    def get(self, reference: Reference) -> Any:
        if reference.error is not None:
            raise reference.error
        return reference.value

    def put(self, value: Any) -> Any:
        return value

    def kill(self, actor: _Handle) -> None:
        self.log.append(("kill", actor.one))

    def available_resources(self) -> dict[str, float]:
        return self.free


@dataclass(eq=False)
class _Kind:
    ray: StandIn
    kind: type
    occupied: dict[str, float] = field(default_factory=dict)

    def options(self, *, max_restarts: int, **occupied: float) -> _Kind:
        return _Kind(self.ray, self.kind, occupied)

    def remote(self, *arguments: Any) -> _Handle:
        one = self.kind(*arguments)
        self.ray.occupied.append(self.occupied)
        self.ray.log.append(("start", one))
        return _Handle(self.ray, one)


@dataclass(eq=False)
class _Handle:
    ray: StandIn
    one: Any

    def __getattr__(self, method: str) -> _Method:
        return _Method(partial(self.ray.call, self.one, method))


@dataclass(eq=False)
class _Method:
    remote: Callable[..., Reference]

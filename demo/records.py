"""The records of a run's requests to Label Studio, each with its start and end time.

All times are seconds of one clock. A request takes effect at some time between its start and its
end. A request without an answer has the end `NEVER`: it took effect at some later time, or never.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

NEVER = math.inf


@dataclass(frozen=True)
class Served:
    """One answer to `next`.

    version_before, version_after: the project's version, read before and after the request; "" if
    the switches of the order are recorded instead (`Switched`). predictions: version and score of
    each prediction in the answer.
    """

    annotator: str
    asked: float
    answered: float
    task: int
    version_before: str = ""
    version_after: str = ""
    predictions: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Done:
    """One submit or skip. A submit removes the task from the queue; a skip, for this annotator.

    annotation, updated_at: from Label Studio's answer; 0 and "" if they are not recorded.
    """

    annotator: str
    task: int
    sent: float
    answered: float
    skipped: bool
    annotation: int = 0
    updated_at: str = ""


@dataclass(frozen=True)
class Edited:
    """A change of a submitted annotation, with the time stamp in Label Studio's answer."""

    annotation: int
    sent: float
    answered: float
    updated_at: str = ""


@dataclass(frozen=True)
class Deleted:
    """The deletion of an annotation, which makes its task free again."""

    annotation: int
    sent: float
    answered: float


@dataclass(frozen=True)
class Posted:
    """An order that was posted under a version: task -> score, lowest first."""

    version: str
    sent: float
    answered: float
    scores: Mapping[int, float]


@dataclass(frozen=True)
class Switched:
    """A change of the project's version. by_person: by a rollback or a choice in the settings."""

    version: str
    sent: float
    answered: float
    by_person: bool = False


@dataclass(frozen=True)
class Webhook:
    """A request in which Label Studio told the backend of something that happened.

    status: of the backend's answer; 0 if none came. annotations: those that it is about; () if
    Label Studio sent no payload, or it is about none.
    """

    action: str
    sent: float
    answered: float
    status: int
    annotations: tuple[int, ...] = ()

    @property
    def acknowledged(self) -> bool:
        """Whether the backend answered 2xx."""
        return 200 <= self.status < 300


@dataclass(frozen=True)
class Counted:
    """One entry of a round's snapshot: the counting annotation of a task, and its split."""

    task: int
    annotation: int
    split: str
    updated_at: str = ""


@dataclass(frozen=True)
class Snapshot:
    """The labels that a round used, and when it read them."""

    round: int
    began: float
    ended: float
    entries: tuple[Counted, ...]


@dataclass(frozen=True)
class Violation:
    """A broken promise: its name, and a sentence about what happened."""

    name: str
    says: str


@dataclass(frozen=True)
class Records:
    """All records of a run.

    imported: task -> time at which its import was answered. gone: deleted task -> start and end of
    its deletion. events: kind -> number of webhooks that the backend's store recorded; {} if nobody
    read them.
    """

    served: list[Served] = field(default_factory=list)
    done: list[Done] = field(default_factory=list)
    edited: list[Edited] = field(default_factory=list)
    deleted: list[Deleted] = field(default_factory=list)
    posted: list[Posted] = field(default_factory=list)
    switched: list[Switched] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    webhooks: list[Webhook] = field(default_factory=list)
    events: dict[str, int] = field(default_factory=dict)
    imported: dict[int, float] = field(default_factory=dict)
    gone: dict[int, tuple[float, float]] = field(default_factory=dict)


def age_of(version: str) -> tuple[int, ...]:
    """Round and publish attempt of a version of ours, which sort by age; () for other versions."""
    found = re.fullmatch(r"taudis-(\d+)-[0-9a-f]+(?:-(\d+))?", version)
    return (int(found[1]), int(found[2] or 1)) if found else ()

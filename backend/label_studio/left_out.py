"""The record of regions and images that a round left out, with the reason, counted by kind.

The complete record is `left_out.json` beside the round's snapshot. A summary is in the step's row,
in the project's state, in the model's card, and in the round's message. This module is in
`label_studio` because the kinds describe Label Studio's regions. Worker, web and commands read the
record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from backend.label_studio.regions.problems import KINDS as REGION_KINDS
from backend.label_studio.regions.problems import Effect, RegionProblem

Part = Literal["labels", "unlabelled"]
"""labels: the labelled tasks. unlabelled: the pool that is ranked."""

UNREADABLE_IMAGE, NO_ANNOTATION = "unreadable_image", "no_annotation"
KINDS: dict[str, str] = {
    UNREADABLE_IMAGE: "images that cannot be read",
    NO_ANNOTATION: "tasks that were only skipped",
    **REGION_KINDS,
}
"""Kind -> its name for people."""

FILE = "left_out.json"
FIRST = 5  # number of reasons in a summary
COSTLY_FIRST: tuple[Effect, ...] = ("dropped", "painted_out", "used")


@dataclass(frozen=True)
class LeftOut:
    """One region or task that was left out, or used only in part."""

    task: int
    region: str  # Label Studio's id; "" for the whole task
    kind: str  # one of KINDS
    reason: str
    effect: Effect  # dropped: the task is left out

    def __str__(self) -> str:
        place = f"Task {self.task}: " + (f"Region {self.region}: " if self.region else "")
        return place + self.reason


def of_region(task: int, problem: RegionProblem) -> LeftOut:
    """A region's problem as a row of the record."""
    return LeftOut(task, problem.region, problem.kind, problem.reason, problem.effect)


def of_task(task: int, reason: str, kind: str = UNREADABLE_IMAGE) -> LeftOut:
    """A task that is left out as a whole."""
    return LeftOut(task, "", kind, reason, "dropped")


@dataclass(frozen=True)
class Summary:
    """The counts and the first reasons of one part of a round's record."""

    tasks: int = 0  # tasks left out as a whole
    lost: int = 0  # regions and images not used at all; the others were used in part
    kinds: Mapping[str, int] = field(default_factory=dict)  # kind -> number of regions or images
    first: tuple[str, ...] = ()  # at most FIRST reasons, those with the costliest effect first
    train: int = 0  # labelled tasks that were used; only for the part `labels`
    validation: int = 0
    round: int = 0  # the round's number, in summaries stored outside the round

    @classmethod
    def of(cls, rows: Sequence[LeftOut], *, train: int = 0, validation: int = 0) -> Summary:
        """The summary of these rows."""
        costly_first = sorted(rows, key=lambda row: COSTLY_FIRST.index(row.effect))
        return cls(
            len({row.task for row in rows if row.effect == "dropped"}),
            sum(row.effect != "used" for row in rows),
            dict(Counter(row.kind for row in rows)),
            tuple(map(str, costly_first[:FIRST])),
            train,
            validation,
        )

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Summary:
        """The summary from the values of `to_json`."""
        known = {field.name: value[field.name] for field in fields(cls) if field.name in value}
        return cls(**{**known, "first": tuple(known.get("first", ()))})

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "kinds": dict(self.kinds), "first": list(self.first)}

    def __bool__(self) -> bool:
        """Whether anything was left out."""
        return bool(self.kinds)

    def counted(self) -> str:
        """The counts in words, without the reasons; '' if nothing was left out."""
        return "; ".join(f"{KINDS.get(kind, kind)}: {n}" for kind, n in self.kinds.items())

    def in_words(self, tasks: str = "Labelled tasks") -> str:
        """The counts and the first reason in one sentence; '' if nothing was left out."""
        if not self.kinds:
            return ""
        return f"{self.headline(tasks)} ({self.counted()}). First: {self.first[0]}"

    def headline(self, tasks: str = "Labelled tasks") -> str:
        """The costliest effect in words, with its count."""
        if self.tasks:
            return f"{tasks} left out: {self.tasks}"
        if self.lost:
            return f"Regions painted over, neither object nor background: {self.lost}"
        return f"Regions used, though not as they stand: {sum(self.kinds.values())}"

    def split(self) -> str:
        """How the labelled tasks were used, in words."""
        return f"{self.train} to train on, {self.validation} to judge by, {self.tasks} left out"


def latest_summary(left_out: Mapping[str, Mapping[str, Any]], part: Part) -> Summary | None:
    """The newest summary of a part, from a project's `left_out`; None if there is none."""
    found = left_out.get(part)
    return None if found is None else Summary.from_json(found)

"""Checks that Label Studio served every annotator the best-ranked free task.

The check uses only Label Studio's answers, never the backend's records:

- the published order comes from Label Studio's predictions,
- the served task comes from the raw answer to `next`,
- the version in force comes from the project, read before and after each `next`, or from a record
  of every switch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, TypeVar

from demo.records import NEVER, Deleted, Done, Served, Switched

Verdict = Literal[
    "in_order",  # nothing better was free
    "out_of_order",  # a better-ranked task was free: a defect
    "changed_meanwhile",  # a better task's state changed during the request
    "locked_before_flip",  # a task that this annotator already held, for example before a switch
    "double",  # the other annotator's overlapping `next` got the same task
    "after_the_order",  # the served task has no place in the order, and the order had none free
    "unranked",  # the served task has no place in the order, which had a free one: a defect
    "labelled",  # the served task was labelled already: a defect
]
TaskState = Literal["free", "taken", "changing"]
Record = TypeVar("Record", Done, Served)

MEANING: dict[Verdict, str] = {
    "in_order": "the best of the order",
    "out_of_order": "a defect, a better one was free",
    "changed_meanwhile": "not counted, a better task changed during the request",
    "locked_before_flip": "not counted, reserved for this annotator before",
    "double": "not counted, both annotators asked at once and got the same",
    "after_the_order": "not counted, no task of the order was free, and it is not in the order yet",
    "unranked": "a defect, it has no place in the order, and one that has was free",
    "labelled": "a defect, it was labelled already",
}
ORDER: tuple[Verdict, ...] = (
    "in_order",
    "double",
    "changed_meanwhile",
    "locked_before_flip",
    "after_the_order",
    "unranked",
    "out_of_order",
    "labelled",
)
"""Verdicts, best first. A request during a switch is checked in both orders; the better counts."""
DEFECTS: tuple[Verdict, ...] = ("out_of_order", "unranked", "labelled")


@dataclass(frozen=True)
class CheckedTask:
    """A served task with its verdict, and the best-ranked free task instead, if there was one."""

    served: Served
    verdict: Verdict
    better: int | None = None


@dataclass(frozen=True)
class OrderCheck:
    """The records of a run: every served task is checked against the order in force.

    Args:
        served: all answers to `next`, of all annotators.
        done: all submits and skips.
        orders: version -> task id -> score from Label Studio; the lowest is first.
        switched: all switches of the order, if they are recorded.
        deleted: all deletions of annotations.
        gone: deleted task -> start and end of its deletion.
    """

    served: Sequence[Served]
    done: Sequence[Done]
    orders: Mapping[str, Mapping[int, float]]
    switched: Sequence[Switched] = ()
    deleted: Sequence[Deleted] = ()
    gone: Mapping[int, tuple[float, float]] = field(default_factory=dict)

    def checked(self) -> list[CheckedTask]:
        """Every served task with its verdict, by the time of the request."""
        return [self._check(one) for one in sorted(self.served, key=lambda one: one.asked)]

    @cached_property
    def _acts(self) -> dict[int, list[Done]]:
        """Task -> its submits and skips. With thousands of tasks a search for each is too slow."""
        return _by_task(self.done)

    @cached_property
    def _requests(self) -> dict[int, list[Served]]:
        """Task -> the requests that got it."""
        return _by_task(self.served)

    def versions(self, one: Served) -> list[str]:
        """The versions that were in force at some time between a request's start and end."""
        if not self.switched:
            return list(dict.fromkeys((one.version_before, one.version_after)))
        return [
            switch.version
            for switch in self.switched
            if switch.sent < one.answered
            and not any(
                later.sent >= switch.answered and later.answered <= one.asked
                for later in self.switched
            )
        ]

    def _check(self, one: Served) -> CheckedTask:
        """The best verdict of the versions that were in force."""
        verdicts = [self._check_in(version, one) for version in self.versions(one)]
        found = min(verdicts, key=lambda each: ORDER.index(each.verdict), default=None)
        return found or CheckedTask(one, "unranked")

    def _check_in(self, version: str, one: Served) -> CheckedTask:
        """The verdict if this version was in force."""
        order = self.orders.get(version, {})
        if self._labelled(one):
            return CheckedTask(one, "labelled")
        rank = order.get(one.task, math.inf)
        better = [task for task, score in order.items() if score < rank]
        better.sort(key=order.__getitem__)
        states = {task: self._state(task, one) for task in better}
        free = [task for task in better if states[task] == "free"]
        if free and self._held(one):
            return CheckedTask(one, "locked_before_flip", free[0])
        if free:
            wrong: Verdict = "out_of_order" if one.task in order else "unranked"
            return CheckedTask(one, wrong, free[0])
        if one.task not in order:
            return CheckedTask(one, "after_the_order")
        if any(_overlapping_double(one, other) for other in self._requests[one.task]):
            return CheckedTask(one, "double")
        if "changing" in states.values():
            return CheckedTask(one, "changed_meanwhile")
        return CheckedTask(one, "in_order")

    def _labelled(self, one: Served) -> bool:
        """Whether the served task had a submitted annotation during the whole request."""
        return any(
            not act.skipped
            and act.answered <= one.asked
            and not any(each.sent < one.answered for each in self._deletions(act))
            for act in self._acts.get(one.task, ())
        )

    def _deletions(self, act: Done) -> list[Deleted]:
        """The deletions of the annotation of a submit or skip."""
        if not act.annotation:
            return []
        return [each for each in self.deleted if each.annotation == act.annotation]

    def _state(self, task: int, one: Served) -> TaskState:
        """Whether a better-ranked task could have been served to this annotator instead."""
        found: TaskState = "free"
        sent, answered = self.gone.get(task, (NEVER, NEVER))
        if answered <= one.asked:
            return "taken"  # deleted
        if sent < one.answered:
            found = "changing"
        for act in self._acts.get(task, ()):
            if act.skipped and act.annotator != one.annotator:
                continue
            deletions = self._deletions(act)
            if any(each.answered <= one.asked for each in deletions):
                continue
            if act.answered <= one.asked and not any(e.sent < one.answered for e in deletions):
                return "taken"
            if act.sent < one.answered:
                found = "changing"
        for other in self._requests.get(task, ()):
            if other.annotator == one.annotator:
                continue
            end = self._end_of_lock(other)
            if other.answered <= one.asked and (end is None or end.sent >= one.answered):
                return "taken"  # locked by the other annotator during the whole request
            if other.asked < one.answered and (end is None or end.answered > one.asked):
                found = "changing"
        return found

    def _end_of_lock(self, served: Served) -> Done | None:
        """The submit or skip that ended the lock of a served task; None while it lasts."""
        acts = [
            act for act in self._acts.get(served.task, ())
            if act.annotator == served.annotator and act.sent >= served.answered
        ]  # fmt: skip
        return min(acts, key=lambda act: act.sent, default=None)

    def _held(self, one: Served) -> bool:
        """Whether this annotator already held this task, so that Label Studio served it again."""
        earlier = [
            other for other in self._requests.get(one.task, ())
            if other.annotator == one.annotator and other.answered < one.asked
        ]  # fmt: skip
        if not earlier:
            return False
        end = self._end_of_lock(max(earlier, key=lambda other: other.answered))
        return end is None or end.sent >= one.asked


def _by_task(records: Sequence[Record]) -> dict[int, list[Record]]:
    """The records of each task, in their order."""
    found: dict[int, list[Record]] = {}
    for record in records:
        found.setdefault(record.task, []).append(record)
    return found


def _overlapping_double(one: Served, other: Served) -> bool:
    """Whether a request for the same task is an overlapping one of another annotator."""
    return (
        other.annotator != one.annotator
        and other.asked < one.answered
        and one.asked < other.answered
    )

"""Checks that Label Studio served every annotator the best-ranked task that was free.

The check uses Label Studio's own answers alone, never the backend's records:

- the published order comes from Label Studio's predictions,
- the served task from the raw answer of `next`,
- the version in force from the project, asked before and after each `next`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal[
    "in_order",  # nothing better was free
    "out_of_order",  # a better-ranked task was free: a defect
    "changed_meanwhile",  # the version, or a better task's state, changed during the request
    "locked_before_flip",  # a task this annotator held since before the flip
    "double",  # the other annotator's overlapping `next` got the same task
    "unranked",  # the served task has no place in the published order: a defect
]
TaskState = Literal["free", "taken", "changing"]

MEANING: dict[Verdict, str] = {
    "in_order": "the best of the order",
    "out_of_order": "a defect, a better one was free",
    "changed_meanwhile": "not counted, the order or a better task changed during the request",
    "locked_before_flip": "not counted, reserved for this annotator before the new order",
    "double": "not counted, both annotators asked at once and got the same",
    "unranked": "a defect, it has no place in the order",
}


@dataclass(frozen=True)
class Served:
    """One answer of `next`. Times are seconds of one clock."""

    annotator: str
    asked: float
    answered: float
    task: int
    version_before: str
    version_after: str


@dataclass(frozen=True)
class Done:
    """One submit or skip. It takes the task out of the queue; a skip does so for this annotator."""

    annotator: str
    task: int
    sent: float
    answered: float
    skipped: bool


@dataclass(frozen=True)
class CheckedTask:
    """A served task with its verdict, and the best-ranked task that was free instead, if any."""

    served: Served
    verdict: Verdict
    better: int | None = None


@dataclass(frozen=True)
class OrderCheck:
    """The records of a run: every served task is checked against the order in force.

    Args:
        served: all answers of `next`, of all annotators.
        done: all submits and skips.
        orders: version -> task id -> score, as Label Studio holds them; lowest is first.
    """

    served: Sequence[Served]
    done: Sequence[Done]
    orders: Mapping[str, Mapping[int, float]]

    def checked(self) -> list[CheckedTask]:
        """Every served task with its verdict, by the time of the request."""
        return [self._check(one) for one in sorted(self.served, key=lambda one: one.asked)]

    def _check(self, one: Served) -> CheckedTask:
        if one.version_before != one.version_after:
            return CheckedTask(one, "changed_meanwhile")
        order = self.orders.get(one.version_before, {})
        if one.task not in order:
            return CheckedTask(one, "unranked")
        better = [task for task, score in order.items() if score < order[one.task]]
        better.sort(key=order.__getitem__)
        states = {task: self._state(task, one) for task in better}
        free = [task for task in better if states[task] == "free"]
        if free and self._held_before_flip(one):
            return CheckedTask(one, "locked_before_flip", free[0])
        if free:
            return CheckedTask(one, "out_of_order", free[0])
        if any(_overlapping_double(one, other) for other in self.served):
            return CheckedTask(one, "double")
        if "changing" in states.values():
            return CheckedTask(one, "changed_meanwhile")
        return CheckedTask(one, "in_order")

    def _state(self, task: int, one: Served) -> TaskState:
        """Whether a better-ranked task could have been served to this annotator at this moment."""
        found: TaskState = "free"
        for act in self.done:
            if act.task != task or (act.skipped and act.annotator != one.annotator):
                continue
            if act.answered <= one.asked:
                return "taken"
            if act.sent < one.answered:
                found = "changing"
        for other in self.served:
            if other.task != task or other.annotator == one.annotator:
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
            act for act in self.done
            if act.task == served.task and act.annotator == served.annotator
            and act.sent >= served.answered
        ]  # fmt: skip
        return min(acts, key=lambda act: act.sent, default=None)

    def _held_before_flip(self, one: Served) -> bool:
        """Whether this annotator got this task under another version before, and kept it."""
        earlier = [
            other for other in self.served
            if other.annotator == one.annotator and other.task == one.task
            and other.answered < one.asked
        ]  # fmt: skip
        if not earlier:
            return False
        last = max(earlier, key=lambda other: other.answered)
        end = self._end_of_lock(last)
        kept = end is None or end.sent >= one.asked
        return last.version_after != one.version_before and kept


def _overlapping_double(one: Served, other: Served) -> bool:
    """Whether another annotator's overlapping `next` call was given the same task."""
    return (
        other.annotator != one.annotator
        and other.task == one.task
        and other.asked < one.answered
        and one.asked < other.answered
    )

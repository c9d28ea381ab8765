"""Was every task served the best-ranked one? Judged from Label Studio's own answers.

The published order is read back from Label Studio's predictions; what an annotator was served from
the raw answers of `next`; which version was in force from the project, asked before and after.
Nothing here comes from the backend's own records.
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

MEANING: dict[Verdict, str] = {
    "in_order": "the best of the order",
    "out_of_order": "a defect, a better one was free",
    "changed_meanwhile": "not counted, the order or a better task changed while the answer came",
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
    """One submit or skip: the task is out of the queue (for this annotator, if skipped)."""

    annotator: str
    task: int
    sent: float
    answered: float
    skipped: bool


@dataclass(frozen=True)
class Judged:
    """A served task with its verdict, and for people the better task that was free, if any."""

    served: Served
    verdict: Verdict
    better: int | None = None


def judge(
    served: Sequence[Served], done: Sequence[Done], orders: Mapping[str, Mapping[int, float]]
) -> list[Judged]:
    """Judge every served task against the order in force.

    Args:
        served: all answers of `next`, of all annotators.
        done: all submits and skips.
        orders: version -> task id -> score, as Label Studio holds them; lowest is first.
    """
    return [_judge_one(one, served, done, orders) for one in sorted(served, key=lambda s: s.asked)]


def _judge_one(
    one: Served,
    served: Sequence[Served],
    done: Sequence[Done],
    orders: Mapping[str, Mapping[int, float]],
) -> Judged:
    if one.version_before != one.version_after:
        return Judged(one, "changed_meanwhile")
    order = orders.get(one.version_before, {})
    if one.task not in order:
        return Judged(one, "unranked")
    better = sorted(
        (task for task, score in order.items() if score < order[one.task]), key=order.__getitem__
    )
    states = {task: _state(task, one, served, done) for task in better}
    free = [task for task in better if states[task] == "free"]
    if free and _held_before_flip(one, served, done):
        return Judged(one, "locked_before_flip", free[0])
    if free:
        return Judged(one, "out_of_order", free[0])
    if any(_overlapping_double(one, other) for other in served):
        return Judged(one, "double")
    if any(state == "changing" for state in states.values()):
        return Judged(one, "changed_meanwhile")
    return Judged(one, "in_order")


def _state(
    task: int, one: Served, served: Sequence[Served], done: Sequence[Done]
) -> Literal["free", "taken", "changing"]:
    """Whether a better-ranked task could have been served to this annotator at this moment."""
    found: Literal["free", "taken", "changing"] = "free"
    for act in done:
        if act.task != task or (act.skipped and act.annotator != one.annotator):
            continue
        if act.answered <= one.asked:
            return "taken"
        if act.sent < one.answered:
            found = "changing"
    for other in served:
        if other.task != task or other.annotator == one.annotator:
            continue
        left = min(
            (a for a in done if a.task == task and a.annotator == other.annotator
             and a.sent >= other.answered),
            key=lambda a: a.sent, default=None,
        )  # fmt: skip
        if other.answered <= one.asked and (left is None or left.sent >= one.answered):
            return "taken"  # locked by the other annotator all the while
        if other.asked < one.answered and (left is None or left.answered > one.asked):
            found = "changing"
    return found


def _held_before_flip(one: Served, served: Sequence[Served], done: Sequence[Done]) -> bool:
    """Whether this annotator was already given this task under another version and kept it."""
    earlier = [
        s for s in served
        if s.annotator == one.annotator and s.task == one.task and s.answered < one.asked
    ]  # fmt: skip
    if not earlier:
        return False
    last = max(earlier, key=lambda s: s.answered)
    gone = any(
        a.task == one.task and a.annotator == one.annotator and last.answered <= a.sent < one.asked
        for a in done
    )
    return last.version_after != one.version_before and not gone


def _overlapping_double(one: Served, other: Served) -> bool:
    """Whether another annotator's overlapping `next` call was given the same task."""
    return (
        other.annotator != one.annotator
        and other.task == one.task
        and other.asked < one.answered
        and one.asked < other.answered
    )

"""Checks that every acknowledged annotation is in one split of the next round's snapshot.

A request that overlaps the reading of the labels may count in this round or in the next round. A
request that was answered before must count in this round.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from demo.records import Counted, Deleted, Done, Edited, Snapshot, Violation


@dataclass(frozen=True)
class LabelCheck:
    """The submits, skips, edits and deletions of a run, checked against its rounds' snapshots.

    A submit whose answer was lost has annotation 0. It can explain an unknown entry of its task.
    """

    done: list[Done]
    edited: list[Edited]
    deleted: list[Deleted]
    gone: Collection[int]

    def violations(self, snapshot: Snapshot) -> Iterator[Violation]:
        """Annotations that a snapshot lost, counts twice, or must not count."""
        where = f"the snapshot of round {snapshot.round}"
        tasks = Counter(entry.task for entry in snapshot.entries)
        for task, number in tasks.items():
            if number > 1:
                yield Violation("doubled annotation", f"Task {task} is {number} times in {where}.")
        for act in self.lost(snapshot):
            yield Violation(
                "lost annotation",
                f"Annotation {act.annotation} of task {act.task} was acknowledged before"
                f" {where} was read, and is not in it.",
            )
        for entry in snapshot.entries:
            if entry.split not in ("train", "validation"):
                yield Violation("lost annotation", f"{entry} of {where} is in no split.")
            says = self._wrong(entry, snapshot)
            if says:
                yield Violation("wrong annotation", f"{where}, task {entry.task}: {says}")

    def lost(self, snapshot: Snapshot) -> list[Done]:
        """The submits that must count in a snapshot, and whose tasks it lacks."""
        tasks = {entry.task for entry in snapshot.entries}
        return [
            act for act in self.done if self._must_count(act, snapshot) and act.task not in tasks
        ]

    def _must_count(self, act: Done, snapshot: Snapshot) -> bool:
        """Whether a submit was answered before the reading, and not deleted until its end."""
        return (
            not act.skipped
            and act.answered <= snapshot.began
            and act.task not in self.gone
            and not any(each.sent <= snapshot.ended for each in self._deletions(act.annotation))
        )

    def _deletions(self, annotation: int) -> list[Deleted]:
        return [each for each in self.deleted if each.annotation == annotation]

    def _wrong(self, entry: Counted, snapshot: Snapshot) -> str:
        """Why another annotation, or another state of it, should count; "" if it is right."""
        made = [act for act in self.done if act.annotation == entry.annotation]
        if not made:
            lost = any(not act.annotation and act.task == entry.task for act in self.done)
            return "" if lost else f"annotation {entry.annotation} was never submitted."
        if made[0].skipped:
            return f"annotation {entry.annotation} is a skip."
        if made[0].sent > snapshot.ended:
            return f"annotation {entry.annotation} was submitted later."
        if any(each.answered <= snapshot.began for each in self._deletions(entry.annotation)):
            return f"annotation {entry.annotation} was deleted before."
        least = self._surely(made[0], snapshot.began)
        if _moment(entry.updated_at) < _moment(least):
            return f"annotation {entry.annotation} was edited at {least}, after what counts."
        most = self._at_most(made[0], snapshot.ended)
        for act in self.done:
            if act.task == entry.task and self._must_count(act, snapshot):
                other = self._surely(act, snapshot.began)
                if _moment(other) > _moment(most):
                    return f"annotation {act.annotation} is newer than {entry.annotation}."
        return ""

    def _surely(self, act: Done, moment: float) -> str:
        """The time stamp of the newest state that Label Studio certainly had at a moment."""
        edits = [e for e in self.edited if e.annotation == act.annotation and e.answered <= moment]
        # The last edit counts, even if its stamp is older: Label Studio's clock may go back.
        return max(edits, key=lambda each: each.answered).updated_at if edits else act.updated_at

    def _at_most(self, act: Done, moment: float) -> str:
        """The time stamp of the newest state that Label Studio may have had at a moment."""
        edits = [e for e in self.edited if e.annotation == act.annotation and e.sent <= moment]
        return max([act.updated_at, *(each.updated_at for each in edits)], key=_moment)


def _moment(when: str) -> datetime:
    """A time stamp of Label Studio as datetime; the earliest for ""."""
    return datetime.fromisoformat(when) if when else datetime.min.replace(tzinfo=UTC)

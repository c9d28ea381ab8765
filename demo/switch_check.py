"""Checks the switches of the order: each order is complete and newer, one switch per round."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from demo.records import Done, Posted, Served, Switched, Violation, age_of

SAME = 1e-9
"""Two scores that differ by less are equal."""


@dataclass(frozen=True)
class SwitchCheck:
    """The orders posted in a run, the switches to them, and the labels meanwhile.

    orders: version -> task -> score. imported: task -> time at which its import was answered. read:
    round -> time at which it began to read the tasks.
    """

    orders: Mapping[str, Mapping[int, float]]
    posted: list[Posted]
    switched: list[Switched]
    done: list[Done]
    imported: Mapping[int, float]
    gone: Collection[int]
    read: Mapping[int, float]

    def violations(self) -> Iterator[Violation]:
        """Mixed or incomplete orders, and stale or double switches."""
        yield from self._mixed()
        switches = sorted(self.switched, key=lambda switch: switch.sent)
        for place, switch in enumerate(switches):
            if switch.by_person or not age_of(switch.version) or math.isinf(switch.answered):
                continue
            before = [each for each in switches[:place] if each.answered <= switch.sent]
            if before and before[-1].version == switch.version:
                continue  # a repeated switch after a kill changes nothing
            stale = list(self._stale(switch, before))
            yield from stale or self._double(switch, before)
            yield from self._parts(switch)

    def _mixed(self) -> Iterator[Violation]:
        """Versions that were posted more than once: rows of both posts would decide the order."""
        for version in self.orders:
            posts = [post for post in self.posted if post.version == version]
            if len(posts) > 1 and age_of(version):
                yield Violation("mixed order", f"{version} was posted {len(posts)} times.")

    def predicted(self, one: Served, versions: list[str]) -> Iterator[Violation]:
        """A served task whose prediction and rank are not from the same version.

        Args:
            one: the answer to `next`.
            versions: the versions in force during the request.
        """
        for version, score in one.predictions:
            rank = self.orders.get(version, {}).get(one.task, math.nan)
            if version not in versions or not abs(rank - score) < SAME:
                yield Violation(
                    "mixed order",
                    f"Task {one.task} was served with a prediction of {version}, score {score:g};"
                    f" in force: {', '.join(versions)}, its rank there: {rank:g}.",
                )

    def _stale(self, switch: Switched, before: list[Switched]) -> Iterator[Violation]:
        """A switch to an older order than an earlier switch, unless a person chose it."""
        chosen = [each.version for each in before if each.by_person]
        if chosen and chosen[-1] == switch.version:
            return
        newest = max(before, key=lambda each: age_of(each.version), default=None)
        if newest is not None and age_of(newest.version) > age_of(switch.version):
            yield Violation(
                "stale flip", f"The order went to {switch.version} after {newest.version}."
            )

    def _double(self, switch: Switched, before: list[Switched]) -> Iterator[Violation]:
        """A second switch in one round, unless a person chose that version in between."""
        number = age_of(switch.version)[0]
        earlier = [each for each in before if age_of(each.version)[:1] == (number,)]
        if earlier and not earlier[-1].by_person:
            yield Violation(
                "double flip",
                f"Round {number} switched to {earlier[-1].version}, then to {switch.version}.",
            )

    def _parts(self, switch: Switched) -> Iterator[Violation]:
        """An order without a task that its round must have read and that was free until then."""
        order = self.orders.get(switch.version, {})
        read = self.read.get(age_of(switch.version)[0], -math.inf)
        for task, when in self.imported.items():
            there = when <= read and task not in self.gone
            if there and task not in order and self._free(task, switch):
                yield Violation("incomplete order", f"{switch.version} lacks task {task}.")

    def _free(self, task: int, switch: Switched) -> bool:
        """Whether a task had no annotation until the switch."""
        return not any(act.task == task and act.sent <= switch.answered for act in self.done)
